"""Every strategy on one data set under one protocol: Dice, CPU seconds and peak memory, as one Markdown table.

    python -m benchmarks.strategy_sweep run --root $NEXTSLICE_DATA/acdc --out out/sweep
    python -m benchmarks.strategy_sweep table out/sweep

What a round does is the service's own, called without a database as `benchmarks.recipe_study` does it: the seeds, the
order of the pool, the rules, the trainings and the scores are those of the jobs. Each strategy, supervision and seed
has a process of its own, one after the other, so that its peak memory is its own; each finished round is a line of
`rounds.jsonl`. What is there is not made again: a stopped sweep goes on at the member it was training.

Networks are kept in `artefacts` under a hash of all they depend on (configuration, data, picks, seed). Strategies that
begin with the same picks, and those that read the same encoder, so train it once; the seconds and the memory that it
took are counted for each of them, as if it had been alone, and `spent` says what was truly computed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import torch
import typer

from app.names import STRATEGIES, Supervision
from app.supervisor import die_with_parent
from benchmarks.sweep_rounds import Sweep, prepare_sweep, run_rounds

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
LINES = "rounds.jsonl"

Root = Annotated[Path, typer.Option(help="Folder of the data set.")]
Out = Annotated[Path, typer.Option(help="Folder for rounds.jsonl and the artefacts.")]


@cli.command()
def run(
    root: Root,
    out: Out,
    data: str = "acdc",
    supervisions: str = f"{Supervision.SCRIBBLE},{Supervision.FULL}",
    strategies: str = ",".join(STRATEGIES),
    budgets: Annotated[str, typer.Option(help="Cumulative percent.")] = "2,3,4,5",
    seeds: str = "1",
    preset: str = "cpu",
    protocol: Annotated[str, typer.Option(help="JSON: fields of the preset to replace.")] = "{}",
    settings: Annotated[str, typer.Option(help='JSON: of strategies, e.g. {"bald": {"passes": 10}}.')] = "{}",
    threads: int = 1,
) -> None:
    """Run what is missing, strategy after strategy, then print the table."""
    out.mkdir(parents=True, exist_ok=True)
    failed = []
    for seed in seeds.split(","):
        for supervision in supervisions.split(","):
            for strategy in strategies.split(","):
                typer.echo(f"{supervision} {strategy}, seed {seed}", err=True)
                command = [sys.executable, "-m", "benchmarks.strategy_sweep", "one", strategy, supervision, seed]
                command += ["--root", str(root), "--out", str(out), "--data", data, "--budgets", budgets]
                command += ["--preset", preset, "--protocol", protocol, "--settings", settings]
                command += ["--threads", str(threads)]
                environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
                if subprocess.run(command, check=False, env=environment).returncode:
                    failed.append(f"{supervision} {strategy}, seed {seed}")
    table(out)
    if failed:
        typer.echo(f"\nnot finished: {'; '.join(failed)}", err=True)
        raise typer.Exit(1)


@cli.command(hidden=True)
def one(
    strategy: str,
    supervision: Supervision,
    seed: int,
    root: Root,
    out: Out,
    data: str = "acdc",
    budgets: str = "2,3,4,5",
    preset: str = "cpu",
    protocol: str = "{}",
    settings: str = "{}",
    threads: int = 1,
) -> None:
    """Run the rounds of one strategy that are not in the lines yet."""
    die_with_parent()
    torch.set_num_threads(threads)
    sweep = Sweep(
        data=data,
        preset=preset,
        protocol=json.loads(protocol),
        supervision=supervision,
        strategy=strategy,
        settings=json.loads(settings).get(strategy, {}),
        seed=seed,
        budgets=tuple(float(each) for each in budgets.split(",")),
    )
    done = [line for line in read_lines(out) if line["sweep"] == sweep.as_json()]
    if len(done) == len(sweep.budgets) or any("refused" in line for line in done):
        return
    for line in run_rounds(sweep, prepare_sweep(sweep, root), out / "artefacts", done):
        with (out / LINES).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        figure = line.get("refused") or f"Dice {line['dice']:.3f}, {line['spent_cpu_s']:.0f} CPU s"
        typer.echo(f"  {line['percent']:g} %: {figure}", err=True)


@cli.command()
def table(out: Annotated[Path, typer.Argument(help="Folder of a sweep.")]) -> None:
    """Print the table of what is finished: means over the seeds, the best strategy of a supervision first."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    refused = {}
    for line in read_lines(out):
        key = line["sweep"]["supervision"], line["sweep"]["strategy"]
        if "refused" in line:
            refused[key] = line["refused"]
        else:
            rows[key].append(line)
    budgets = sorted({line["percent"] for lines in rows.values() for line in lines})
    heads = ["supervision", "strategy", *(f"{each:g} %" for each in budgets), "mean"]
    heads += ["CPU s a run", "of it choosing", "spent", "wall s", "peak MiB"]
    typer.echo("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for (supervision, strategy), lines in sorted(rows.items(), key=lambda row: (row[0][0], -_mean(row[1], "dice"))):
        runs = len({line["sweep"]["seed"] for line in lines})
        dice = {each: [line["dice"] for line in lines if line["percent"] == each] for each in budgets}
        cells = [f"{fmean(values):.3f}" if values else "" for values in dice.values()]
        cells.append(f"{_mean(lines, 'dice'):.3f}" if all(dice.values()) else "")
        spent = ("cpu_s", "choosing_cpu_s", "spent_cpu_s", "wall_s")
        cells += [f"{sum(line[name] for line in lines) / runs:.0f}" for name in spent]
        cells.append(f"{max(line['peak_mib'] for line in lines):.0f}")
        typer.echo(f"| {supervision} | {strategy} | " + " | ".join(cells) + " |")
    for (supervision, strategy), reason in sorted(refused.items()):
        typer.echo(f"\n{supervision} {strategy}: {reason}")


def read_lines(out: Path) -> list[dict[str, Any]]:
    """The rounds of a sweep that are finished."""
    path = out / LINES
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def _mean(lines: list[dict[str, Any]], name: str) -> float:
    return fmean(line[name] for line in lines)


if __name__ == "__main__":
    cli()

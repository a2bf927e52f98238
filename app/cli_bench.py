"""`nextslice bench`: whole published experiments, the oracle annotating."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from app.cli_terminal import Url, out, progress, read_numbers, read_object, service
from app.names import Queue, Scribbles, Supervision
from app.settings import Settings

bench = typer.Typer(no_args_is_help=True, help="Whole published experiments, the oracle annotating.")


@bench.command("run")
def bench_run(
    dataset: Annotated[str, typer.Argument(help="acdc, nifti or phantom.")],
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    target: Annotated[Path, typer.Option("--out", help="Folder for results.csv, curve.png and manifest.json.")],
    supervision: Annotated[Supervision, typer.Option()] = Supervision.SCRIBBLE,
    strategies: Annotated[str, typer.Option(help="Comma-separated.")] = "gcl,random",
    budgets: Annotated[str, typer.Option(help="Cumulative percent, comma-separated.")] = "2,3,4,5",
    seeds: Annotated[str, typer.Option(help="The seeds themselves, comma-separated.")] = "1",
    preset: Annotated[str, typer.Option(help="Training protocol: paper, cpu or tiny.")] = "paper",
    protocol: Annotated[str, typer.Option(help='JSON: fields of the preset to replace, e.g. {"members": 3}.')] = "{}",
    recipe: Annotated[str, typer.Option(help="Of segmentation training: paper or modern; default: the preset's.")] = "",
    ablation: Annotated[str, typer.Option(help="In place of strategies: table4 or controls.")] = "",
    scribbles: Annotated[Scribbles, typer.Option(help="simulate: drawn from the masks where there are none.")] = (
        Scribbles.GIVEN
    ),
    strategy_settings: Annotated[str, typer.Option(help='JSON: e.g. {"bald": {"passes": 10}}.')] = "{}",
    url: Url = "",
) -> None:
    """Run an experiment; stopped, the same command goes on where it was."""
    from app.bench.certainty import list_remarks
    from app.bench.plan import BenchPlan, encoder_warnings
    from app.bench.report import CURVE, summarise_results
    from app.bench.runner import run_bench
    from app.datasets.registry import list_dataset
    from app.datasets.scribbles import with_simulated_scribbles

    plan = BenchPlan(
        dataset=dataset,
        supervision=supervision,
        strategies=tuple(part.strip() for part in strategies.split(",")),
        budgets=tuple(read_numbers(budgets)),
        seeds=tuple(int(seed) for seed in read_numbers(seeds)),
        preset=preset,
        overrides=_with_recipe(read_object(protocol), recipe),
        ablation=ablation,
        settings=read_object(strategy_settings),
        scribbles=scribbles,
    )
    listing = list_dataset(dataset, root)
    if scribbles == Scribbles.SIMULATE:
        listing = with_simulated_scribbles(listing, 0)
    knobs = Settings(home=target / "service", port=0)
    with service(url, knobs, tuple(Queue)) as client, progress() as tell:
        results = run_bench(client, listing, plan, target, tell)
    table = Table("strategy", *(f"{budget:g} %" for budget in plan.budgets), title="mean Dice, test patients")
    for strategy, by_budget in summarise_results(target).items():
        table.add_row(
            strategy, *(f"{by_budget[budget]:.3f}" if budget in by_budget else "-" for budget in plan.budgets)
        )
    out.print(table)
    for warning in sorted(encoder_warnings(target)):
        out.print(f"warning: {warning}")
    for remark in list_remarks(target):
        out.print(remark)
    out.print(f"{results}, {target / CURVE} and {target / 'manifest.json'} are written.")


@bench.command("report")
def bench_report(target: Annotated[Path, typer.Argument(help="Folder of an experiment.")]) -> None:
    """Draw curve.png anew from results.csv, and tell how sure the means are."""
    from app.bench.certainty import describe_certainty, describe_differences, list_remarks
    from app.bench.report import CURVE, draw_curve

    cells = describe_certainty(target)
    if cells:  # else no round has closed yet, and there is nothing to draw
        draw_curve(target)
    table = Table(
        "strategy", "%", "seeds", "mean Dice", "SD over seeds", "± (2 SE over test patients)", "last checkpoint"
    )
    for cell in cells:
        others = ("" if each is None else f"{each:.3f}" for each in (cell.spread, cell.error, cell.last))
        table.add_row(cell.strategy, f"{cell.budget:g}", str(cell.seeds), f"{cell.mean:.3f}", *others)
    if table.row_count:
        out.print(table)
    table = Table("strategy", "against", "seeds", "paired difference", "95 % interval (runs, then patients)")
    for each in describe_differences(target):
        interval = f"{each.low:+.3f} to {each.high:+.3f}"
        table.add_row(each.strategy, each.base, str(each.seeds), f"{each.mean:+.3f}", interval)
    if table.row_count:
        out.print(table)
    for remark in list_remarks(target):
        out.print(remark)
    out.print(f"{target / CURVE} is written." if cells else "No round has closed yet.")


@bench.command("verify")
def bench_verify(
    target: Annotated[Path, typer.Argument(help="Folder of an experiment.")],
    root: Annotated[Path | None, typer.Option(help="Folder of its data set, to compare splits and patients.")] = None,
) -> None:
    """Tell whether an experiment is whole and agrees with itself and its data; a status that is not 0 when not."""
    from app.bench.check import find_faults
    from app.bench.plan import read_manifest
    from app.datasets.registry import list_dataset

    manifest = read_manifest(target)
    listing = None if root is None else list_dataset(manifest["plan"]["dataset"], root)
    faults = find_faults(target, listing)
    for fault in faults:
        typer.echo(fault, err=True)
    if faults:
        raise typer.Exit(1)
    rounds = [round_ for run in manifest["runs"].values() for round_ in run["rounds"].values()]
    picks = sum(len(round_["picks"]) for round_ in rounds)
    out.print(f"{len(manifest['runs'])} runs, {len(rounds)} rounds and {picks} picks are whole.")


def _with_recipe(overrides: dict[str, Any], recipe: str) -> dict[str, Any]:
    if not recipe:
        return overrides
    return overrides | {"segmentation": {**overrides.get("segmentation", {}), "recipe": recipe}}

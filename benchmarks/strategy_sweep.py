"""Every strategy on one data set under one protocol: Dice, CPU seconds and peak memory, as one Markdown table.

    python benchmarks/strategy_sweep.py acdc --root $NEXTSLICE_DATA/acdc --out out/sweep --preset cpu

Each strategy and supervision is one `nextslice bench run` with a folder of its own below `--out`; what is finished is
not run again, what was stopped goes on. `--table` prints the table of what there is, without running anything.

CPU seconds are those of all processes of the run, import and encoder included, so that they hold on a busy machine
too; peak memory is the largest resident set that any one of them had.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from statistics import fmean
from typing import Any

from app.bench.report import RESULTS, summarise_results
from app.names import STRATEGIES, Supervision

MEASURES = "measures.json"
_MARK = "NEXTSLICE_SWEEP"
_LOOK_S = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """CPU seconds and peak memory of all processes whose environment carries the mark."""

    def __init__(self, mark: str) -> None:
        self._mark = f"{_MARK}={mark}".encode()
        self._cpu_s: dict[str, float] = {}  # a process started twice under one number has another start time
        self._peak_kb = 0

    def look(self) -> None:
        """Read what the processes have used so far."""
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            with suppress(OSError, IndexError, ValueError):  # it ended between two reads
                if self._mark not in (folder / "environ").read_bytes().split(b"\0"):
                    continue
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                self._cpu_s[f"{folder.name}-{fields[19]}"] = (int(fields[11]) + int(fields[12])) / _TICKS
                status = (folder / "status").read_text()
                self._peak_kb = max(self._peak_kb, int(status.partition("VmHWM:")[2].split()[0]))

    def as_json(self) -> dict[str, float]:
        """What was measured, in seconds and mebibytes."""
        return {"cpu_s": round(sum(self._cpu_s.values()), 1), "peak_mib": round(self._peak_kb / 1024, 1)}


def run_one(arguments: argparse.Namespace, supervision: str, strategy: str) -> bool:
    """Run one strategy to its end; False when it was refused, with the reason in its folder."""
    folder: Path = arguments.out / f"{supervision}-{strategy}"
    if (folder / MEASURES).exists():
        return True
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "app.cli", "bench", "run", arguments.dataset, "--root", str(arguments.root)]
    command += ["--supervision", supervision, "--strategies", strategy, "--budgets", arguments.budgets]
    command += ["--seeds", arguments.seeds, "--preset", arguments.preset, "--protocol", arguments.protocol]
    command += ["--out", str(folder)]
    meter = Meter(str(folder.resolve()))
    began = time.monotonic()
    with (folder / "bench.log").open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=os.environ | {_MARK: str(folder.resolve())}, stdin=subprocess.DEVNULL
        )
        while process.poll() is None:
            meter.look()
            time.sleep(_LOOK_S)
    spent = {"wall_s": round(time.monotonic() - began, 1)} | meter.as_json()
    earlier = folder / "sittings.jsonl"
    with earlier.open("a", encoding="utf-8") as file:
        file.write(json.dumps(spent) + "\n")
    if process.returncode:
        return False
    sittings = [json.loads(line) for line in earlier.read_text(encoding="utf-8").splitlines()]
    total = {name: round(sum(each[name] for each in sittings), 1) for name in ("wall_s", "cpu_s")}
    total["peak_mib"] = max(each["peak_mib"] for each in sittings)
    (folder / MEASURES).write_text(json.dumps(total) + "\n", encoding="utf-8")
    return True


def print_table(out: Path) -> None:
    """What there is so far, one row a strategy and supervision."""
    rows: list[tuple[str, str, dict[float, float], dict[str, Any]]] = []
    for folder in sorted(each for each in out.iterdir() if (each / MEASURES).exists()):
        supervision, _, strategy = folder.name.partition("-")
        measures = json.loads((folder / MEASURES).read_text(encoding="utf-8"))
        rows.append((supervision, strategy, summarise_results(folder / RESULTS)[strategy], measures))
    budgets = sorted({budget for _, _, dice, _ in rows for budget in dice})
    print("| supervision | strategy | " + " | ".join(f"{b:g} %" for b in budgets) + " | mean | CPU s | peak MiB |")
    print("|---|---|" + "---|" * (len(budgets) + 3))
    for supervision, strategy, dice, spent in sorted(rows, key=lambda row: (row[0], -fmean(row[2].values()))):
        cells = [f"{dice[budget]:.3f}" if budget in dice else "" for budget in budgets]
        cells += [f"{fmean(dice.values()):.3f}", f"{spent['cpu_s']:.0f}", f"{spent['peak_mib']:.0f}"]
        print(f"| {supervision} | {strategy} | " + " | ".join(cells) + " |")


def main() -> int:
    """Run what is missing, then print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("--root", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--supervisions", default=f"{Supervision.SCRIBBLE},{Supervision.FULL}")
    parser.add_argument("--strategies", default=",".join(STRATEGIES))
    parser.add_argument("--budgets", default="2,3,4,5")
    parser.add_argument("--seeds", default="1")
    parser.add_argument("--preset", default="cpu")
    parser.add_argument("--protocol", default="{}")
    parser.add_argument("--table", action="store_true", help="only print the table of what is finished")
    arguments = parser.parse_args()
    failed = []
    if not arguments.table:
        for supervision in arguments.supervisions.split(","):
            for strategy in arguments.strategies.split(","):
                print(f"{supervision} {strategy} ...", file=sys.stderr, flush=True)
                if not run_one(arguments, supervision, strategy):
                    failed.append(f"{supervision}-{strategy}")
    print_table(arguments.out)
    for name in failed:
        print(f"\n{name} did not finish; {arguments.out / name / 'bench.log'} says why")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

"""Tables and pictures of an experiment, made from what the service measured."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from app.bench.plan import BenchPlan, read_manifest
from app.client import Client

RESULTS = "results.csv"
CURVE = "curve.png"
COLUMNS = (
    "dataset",
    "supervision",
    "strategy",
    "seed",
    "budget_percent",
    "slices",
    "member",
    "best_on_validation",
    "class_value",
    "class_name",
    "dice",
    "hd95",
    "hd95_unit",
    "asd",
    "misses",
    "volumes",
)


def append_results(
    out: Path, plan: BenchPlan, strategy: str, seed: int, client: Client, slug: str, round_: dict[str, Any]
) -> None:
    """Add the rows of a closed round: one a member (and the ensemble) and class, means over the test volumes."""
    project = client.get(f"/v1/projects/{slug}")
    names = {each["value"]: each["name"] for each in project["label_schema"]}
    metrics = list(client.items(f"/v1/rounds/{round_['id']}/metrics"))
    best = _best_member(client, slug, round_["id"])
    facts = {
        "dataset": plan.dataset,
        "supervision": plan.supervision,
        "strategy": strategy,
        "seed": seed,
        "budget_percent": f"{round_['budget_percent']:g}",
        "slices": round_["target"],
    }
    is_new = not (out / RESULTS).exists()
    with (out / RESULTS).open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        for (member, value), rows in sorted(_group(metrics).items(), key=lambda item: (str(item[0][0]), item[0][1])):
            writer.writerow(
                facts
                | {
                    "member": "ensemble" if member is None else member,
                    "best_on_validation": int(member is not None and member == best),
                    "class_value": value,
                    "class_name": names[value],
                    "dice": _mean(row["dice"] for row in rows),
                    "hd95": _mean(row["hd95"] for row in rows),
                    "hd95_unit": rows[0]["hd95_unit"],
                    "asd": _mean(row["asd"] for row in rows),
                    "misses": sum(row["missed"] for row in rows),
                    "volumes": len(rows),
                }
            )


def summarise_results(out: Path) -> dict[str, dict[float, float]]:
    """Strategy -> budget -> headline Dice (over classes, volumes and members, as the service has it), over seeds."""
    manifest = read_manifest(out)
    cells: dict[str, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for run in manifest["runs"].values():
        for budget, round_ in run["rounds"].items():
            if round_["summary"]["dice"] is not None:
                cells[run["strategy"]][float(budget)].append(round_["summary"]["dice"])
    return {
        strategy: {budget: fmean(values) for budget, values in sorted(by_budget.items())}
        for strategy, by_budget in cells.items()
    }


def draw_curve(out: Path) -> None:
    """Draw `curve.png`: Dice, HD95 and ASD against the labelled share, a line a strategy, a thin one a seed."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    with (out / RESULTS).open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["member"] != "ensemble"]
    figure, axes = plt.subplots(1, 3, figsize=(16, 4.5), layout="constrained")
    units = sorted({row["hd95_unit"] for row in rows})
    for axis, column, scale, label in (
        (axes[0], "dice", 100.0, "Dice, %, mean of foreground classes"),
        (axes[1], "hd95", 1.0, f"HD95, {'/'.join(units)}, of what was found"),
        (axes[2], "asd", 1.0, f"ASD, {'/'.join(units)}, of what was found"),
    ):
        for number, strategy in enumerate(dict.fromkeys(row["strategy"] for row in rows)):
            own = [row for row in rows if row["strategy"] == strategy]
            for seed in sorted({row["seed"] for row in own}):
                _draw_line(axis, [row for row in own if row["seed"] == seed], column, scale, f"C{number}", None)
            _draw_line(axis, own, column, scale, f"C{number}", strategy)
        axis.set(xlabel="labelled slices of the train patients, %", ylabel=label)
        axis.grid(alpha=0.3)
    axes[0].set_ylim(0, 100)
    axes[0].legend()
    figure.suptitle(f"{rows[0]['dataset']}, {rows[0]['supervision']} supervision, test patients")
    figure.savefig(out / CURVE, dpi=120)
    plt.close(figure)


def _draw_line(axis: Any, rows: list[dict[str, str]], column: str, scale: float, color: str, label: str | None) -> None:
    values: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        if row[column]:
            values[float(row["budget_percent"])].append(float(row[column]) * scale)
    budgets = sorted(values)
    means = [fmean(values[budget]) for budget in budgets]
    style = {"lw": 0.8, "alpha": 0.5} if label is None else {"lw": 2.2, "marker": "o"}
    axis.plot(budgets, means, color=color, label=label, **style)


def _group(metrics: list[dict[str, Any]]) -> dict[tuple[int | None, int], list[dict[str, Any]]]:
    groups: dict[tuple[int | None, int], list[dict[str, Any]]] = defaultdict(list)
    for metric in metrics:
        groups[metric["member"], metric["class_value"]].append(metric)
    return groups


def _best_member(client: Client, slug: str, round_id: str) -> int | None:
    scores = {
        model["member"]: model["metrics"]["validation_dice"]
        for model in client.items(f"/v1/projects/{slug}/models")
        if model["round_id"] == round_id and model["kind"] == "segmentation"
    }
    known = {member: score for member, score in scores.items() if score is not None}
    return max(known, key=known.__getitem__) if known else None


def _mean(values: Iterable[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{fmean(known):.6f}" if known else ""

"""What the command line says of an import, and asks."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import typer
from rich.console import Console

from app.client import Imported
from app.datasets.published import differences
from app.datasets.records import DatasetListing, VolumeSource
from app.formats.deidentify import PROFILE, removed_words

_NAMED = 3
_LATER = "later"


def tell_import(out: Console, listing: DatasetListing, imported: Imported, slices: dict[str, int]) -> None:
    """Counts, beside the published ones where they differ; what is worth knowing; what was left out, and why."""
    counted = {split: {**counts, "slices": slices[split]} for split, counts in listing.counts().items()}
    for split, counts in counted.items():
        out.print(f"{split}: {counts['patients']} patients, {counts['volumes']} volumes, {counts['slices']} slices")
    for remark in (*listing.remarks, *differences(listing.name, counted)):
        out.print(f"note: {remark}")
    for problem in listing.problems:
        out.print(f"left out: {problem.name}: {problem.reason}")
    for remark, volumes in _by_remark(imported.remarks).items():
        shown = ", ".join(volumes[:_NAMED]) + (f" and {len(volumes) - _NAMED} more" if len(volumes) > _NAMED else "")
        out.print(f"note: {shown}: {remark}")
    if imported.removed is not None:
        out.print(f"de-identified ({PROFILE}): {removed_words(imported.removed)}")
    for volume, reason in imported.refused:
        out.print(f"refused: {volume}: {reason}")
    if imported.unclear:
        count = "1 volume waits" if len(imported.unclear) == 1 else f"{len(imported.unclear)} volumes wait"
        out.print(f"{count} for an axis: the same command with --axis 0, 1 or 2 takes in what is still missing")


def ask_axes(imported: Imported) -> Iterator[tuple[int, list[str], tuple[VolumeSource, ...]]]:
    """What a person at the terminal answers: the axis, and the names and volumes that it is for.

    Asked once for all volumes of one voxel size whose axes point alike; without a terminal nobody is asked.
    """
    if not sys.stdin.isatty():
        return
    alike: dict[tuple[object, ...], list[str]] = {}
    for name, (_, question) in imported.unclear.items():
        alike.setdefault((question.spacing, question.views), []).append(name)
    for names in alike.values():
        volumes = [imported.unclear[name] for name in names]
        shown = str(volumes[0][1]) + (f" The same holds for {len(names) - 1} more." if len(names) > 1 else "")
        typer.echo(shown)
        answer = ""
        while answer not in ("0", "1", "2", _LATER):
            answer = typer.prompt("Axis (0, 1, 2)", default=_LATER)
        if answer != _LATER:
            yield int(answer), names, tuple(volume for volume, _ in volumes)


def _by_remark(remarks: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for volume, remark in remarks:
        grouped.setdefault(remark, []).append(volume)
    return grouped

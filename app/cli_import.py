"""What the command line says of an import."""

from __future__ import annotations

from rich.console import Console

from app.client import Imported
from app.datasets.published import differences
from app.datasets.records import DatasetListing
from app.formats.deidentify import PROFILE, removed_words

_NAMED = 3


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


def _by_remark(remarks: list[tuple[str, str]]) -> dict[str, list[str]]:
    grouped: dict[str, list[str]] = {}
    for volume, remark in remarks:
        grouped.setdefault(remark, []).append(volume)
    return grouped

"""Refusals of masks that cover several slices of a volume."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict


class SliceNotLeased(Conflict):
    """A slice of the mask is neither leased to its author nor their own work."""

    code = "slice-not-leased"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} is not leased to you; lease it first.")


class NoSliceWritten(Conflict):
    """Not one of the slices that a mask covers could be written."""

    code = "no-slice-written"

    def __init__(self, reasons: Sequence[tuple[int, str]]) -> None:
        self.reasons = tuple(reasons)
        index, reason = self.reasons[0]
        super().__init__(
            f"None of the {len(self.reasons)} slices in the mask could be written; slice {index}, for one: {reason}"
        )

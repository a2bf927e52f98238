"""What a slice does not take now: this person's mask, or one of several in a file."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict, Gone


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


class SliceExcluded(Gone):
    """Somebody found the slice unfit meanwhile, and it left the queue."""

    code = "slice-excluded"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} was excluded as unfit; nobody is to annotate it any more.")


class SliceNotProposed(Conflict):
    """Several people are to read a slice blind, and no round proposed it: nobody would hide one mask from the next."""

    code = "slice-not-proposed"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"No round has proposed slice {self.slice_id}, so its readers could not be kept blind.")


class SliceAccepted(Conflict):
    """A reviewer accepted what is there; an annotator does not replace it."""

    code = "slice-accepted"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"A reviewer has accepted slice {self.slice_id}; a reviewer or a manager can change it.")

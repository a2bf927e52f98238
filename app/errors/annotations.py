"""What a slice does not take now: this person's mask, one of several in a file, a judgement."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.tree import Conflict, Gone, InvalidInput


class SliceNotLeased(Conflict):
    """A slice of the mask is not leased to its author, nor named and theirs to write without a lease."""

    code = "slice-not-leased"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(
            f"Slice {self.slice_id} is not leased to you; lease it first. "
            "Where slices= names it, your own work is written too, for managers any slice."
        )


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


class NothingToJudge(Conflict):
    """Nobody has drawn on the slice that is to be reviewed or adjudicated."""

    code = "nothing-to-judge"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} has no annotation yet that could be reviewed or adjudicated.")


class CommentMissing(InvalidInput):
    """Whoever is to draw a slice anew must be told what was wrong."""

    code = "comment-missing"

    def __init__(self) -> None:
        super().__init__("A rejection says in its comment what is wrong.")


class PinOutside(InvalidInput):
    """A comment is pinned beside the slice."""

    code = "pin-outside"

    def __init__(self, x: float | None, y: float | None, width: int, height: int) -> None:
        self.x, self.y, self.width, self.height = x, y, width, height
        super().__init__(
            f"The comment is pinned at ({x}, {y}), outside of the slice, which is {width} x {height} pixels."
        )

"""Rounds, leases and annotations: out of turn, out of date, out of form."""

from __future__ import annotations

from collections.abc import Sequence

from app.errors.images import MaskRefused
from app.errors.tree import (
    Conflict,
    Gone,
    InvalidInput,
    NotFound,
    PreconditionFailed,
    PreconditionRequired,
    TooLarge,
    UnsupportedMedia,
)


class RoundOpen(Conflict):
    """A project has one open round at a time."""

    code = "round-open"

    def __init__(self, number: int, state: str) -> None:
        self.number, self.state = number, state
        super().__init__(f"Round {number} is still open ({state}).")


class NothingLeft(Conflict):
    """There is no slice left that a round could propose."""

    code = "nothing-left"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"There is nothing left to propose: {reason}.")


class RoundStateConflict(Conflict):
    """What was asked for does not fit the state of the round."""

    code = "round-state-conflict"

    def __init__(self, number: int, state: str, wanted: str) -> None:
        self.number, self.state, self.wanted = number, state, wanted
        super().__init__(f"Round {number} is {state}; {wanted}.")


class RoundPending(Conflict):
    """Nothing can be leased now, but a job is running that will propose more."""

    code = "round-pending"

    def __init__(self, number: int, state: str) -> None:
        self.number, self.state = number, state
        super().__init__(f"No slice can be leased now: round {number} is {state}. Ask again in a moment.")


class LeaseGone(Gone):
    """The lease has ended."""

    code = "lease-gone"

    def __init__(self, lease: object, state: str) -> None:
        self.lease, self.state = str(lease), state
        super().__init__(f"The lease {self.lease} is {state}.")


class SliceLeasedElsewhere(Gone):
    """Somebody else holds the slice now."""

    code = "slice-leased-elsewhere"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} is leased to somebody else now; nothing was stored.")


class AnnotationStale(PreconditionFailed):
    """The slice was annotated meanwhile."""

    code = "annotation-stale"

    def __init__(self, current: str) -> None:
        self.current = current
        super().__init__(f"The annotation has changed meanwhile; its current version is {current}.")


class AnnotationPreconditionMissing(PreconditionRequired):
    """A submission must name the version that it replaces."""

    code = "annotation-precondition-missing"

    def __init__(self) -> None:
        super().__init__('Send If-Match with the ETag of the current annotation, or "0" when there is none.')


class SupervisionMismatch(InvalidInput):
    """The kind of annotation is not what the project trains on."""

    code = "supervision-mismatch"

    def __init__(self, kind: str, supervision: str) -> None:
        self.kind, self.supervision = kind, supervision
        super().__init__(f"The project takes {supervision} annotations, not {kind} ones.")


class MaskIncomplete(MaskRefused):
    """A full mask leaves pixels unlabelled."""

    code = "mask-incomplete"

    def __init__(self, unlabelled: int) -> None:
        self.unlabelled = unlabelled
        super().__init__(f"A full mask labels every pixel; {unlabelled} are unlabelled (255).")


class MaskTypeRefused(UnsupportedMedia):
    """A body of a type in which no mask is taken."""

    code = "mask-type-refused"

    def __init__(self, content_type: str, known: Sequence[str]) -> None:
        self.content_type, self.known = content_type, tuple(known)
        super().__init__(f"A mask cannot be sent as {content_type[:100]!r}; known are {', '.join(known)}.")


class EmptyBody(InvalidInput):
    """Nothing was sent."""

    code = "empty-body"

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(f"The request has no body; {what} was expected.")


class BodyTooLarge(TooLarge):
    """The body passes the limit of this service."""

    code = "body-too-large"

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        super().__init__(f"The body is larger than the {limit_bytes} bytes that are taken here.")


class NoModelYet(Conflict):
    """There is no trained model to predict or judge with."""

    code = "no-model-yet"

    def __init__(self, project: str) -> None:
        self.project = project
        super().__init__(f"Project {project!r} has no trained model yet.")


class NoAnnotationYet(NotFound):
    """The slice has no annotation."""

    code = "no-annotation-yet"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} has no annotation yet.")

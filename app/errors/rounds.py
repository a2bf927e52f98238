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


class RoundSuperseded(Conflict):
    """A later round has proposed since, so nothing more is proposed for this one."""

    code = "round-superseded"

    def __init__(self, number: int, newest: int) -> None:
        self.number, self.newest = number, newest
        super().__init__(f"Round {number} proposes nothing any more, for round {newest} followed it.")


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


class LeaseInUse(Conflict):
    """The holder of the lease gave a sign of life just now."""

    code = "lease-in-use"

    def __init__(self, lease: object, holder: str) -> None:
        self.lease, self.holder = str(lease), holder
        super().__init__(f"The lease {self.lease} is in use by {holder!r}; send force=true to take it all the same.")


class LeaseLimit(Conflict):
    """One person holds as many leases as one may."""

    code = "lease-limit"

    def __init__(self, most: int) -> None:
        self.most = most
        super().__init__(f"{most} slices are held for other purposes already; submit or release some first.")


class ReadingsComplete(Conflict):
    """A slice has been read by as many people as the project asks for."""

    code = "readings-complete"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"All readings of slice {self.slice_id} are in; what changes now is an adjudication.")


class ReadingsIncomplete(Conflict):
    """A slice cannot be adjudicated before all its readers have submitted."""

    code = "readings-incomplete"

    def __init__(self, slice_id: object) -> None:
        self.slice_id = str(slice_id)
        super().__init__(f"Slice {self.slice_id} does not have all of its readings yet.")


class OwnWork(Conflict):
    """Nobody reviews or adjudicates what they drew themselves."""

    code = "own-work"

    def __init__(self, person: str) -> None:
        self.person = person
        super().__init__(f"{person!r} drew on this slice and cannot judge it.")


class VersionSuperseded(Conflict):
    """The version that was reviewed is not the current one."""

    code = "version-superseded"

    def __init__(self, version: object, current: object) -> None:
        self.version, self.current = str(version), str(current)
        super().__init__(f"Version {self.version} was superseded by {self.current}; look at that one.")


class OtherSlice(InvalidInput):
    """Two versions belong to different slices."""

    code = "other-slice"

    def __init__(self, version: object, other: object) -> None:
        self.version, self.other = str(version), str(other)
        super().__init__(f"Versions {self.version} and {self.other} are not of the same slice.")


class IdempotencyKeyRefused(InvalidInput):
    """An Idempotency-Key that is none."""

    code = "idempotency-key-refused"

    def __init__(self) -> None:
        super().__init__("An Idempotency-Key has 1 to 200 visible ASCII characters.")


class IdempotencyKeyReused(InvalidInput):
    """The key was used for another request."""

    code = "idempotency-key-reused"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"The Idempotency-Key {key!r} was used for another request within the last day.")


class RequestStillRunning(Conflict):
    """The first request with this key is still at work."""

    code = "request-still-running"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"The request with Idempotency-Key {key!r} is still running; ask again in a moment.")


class DraftStale(PreconditionFailed):
    """The draft was changed meanwhile, perhaps in another window."""

    code = "draft-stale"

    def __init__(self, current: str) -> None:
        self.current = current
        super().__init__(f"The draft has changed meanwhile; its current tag is {current}.")


class DraftPreconditionMissing(PreconditionRequired):
    """Whoever changes a draft must name the one that they change."""

    code = "draft-precondition-missing"

    def __init__(self) -> None:
        super().__init__("There is a draft already: send If-Match with its ETag.")


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

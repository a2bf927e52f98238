"""The branches of the tree: what kind of refusal it is, and so its HTTP status."""

from __future__ import annotations

from typing import ClassVar


class NextSliceError(Exception):
    """Anything that this house refuses on purpose; `code` is the stable word for programs, str() the sentence."""

    code: ClassVar[str] = "refused"


class InvalidInput(NextSliceError):
    """What was sent cannot be used (422)."""

    code = "invalid-input"


class Unauthorized(NextSliceError):
    """Nobody is signed in (401)."""

    code = "unauthorized"


class Forbidden(NextSliceError):
    """Who asks may know of it, and may not do it (403)."""

    code = "forbidden"


class NotAllowed(NextSliceError):
    """There is no such method on this path (405)."""

    code = "not-allowed"


class TooManyRequests(NextSliceError):
    """It was asked too often (429)."""

    code = "too-many-requests"


class NotFound(NextSliceError):
    """What was asked for is not there (404)."""

    code = "not-found"


class Conflict(NextSliceError):
    """What was asked for contradicts what is there (409)."""

    code = "conflict"


class Gone(NextSliceError):
    """What was held is held no longer (410)."""

    code = "gone"


class PreconditionFailed(NextSliceError):
    """The caller looked at an older state (412)."""

    code = "precondition-failed"


class PreconditionRequired(NextSliceError):
    """The caller must say which state it looked at (428)."""

    code = "precondition-required"


class TooLarge(NextSliceError):
    """What was sent is larger than this house takes (413)."""

    code = "too-large"


class UnsupportedMedia(NextSliceError):
    """What was sent is of a media type that is not taken here (415)."""

    code = "unsupported-media"


class Unavailable(NextSliceError):
    """Something this house leans on does not answer, or answers wrongly (503)."""

    code = "unavailable"

"""Every refusal of this house, one class a reason.

NextSliceError
├── InvalidInput            422  what was sent cannot be used
│   ├── ImageRefused             NotAnImage, TruncatedImage, WrongDimensions, NonFiniteVoxel, UnsupportedDtype,
│   │                            PixelsNotExact, UnknownAxis
│   ├── MaskRefused              NotAMask, MaskLengthWrong, NotAPng, ShapeMismatch, AffineMismatch,
│   │                            UnknownMaskValues, MaskNotIntegral, EmptyMask
│   ├── DatasetRefused           UnknownDataset, DatasetUnreadable
│   └── BadBlobKey, BlobRangeOutside
├── NotFound                404  BlobNotFound, PlaneOutside
├── Conflict                409
├── Gone                    410
├── PreconditionFailed      412
├── TooLarge                413  ImageTooLarge, MaskTooLarge
├── UnsupportedMedia        415
├── PreconditionRequired    428
└── Unavailable             503  BlobDamaged

A class takes facts, keeps them as fields and builds its own sentence; the HTTP status of a branch stands in
`api/problems.py`.
"""

# ruff: noqa: N818 - a class here is read as what happened ("raise BlobNotFound"), the branch says that it is an error

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar


class NextSliceError(Exception):
    """Anything that this house refuses on purpose; `code` is the stable word for programs, str() the sentence."""

    code: ClassVar[str] = "refused"


class InvalidInput(NextSliceError):
    """What was sent cannot be used (422)."""

    code = "invalid-input"


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


# --- images -----------------------------------------------------------------------------------------------------------


class ImageRefused(InvalidInput):
    """An image that cannot be taken in."""

    code = "image-refused"


class NotAnImage(ImageRefused):
    """The bytes are not an image of the format they claim."""

    code = "not-an-image"

    def __init__(self, name: str, reason: str) -> None:
        self.name, self.reason = name, reason
        super().__init__(f"{name} cannot be read as an image: {reason}.")


class TruncatedImage(ImageRefused):
    """The header promises more voxels than the file holds."""

    code = "truncated-image"

    def __init__(self, name: str, expected_bytes: int, found_bytes: int) -> None:
        self.name, self.expected_bytes, self.found_bytes = name, expected_bytes, found_bytes
        super().__init__(f"{name} is cut short: {expected_bytes} bytes of voxels expected, {found_bytes} found.")


class WrongDimensions(ImageRefused):
    """The image is not one 3-D volume."""

    code = "wrong-dimensions"

    def __init__(self, name: str, shape: Sequence[int], reason: str) -> None:
        self.name, self.shape, self.reason = name, tuple(shape), reason
        super().__init__(f"{name} has shape {_shape(shape)}: {reason}.")


class NonFiniteVoxel(ImageRefused):
    """A voxel is NaN or infinite; the index is the first such one, in the file's own axes."""

    code = "non-finite-voxel"

    def __init__(self, name: str, index: Sequence[int], value: float) -> None:
        self.name, self.index, self.value = name, tuple(index), value
        super().__init__(f"{name} holds {value} at voxel {tuple(index)}; every voxel must be a finite number.")


class UnsupportedDtype(ImageRefused):
    """Voxels of a type that has no place in a pack."""

    code = "unsupported-dtype"

    def __init__(self, name: str, dtype: str) -> None:
        self.name, self.dtype = name, dtype
        super().__init__(f"{name} has voxels of type {dtype}, which is not supported.")


class PixelsNotExact(ImageRefused):
    """A value cannot be kept: an integer beyond float32's exact range, or a float beyond its largest number."""

    code = "pixels-not-exact"

    def __init__(self, name: str, dtype: str, index: Sequence[int], value: float) -> None:
        self.name, self.dtype, self.index, self.value = name, dtype, tuple(index), value
        super().__init__(f"{name} ({dtype}) holds {value} at voxel {tuple(index)}, which float32 cannot keep.")


class UnknownAxis(ImageRefused):
    """A slicing axis that the image does not have."""

    code = "unknown-axis"

    def __init__(self, axis: int) -> None:
        self.axis = axis
        super().__init__(f"Slices can be cut along axis 0, 1 or 2, not along axis {axis}.")


class ImageTooLarge(TooLarge):
    """The header announces more than the limit, so no voxel was read."""

    code = "image-too-large"

    def __init__(self, name: str, announced_bytes: int, limit_bytes: int) -> None:
        self.name, self.announced_bytes, self.limit_bytes = name, announced_bytes, limit_bytes
        super().__init__(f"{name} announces {announced_bytes} bytes of voxels; the limit is {limit_bytes}.")


# --- masks ------------------------------------------------------------------------------------------------------------


class MaskRefused(InvalidInput):
    """A mask that cannot be taken in."""

    code = "mask-refused"


class NotAMask(MaskRefused):
    """The body is not a gzip stream of one byte a pixel."""

    code = "not-a-mask"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The mask cannot be read: {reason}.")


class MaskLengthWrong(MaskRefused):
    """The gzip stream does not unpack to exactly one byte a pixel."""

    code = "mask-length-wrong"

    def __init__(self, expected_bytes: int, found_bytes: int) -> None:
        self.expected_bytes, self.found_bytes = expected_bytes, found_bytes
        found = f"more than {expected_bytes}" if found_bytes > expected_bytes else str(found_bytes)
        super().__init__(f"The mask must unpack to exactly {expected_bytes} bytes; it unpacks to {found}.")


class MaskTooLarge(TooLarge):
    """The body is longer than any mask of this slice can be."""

    code = "mask-too-large"

    def __init__(self, received_bytes: int, limit_bytes: int) -> None:
        self.received_bytes, self.limit_bytes = received_bytes, limit_bytes
        super().__init__(f"The mask body has {received_bytes} bytes; a mask of this slice has at most {limit_bytes}.")


class NotAPng(MaskRefused):
    """The body is not an 8-bit greyscale or indexed PNG."""

    code = "not-a-png"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The mask cannot be read as a PNG: {reason}.")


class ShapeMismatch(MaskRefused):
    """A mask does not have the shape of what it belongs to."""

    code = "shape-mismatch"

    def __init__(self, expected: Sequence[int], found: Sequence[int]) -> None:
        self.expected, self.found = tuple(expected), tuple(found)
        super().__init__(f"The mask has shape {_shape(found)}; its image has {_shape(expected)}.")


class AffineMismatch(MaskRefused):
    """A mask lies elsewhere in space than its image."""

    code = "affine-mismatch"

    def __init__(self, distance_mm: float, tolerance_mm: float) -> None:
        self.distance_mm, self.tolerance_mm = distance_mm, tolerance_mm
        super().__init__(
            f"The mask lies up to {distance_mm:.3g} mm away from its image; at most {tolerance_mm:.3g} mm is taken."
        )


class UnknownMaskValues(MaskRefused):
    """A mask holds values that no class has."""

    code = "unknown-mask-values"

    def __init__(self, values: Iterable[int], allowed: Iterable[int]) -> None:
        self.values, self.allowed = tuple(sorted(values)), tuple(sorted(allowed))
        super().__init__(
            f"The mask holds the values {_listed(self.values)}; "
            f"allowed are {_listed(self.allowed)} and 255 (unlabelled)."
        )


class MaskNotIntegral(MaskRefused):
    """A mask holds a value that is no whole number from 0 to 255."""

    code = "mask-not-integral"

    def __init__(self, index: Sequence[int], value: float) -> None:
        self.index, self.value = tuple(index), value
        super().__init__(f"The mask holds {value} at {tuple(index)}; every value must be a whole number from 0 to 255.")


class EmptyMask(MaskRefused):
    """A mask in which nothing at all is labelled."""

    code = "empty-mask"

    def __init__(self) -> None:
        super().__init__("The mask labels no pixel at all.")


# --- data sets --------------------------------------------------------------------------------------------------------


class DatasetRefused(InvalidInput):
    """A data set that cannot be listed."""

    code = "dataset-refused"


class UnknownDataset(DatasetRefused):
    """No importer has this name."""

    code = "unknown-dataset"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name, self.known = name, tuple(sorted(known))
        super().__init__(f"There is no importer called {name!r}; known are {', '.join(self.known)}.")


class DatasetUnreadable(DatasetRefused):
    """The folder is not laid out as the importer expects."""

    code = "dataset-unreadable"

    def __init__(self, name: str, path: str, reason: str) -> None:
        self.name, self.path, self.reason = name, path, reason
        super().__init__(f"{path} is not a {name} data set: {reason}.")


# --- blobs ------------------------------------------------------------------------------------------------------------


class BadBlobKey(InvalidInput):
    """A key outside the store's grammar."""

    code = "bad-blob-key"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"{key[:100]!r} is not a blob key.")


class BlobRangeOutside(InvalidInput):
    """A range that leaves its blob."""

    code = "blob-range-outside"

    def __init__(self, key: str, start: int, length: int) -> None:
        self.key, self.start, self.length = key, start, length
        super().__init__(f"Bytes {start} to {start + length} are not all within {key}.")


class PlaneOutside(NotFound):
    """A slice number that the volume does not have."""

    code = "plane-outside"

    def __init__(self, z: int, depth: int) -> None:
        self.z, self.depth = z, depth
        super().__init__(f"There is no slice {z}; the volume has slices 0 to {depth - 1}.")


class BlobNotFound(NotFound):
    """No blob has this key."""

    code = "blob-not-found"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f"There is no blob {key}.")


class BlobDamaged(Unavailable):
    """A stored blob no longer has the content that it was stored with."""

    code = "blob-damaged"

    def __init__(self, key: str, reason: str) -> None:
        self.key, self.reason = key, reason
        super().__init__(f"The blob {key} is damaged: {reason}.")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(length) for length in shape)


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:12])
    return shown if len(values) <= 12 else f"{shown} and {len(values) - 12} more"

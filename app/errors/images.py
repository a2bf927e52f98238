"""Images and masks that cannot be taken in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from app.errors.tree import InvalidInput, TooLarge, Unavailable

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


class IsSegmentation(NotAnImage):
    """A DICOM segmentation: it is read as the mask of the series that it names, not as an image."""

    code = "is-a-segmentation"

    def __init__(self, name: str) -> None:
        super().__init__(name, "it is a segmentation, not an image")


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


class AxisUnclear(ImageRefused):
    """The grid does not tell along which axis slices were taken, so that a person must say.

    `shape` and `spacing` (mm, None where there is none) are along the file's axes, `views` what slices across
    each show.
    """

    code = "axis-unclear"

    def __init__(
        self, name: str, shape: Sequence[int], spacing: Sequence[float] | None, views: tuple[str, str, str]
    ) -> None:
        self.name, self.shape, self.views = name, tuple(shape), views
        self.spacing = None if spacing is None else tuple(spacing)
        grid = f"{_shape(shape)} voxels" + ("" if spacing is None else f" of {_lengths(spacing)} mm")
        choices = ", ".join(f"{axis}: {shape[axis]} {view} slices" for axis, view in enumerate(views))
        super().__init__(
            f"{name} has {grid}, which does not tell along which axis its slices were taken; name it ({choices})."
        )


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
        super().__init__(f"The mask body has {received_bytes} bytes; one of this shape has at most {limit_bytes}.")


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


class SegmentsOverlap(MaskRefused):
    """Two segments claim one voxel, which a mask of one value a voxel cannot show."""

    code = "segments-overlap"

    def __init__(self, index: Sequence[int], first: int, second: int) -> None:
        self.index, self.first, self.second = tuple(index), first, second
        super().__init__(f"Two segments overlap: at voxel {tuple(index)} the mask would be both {first} and {second}.")


class SegmentsUnknown(MaskRefused):
    """Some segments of a segmentation are named as classes, others are not."""

    code = "segments-unknown"

    def __init__(self, labels: Iterable[str], classes: Iterable[str]) -> None:
        self.labels, self.classes = tuple(labels), tuple(classes)
        unknown, known = (", ".join(repr(each[:64]) for each in names[:16]) for names in (self.labels, self.classes))
        super().__init__(
            f"The segmentation has segments that are no class: {unknown}; the classes are {known}. "
            "Give mask_values, segment number -> class, for all segments."
        )


class EmptyMask(MaskRefused):
    """A mask in which nothing at all is labelled."""

    code = "empty-mask"

    def __init__(self) -> None:
        super().__init__("The mask labels no pixel at all.")


class MissingExtra(Unavailable):
    """A format needs packages that are not installed here."""

    code = "missing-extra"

    def __init__(self, what: str, extra: str) -> None:
        self.what, self.extra = what, extra
        super().__init__(f"Reading {what} needs packages that are not installed; install nextslice[{extra}].")


def _shape(shape: Sequence[int]) -> str:
    return "x".join(str(length) for length in shape)


def _lengths(lengths: Sequence[float]) -> str:
    return "x".join(f"{length:.3g}" for length in lengths)


def _listed(values: Sequence[int]) -> str:
    shown = ", ".join(str(value) for value in values[:12])
    return shown if len(values) <= 12 else f"{shown} and {len(values) - 12} more"

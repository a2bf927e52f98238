"""MetaImage files (.mha with the voxels inside, .mhd with the voxels beside it)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import NotAnImage, UnsupportedDtype, WrongDimensions
from app.formats.image import MAX_IMAGE_BYTES
from app.formats.payload import announced_bytes, exactly, is_elsewhere, numbers, read_beside, read_whole, unpack
from app.formats.voxels import FileVoxels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
_HEADER_LIMIT = 64 * 1024


def load_metaimage(source: bytes | Path, *, name: str = "", max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The stored voxels of a MetaImage file; a 2-D image is a volume of one slice, three channels are colours.

    Raises `NotAnImage`, `ImageTooLarge`, `TruncatedImage`, `WrongDimensions` and `UnsupportedDtype`.
    """
    name = name or (source.name if isinstance(source, Path) else "The file")
    content = read_whole(source, name, max_bytes)
    fields, header_bytes = _parse(content, name)
    shape = _shape(fields, name)
    dtype = _dtype(fields, name)
    channels = _whole(fields, "elementnumberofchannels", 1, name)
    if channels not in (1, 3) or (channels == 3 and dtype.itemsize != 1):
        raise WrongDimensions(name, (*shape, channels), "one channel, or three of one byte each, can be taken")
    size = announced_bytes((*shape, channels), dtype.itemsize, name, max_bytes)
    packed = _packed(source, fields, content[header_bytes:], size, name, max_bytes)
    return _placed(fields, shape, channels, exactly(packed, size, name), dtype, name)


def metaimage_data_file(path: Path) -> str | None:
    """The file beside a header that holds its voxels, or None where they are within; raises `NotAnImage`."""
    try:
        with path.open("rb") as file:
            fields, _ = _parse(file.read(_HEADER_LIMIT), path.name)
    except OSError as error:
        raise NotAnImage(path.name, error.strerror or str(error)) from None
    named = fields["elementdatafile"]
    return None if named.upper() == "LOCAL" or is_elsewhere(named) else named


def _parse(content: bytes, name: str) -> tuple[dict[str, str], int]:
    fields: dict[str, str] = {}
    position = 0
    while position < min(len(content), _HEADER_LIMIT):
        end = content.find(b"\n", position, position + _HEADER_LIMIT)
        end = len(content) if end < 0 else end
        key, separator, value = content[position:end].decode("latin-1").partition("=")
        position = end + 1
        if not separator:
            if key.strip():
                break
            continue
        fields[key.strip().lower()] = value.strip()
        if key.strip().lower() == "elementdatafile":  # always the last one: the voxels follow
            return fields, position
    raise NotAnImage(name, "it has no MetaImage header that ends with ElementDataFile")


def _shape(fields: dict[str, str], name: str) -> tuple[int, int, int]:
    if "dimsize" not in fields:
        raise NotAnImage(name, "its header has no DimSize")
    shape = [int(length) for length in numbers(fields["dimsize"], int, name, "DimSize")]
    if len(shape) != _whole(fields, "ndims", len(shape), name):
        raise NotAnImage(name, f"its header says NDims = {fields['ndims']} and DimSize = {fields['dimsize']}")
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 3:
        raise WrongDimensions(name, shape, "one 2-D image or 3-D volume is needed")
    return shape[0], shape[1], shape[2] if len(shape) == 3 else 1


def _dtype(fields: dict[str, str], name: str) -> np.dtype[Any]:
    import numpy as np

    kind = fields.get("elementtype", "").upper()
    if kind not in _DTYPES:
        raise UnsupportedDtype(name, kind[:40] or "(not given)")
    if fields.get("binarydata", "true").lower() != "true":
        raise NotAnImage(name, "its voxels are written as text")
    big = fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "false")).lower() == "true"
    return np.dtype(_DTYPES[kind]).newbyteorder(">" if big else "<")


def _packed(source: bytes | Path, fields: dict[str, str], local: bytes, size: int, name: str, max_bytes: int) -> bytes:
    file_name = fields["elementdatafile"]
    if file_name.upper().startswith("LIST") or "%" in file_name:
        raise NotAnImage(name, "its voxels are spread over several files")
    content = local if file_name.upper() == "LOCAL" else read_beside(source, file_name, name, max_bytes)
    compressed = fields.get("compresseddata", "false").lower() == "true"
    skip = _whole(fields, "headersize", 0, name)
    if skip == -1 and not compressed:
        skip = max(len(content) - size, 0)  # the voxels are the last bytes of the file
    if skip < 0:
        raise NotAnImage(name, f"its header says HeaderSize = {skip}")
    return unpack(content[skip:], "gzip", size, name) if compressed else content[skip:]


def _placed(
    fields: dict[str, str], shape: tuple[int, int, int], channels: int, content: bytes, dtype: np.dtype[Any], name: str
) -> FileVoxels:
    import numpy as np

    voxels: NDArray[Any] = np.frombuffer(content, dtype=dtype).reshape((channels, *shape), order="F")
    voxels = voxels[0] if channels == 1 else voxels.transpose(1, 2, 3, 0)
    flat = 2 if _whole(fields, "ndims", 3, name) == 2 else 3
    spacing = _vector(fields, ("elementspacing", "elementsize"), flat, name)
    directions = np.eye(3)
    matrix = _vector(fields, ("transformmatrix", "rotation", "orientation"), flat * flat, name)
    if matrix is not None:
        directions[:flat, :flat] = np.reshape(matrix, (flat, flat)).T  # each line of the file is an axis
    affine = np.eye(4)
    affine[:3, :3] = directions * (1.0 if spacing is None else np.array([*spacing, 1.0][:3]))
    affine[:flat, 3] = _vector(fields, ("offset", "position", "origin"), flat, name) or 0.0
    if not abs(np.linalg.det(affine[:3, :3])) > 1e-12:
        raise NotAnImage(name, "its header gives no usable position (the axes do not span space)")
    affine[:2] *= -1  # the file counts to the left and to the back, this house to the right and to the front
    if spacing is None:
        return FileVoxels(name, voxels, affine, None)
    thickness = abs(spacing[2]) if flat == 3 else 1.0
    return FileVoxels(name, voxels, affine, (abs(spacing[0]), abs(spacing[1]), thickness))


def _vector(fields: dict[str, str], keys: tuple[str, ...], count: int, name: str) -> list[float] | None:
    for key in keys:
        if key in fields:
            found = numbers(fields[key], float, name, key)
            if len(found) < count:
                raise NotAnImage(name, f"its header field {key!r} holds {fields[key][:60]!r}")
            return found[:count]
    return None


def _whole(fields: dict[str, str], key: str, default: int, name: str) -> int:
    if key not in fields:
        return default
    found = numbers(fields[key], int, name, key)
    if len(found) != 1:
        raise NotAnImage(name, f"its header field {key!r} holds {fields[key][:60]!r}")
    return int(found[0])

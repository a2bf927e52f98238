"""NRRD files (.nrrd with the voxels inside, .nhdr with the voxels beside it)."""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.errors import NotAnImage, UnsupportedDtype, WrongDimensions
from app.formats.image import MAX_IMAGE_BYTES, Geometry, from_stack
from app.formats.payload import announced_bytes, exactly, is_elsewhere, numbers, read_beside, read_whole, unpack
from app.formats.voxels import FileVoxels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_DTYPES = {
    "i1": "signed char,int8,int8_t",
    "u1": "uchar,unsigned char,uint8,uint8_t",
    "i2": "short,short int,signed short,signed short int,int16,int16_t",
    "u2": "ushort,unsigned short,unsigned short int,uint16,uint16_t",
    "i4": "int,signed int,int32,int32_t",
    "u4": "uint,unsigned int,uint32,uint32_t",
    "i8": "longlong,long long,long long int,signed long long,signed long long int,int64,int64_t",
    "u8": "ulonglong,unsigned long long,unsigned long long int,uint64,uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPE_OF = {word: dtype for dtype, words in _DTYPES.items() for word in words.split(",")}
_ENCODINGS = {"raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2"} | dict.fromkeys(
    ("ascii", "text", "txt"), "text"
)
# Which way the first two world axes run; a space that is not anatomical is taken as it is.
_SIGNS = {
    "left-posterior-superior": (-1, -1), "lps": (-1, -1),
    "left-anterior-superior": (-1, 1), "las": (-1, 1),
}  # fmt: skip
_HEADER_LIMIT = 1024**2


@dataclass(frozen=True)
class _Axes:
    spatial: tuple[int, ...]  # which axes of the file are i, j, k
    colour: int | None  # which one holds three channels


def load_nrrd(source: bytes | Path, *, name: str = "", max_bytes: int = MAX_IMAGE_BYTES) -> FileVoxels:
    """The stored voxels of an NRRD file; a 2-D image is a volume of one slice, an axis of three bytes is colour.

    Raises `NotAnImage`, `ImageTooLarge`, `TruncatedImage`, `WrongDimensions` and `UnsupportedDtype`.
    """
    import numpy as np

    name = name or (source.name if isinstance(source, Path) else "The file")
    content = read_whole(source, name, max_bytes)
    fields, header_bytes = _parse(content, name)
    sizes = [int(length) for length in numbers(_needed(fields, "sizes", name), int, name, "sizes")]
    if [len(sizes)] != numbers(_needed(fields, "dimension", name), int, name, "dimension"):
        raise NotAnImage(name, f"its header says dimension {fields['dimension']} and sizes {fields['sizes']}")
    dtype = _dtype(fields, name)
    axes = _axes(fields, sizes, dtype, name)
    size = announced_bytes(sizes, dtype.itemsize, name, max_bytes)
    data_file = fields.get("data file", fields.get("datafile"))
    packed = content[header_bytes:] if data_file is None else read_beside(source, data_file, name, max_bytes)
    flat = _voxels(fields, packed, dtype, size, name)
    voxels = flat.reshape(sizes, order="F")
    order = [*axes.spatial, *([] if axes.colour is None else [axes.colour])]
    others = [axis for axis in range(len(sizes)) if axis not in order]
    voxels = voxels.transpose(*order, *others).reshape([sizes[axis] for axis in order], order="F")
    if len(axes.spatial) == 2:
        voxels = np.expand_dims(voxels, 2)
    affine, spacing = _position(fields, axes, name)
    return FileVoxels(name, voxels, affine, spacing)


def write_nrrd(stack: NDArray[np.uint8], geometry: Geometry) -> bytes:
    """The bytes of an NRRD file that holds a uint8 (Z, H, W) stack in its original geometry."""
    columns = list(zip(*geometry.affine[:3], strict=True))
    vectors = ["(" + ",".join(repr(number) for number in column) + ")" for column in columns]
    header = [
        "NRRD0004",
        "type: uint8",
        "dimension: 3",
        "space: right-anterior-superior",
        f"sizes: {' '.join(str(length) for length in geometry.shape)}",
        f"space directions: {' '.join(vectors[:3])}",
        "kinds: domain domain domain",
        "encoding: gzip",
        f"space origin: {vectors[3]}",
    ]
    voxels = from_stack(stack, geometry.axis).tobytes(order="F")
    return "\n".join([*header, "", ""]).encode() + gzip.compress(voxels, compresslevel=6, mtime=0)


def nrrd_data_file(path: Path) -> str | None:
    """The file beside a header that holds its voxels, or None where they are within; raises `NotAnImage`."""
    try:
        with path.open("rb") as file:
            fields, _ = _parse(file.read(_HEADER_LIMIT), path.name)
    except OSError as error:
        raise NotAnImage(path.name, error.strerror or str(error)) from None
    named = fields.get("data file", fields.get("datafile"))
    return None if named is None or is_elsewhere(named) else named


def _parse(content: bytes, name: str) -> tuple[dict[str, str], int]:
    if re.match(rb"NRRD000[1-5]\r?\n", content) is None:
        raise NotAnImage(name, "it does not begin with NRRD0001 to NRRD0005")
    fields: dict[str, str] = {}
    position = content.index(b"\n") + 1
    while position < len(content):
        end = content.find(b"\n", position, position + _HEADER_LIMIT)
        end = len(content) if end < 0 else end
        line = content[position:end].decode("latin-1").strip()
        position = end + 1
        if not line:
            return fields, position
        if position > _HEADER_LIMIT:
            raise NotAnImage(name, "its header does not end")
        # "key:=value" is somebody's own remark, not a field.
        field, separator, value = line.partition(": ")
        if separator and not line.startswith("#") and ":=" not in field:
            fields[field.strip().lower()] = value.strip()
    return fields, len(content)


def _needed(fields: dict[str, str], field: str, name: str) -> str:
    if field not in fields:
        raise NotAnImage(name, f"its header has no field {field!r}")
    return fields[field]


def _dtype(fields: dict[str, str], name: str) -> np.dtype[Any]:
    import numpy as np

    word = _needed(fields, "type", name).lower()
    if word not in _DTYPE_OF:
        raise UnsupportedDtype(name, word[:40])
    return np.dtype(_DTYPE_OF[word]).newbyteorder(">" if fields.get("endian", "").lower() == "big" else "<")


def _axes(fields: dict[str, str], sizes: list[int], dtype: np.dtype[Any], name: str) -> _Axes:
    kinds = fields.get("kinds", "").lower().split()
    directions = _directions(fields, len(sizes), name)
    spatial = [
        axis
        for axis in range(len(sizes))
        if (directions[axis] is not None if directions else True)
        and (axis >= len(kinds) or kinds[axis] in ("domain", "space", "???", "none"))
    ]
    while len(spatial) > 3 and sizes[spatial[-1]] == 1:
        spatial.pop()
    others = [axis for axis in range(len(sizes)) if axis not in spatial and sizes[axis] != 1]
    colour = others[0] if len(others) == 1 and sizes[others[0]] == 3 and dtype.itemsize == 1 else None
    if not 2 <= len(spatial) <= 3 or (others and colour is None):
        raise WrongDimensions(name, sizes, "one 2-D image or 3-D volume, grey or in colours of one byte, is needed")
    return _Axes(tuple(spatial), colour)


def _voxels(fields: dict[str, str], packed: bytes, dtype: np.dtype[Any], size: int, name: str) -> NDArray[Any]:
    import numpy as np

    encoding = _ENCODINGS.get(_needed(fields, "encoding", name).lower())
    if encoding is None:
        raise NotAnImage(name, f"its encoding {fields['encoding'][:40]!r} is not known")
    lines = _whole(fields, "line skip", name)
    if lines < 0:
        raise NotAnImage(name, f"its header says line skip {lines}")
    for _ in range(lines):
        packed = packed.partition(b"\n")[2]
    if encoding == "text":
        return _text_voxels(packed, dtype, size, name)
    skip = _whole(fields, "byte skip", name)
    if skip < -1 or (skip == -1 and encoding == "bzip2"):
        raise NotAnImage(name, f"its header says byte skip {skip}")
    if encoding in {"gzip", "bzip2"}:
        # -1 means the last bytes of what is packed, so that all of it is needed; a header is not longer than this.
        room = _HEADER_LIMIT if skip == -1 else 0
        packed = unpack(packed if skip == -1 else packed[skip:], encoding, size + room, name)
        if len(packed) > size + room or (skip != -1 and len(packed) > size):
            raise NotAnImage(name, f"it holds more than the {size} bytes of voxels that its header announces")
    else:
        packed = packed[max(skip, 0) :]
    if skip == -1:
        packed = packed[max(len(packed) - size, 0) :]
    return np.frombuffer(exactly(packed, size, name), dtype=dtype)


def _text_voxels(packed: bytes, dtype: np.dtype[Any], size: int, name: str) -> NDArray[Any]:
    import numpy as np

    count = size // dtype.itemsize
    words = packed.replace(b",", b" ").split(maxsplit=count)[:count]
    try:
        found = np.array([float(word) if dtype.kind == "f" else int(word) for word in words], dtype=dtype)
    except (ValueError, OverflowError) as error:
        raise NotAnImage(name, f"its voxels are no numbers of type {dtype.name} ({error})") from None
    exactly(found.tobytes(), size, name)
    return found


def _position(
    fields: dict[str, str], axes: _Axes, name: str
) -> tuple[NDArray[np.float64], tuple[float, float, float] | None]:
    import numpy as np

    affine, flat = np.eye(4), len(axes.spatial)
    directions = _directions(fields, len(fields["sizes"].split()), name)
    spacing: list[float] | None
    if directions:
        for column, axis in enumerate(axes.spatial):
            direction = directions[axis] or []
            affine[:3, column] = [*direction, 0.0, 0.0][:3]
        if flat == 2:
            affine[:3, 2] = np.cross(affine[:3, 0], affine[:3, 1])
        spacing = np.linalg.norm(affine[:3, :flat], axis=0).tolist()
    else:
        spacing = _spacings(fields, axes, name)
        affine[range(flat), range(flat)] = 1.0 if spacing is None else spacing
    origins = _vectors(fields.get("space origin", ""), name, "space origin")
    origin = [*(origins[0] or []), 0.0, 0.0, 0.0][:3] if origins else [0.0, 0.0, 0.0]
    affine[:3, 3] = origin
    if not abs(np.linalg.det(affine[:3, :3])) > 1e-12:
        raise NotAnImage(name, "its header gives no usable position (the axes do not span space)")
    affine[:2] *= np.array(_SIGNS.get(fields.get("space", "").lower(), (1, 1)))[:, None]
    if spacing is None:
        return affine, None
    return affine, (spacing[0], spacing[1], spacing[2] if flat == 3 else 1.0)


def _directions(fields: dict[str, str], count: int, name: str) -> list[list[float] | None]:
    """One vector an axis, None for an axis that is not of space; empty where the header gives none at all."""
    if "space directions" not in fields:
        return []
    found = _vectors(fields["space directions"], name, "space directions")
    if len(found) != count or not 1 <= max(len(vector or ()) for vector in found) <= 3:
        raise NotAnImage(name, f"its header field 'space directions' holds {fields['space directions'][:60]!r}")
    return found


def _vectors(text: str, name: str, field: str) -> list[list[float] | None]:
    parts = re.findall(r"\(([^()]*)\)|(none)", text)
    return [None if none else numbers(inner.replace(",", " "), float, name, field) for inner, none in parts]


def _spacings(fields: dict[str, str], axes: _Axes, name: str) -> list[float] | None:
    words = fields.get("spacings", "").split()
    chosen = " ".join(words[axis] for axis in axes.spatial if axis < len(words))
    if not chosen or "nan" in chosen.lower():
        return None
    lengths = [abs(length) for length in numbers(chosen, float, name, "spacings")]
    return lengths if len(lengths) == len(axes.spatial) and min(lengths) > 0 else None


def _whole(fields: dict[str, str], field: str, name: str) -> int:
    found = numbers(fields.get(field, "0"), int, name, field)
    if len(found) != 1:
        raise NotAnImage(name, f"its header field {field!r} holds {fields[field][:60]!r}")
    return int(found[0])

"""The voxels of a file as bytes, unpacked no further than the header announced: what NRRD and MetaImage share."""

from __future__ import annotations

import bz2
import math
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from app.errors import ImageTooLarge, NotAnImage, TruncatedImage

_HEADER_ROOM = 1024**2  # what a header may take beside the voxels


def read_whole(source: bytes | Path, name: str, max_bytes: int) -> bytes:
    """The bytes of a file; raises `NotAnImage` where it cannot be read and `ImageTooLarge` beyond the limit."""
    try:
        size = source.stat().st_size if isinstance(source, Path) else len(source)
        if size > max_bytes + _HEADER_ROOM:
            raise ImageTooLarge(name, size, max_bytes)
        return source.read_bytes() if isinstance(source, Path) else source
    except OSError as error:
        raise NotAnImage(name, error.strerror or str(error)) from None


def read_beside(source: bytes | Path, file_name: str, name: str, max_bytes: int) -> bytes:
    """The bytes of the file that a header names; it must lie in the header's own folder. Raises as `read_whole`."""
    if not isinstance(source, Path):
        raise NotAnImage(name, f"its voxels are in another file, {file_name[:100]!r}")
    if is_elsewhere(file_name):
        raise NotAnImage(name, f"it points outside its folder, to {file_name[:100]!r}")
    path = source.parent / file_name
    if not path.is_file():
        raise NotAnImage(name, f"its voxels should be in {file_name!r}, which is missing")
    return read_whole(path, file_name, max_bytes)


def is_elsewhere(file_name: str) -> bool:
    """Whether a name that a header gives is none of a file in its own folder."""
    return not file_name or PurePath(file_name).name != file_name or "\\" in file_name or "\0" in file_name


def announced_bytes(shape: Sequence[int], item_bytes: int, name: str, max_bytes: int) -> int:
    """How many bytes the header announces; raises `NotAnImage` for lengths that are none, `ImageTooLarge`."""
    if any(length < 1 for length in shape):
        raise NotAnImage(name, f"its header gives the lengths {list(shape)}")
    size = math.prod(shape) * item_bytes
    if size > max_bytes:
        raise ImageTooLarge(name, size, max_bytes)
    return size


def unpack(packed: bytes, encoding: str, most: int, name: str) -> bytes:
    """The content of "gzip" (or zlib) or "bzip2" data, at most `most` + 1 bytes of it; raises `NotAnImage`."""
    content = bytearray()
    try:
        while packed and len(content) <= most:
            room = most + 1 - len(content)
            if encoding == "bzip2":
                member = bz2.BZ2Decompressor()
                content += member.decompress(packed, room)
                done, rest = member.eof, member.unused_data
            else:
                inflater = zlib.decompressobj(47)  # finds out itself whether it is gzip or zlib
                content += inflater.decompress(packed, room)
                done, rest = inflater.eof, inflater.unused_data
            if not done and len(content) <= most:
                raise NotAnImage(name, f"its {encoding} stream ends too early")
            # Another member may follow; zeros behind the last one are padding.
            packed = rest.lstrip(b"\0\r\n")
    except (zlib.error, OSError, ValueError) as error:
        raise NotAnImage(name, f"its {encoding} stream is damaged ({error})") from None
    return bytes(content)


def exactly(content: bytes, size: int, name: str) -> bytes:
    """The first `size` bytes; raises `TruncatedImage` where there are fewer."""
    if len(content) < size:
        raise TruncatedImage(name, size, len(content))
    return content[:size]


def numbers(text: str, kind: Callable[[str], float], name: str, field: str) -> list[float]:
    """The numbers in a header field, separated by blanks; raises `NotAnImage` where one is none."""
    try:
        found = [kind(part) for part in text.split()]
    except ValueError:
        raise NotAnImage(name, f"its header field {field!r} holds {text[:60]!r}") from None
    if not all(math.isfinite(number) for number in found):
        raise NotAnImage(name, f"its header field {field!r} holds {text[:60]!r}")
    return found

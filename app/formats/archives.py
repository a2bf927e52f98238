"""Zip archives, unpacked so that nothing leaves the folder or outgrows its limit, and one bad member harms no other."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from app.errors import ArchiveRefused
from app.formats.dicom import RefusedFile

_MOST_MEMBERS = 200_000
_MOST_FOLDERS = 32  # one within the other
_NAMED = 12
_CHUNK_BYTES = 1024 * 1024
_RATIO = 200  # scans shrink to a half or a fifth, masks to a hundredth; beyond this it is a bomb
_ROOM_BYTES = 1024**3  # what may come out of a small archive whatever its ratio
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    LookupError,
)


def is_zip(path: Path) -> bool:
    """Whether a file is a zip archive, whatever it is called."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\x03\x04", b"PK\x05\x06") and zipfile.is_zipfile(path)
    except OSError:
        return False


def unpack_zip(path: Path, target: Path, max_bytes: int | None = None) -> list[RefusedFile]:
    """Write the members of an archive below `target`, and give back those that were left out, each with its reason.

    Raises `ArchiveRefused` for what is no sound archive, has too many members, or unpacks to more than `max_bytes`
    (default: 200 times its size and 1 GiB), or of which nothing can be unpacked; then nothing is left in `target`.
    """
    limit = path.stat().st_size * _RATIO + _ROOM_BYTES if max_bytes is None else max_bytes
    limit = min(limit, shutil.disk_usage(target).free * 9 // 10)
    try:
        with zipfile.ZipFile(path) as archive:
            return _unpack(archive, path.name, target, limit)
    except ArchiveRefused:
        for left in target.iterdir():
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        raise
    except _DAMAGE as error:
        raise ArchiveRefused(path.name, f"it is no sound zip archive ({error})") from None


def _unpack(archive: zipfile.ZipFile, name: str, target: Path, limit: int) -> list[RefusedFile]:
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise ArchiveRefused(name, f"it has {len(members)} members; at most {_MOST_MEMBERS} are taken")
    refused: list[RefusedFile] = []
    written = taken = 0
    for member in members:
        if member.is_dir():
            continue
        shown = Path(member.filename[:200])
        place = _safe_place(member)
        if isinstance(place, str):
            refused.append(RefusedFile(shown, place))
            continue
        try:
            written += _write(archive, member, target / place, limit - written)
        except _TooMuchError:
            reason = f"it unpacks to more than {limit} bytes, which no scans do that are packed in so few"
            raise ArchiveRefused(name, reason) from None
        except _DAMAGE as error:
            refused.append(RefusedFile(shown, f"it cannot be unpacked ({str(error)[:120] or type(error).__name__})."))
        else:
            taken += 1
    if refused and not taken:
        named = "; ".join(f"{each.path}: {each.reason}" for each in refused[:_NAMED]).rstrip(".")
        raise ArchiveRefused(name, f"none of its files can be unpacked ({named})")
    return refused


class _TooMuchError(Exception):
    pass


def _safe_place(member: zipfile.ZipInfo) -> Path | str:
    """Where a member may be written, or why it may not."""
    parts = PurePosixPath(member.filename.replace("\\", "/")).parts
    if not parts or any(part in ("..", "/") or ":" in part or "\0" in part for part in parts):
        return "its name points outside of the archive."
    if len(parts) > _MOST_FOLDERS:
        return f"it lies more than {_MOST_FOLDERS} folders deep."
    if stat.S_ISLNK(member.external_attr >> 16):
        return "it is a link, not a file."
    if member.flag_bits & 1:
        return "it is encrypted: unpack it with its password first."
    return Path(*parts)


def _write(archive: zipfile.ZipFile, member: zipfile.ZipInfo, place: Path, room: int) -> int:
    place.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    try:
        with archive.open(member) as source, place.open("xb") as out:
            while (chunk := source.read(_CHUNK_BYTES)) and written + len(chunk) <= room:
                written += out.write(chunk)
    except FileExistsError:
        raise ValueError("another member has the same name") from None
    except _DAMAGE:
        place.unlink(missing_ok=True)
        raise
    if chunk:
        raise _TooMuchError
    return written

"""Contents that are neither a scan nor a mask, by what is wrong with them."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
import zlib
from typing import Any

import nibabel
import numpy as np

from tests.api.populated import SIDE

LIMIT_BYTES = 300_000


def nifti(shape: tuple[int, ...] = (SIDE, SIDE, 3), dtype: Any = np.int16, fill: float = 1.0) -> bytes:
    """An uncompressed NIfTI file."""
    return nibabel.Nifti1Image(np.full(shape, fill, dtype), np.eye(4)).to_bytes()


def patched(offset: int, form: str, *values: float) -> bytes:
    """A NIfTI file with these numbers written into its header (nifti1.h)."""
    content = bytearray(nifti())
    struct.pack_into(form, content, offset, *values)
    return bytes(content)


def zipped(**members_: bytes) -> bytes:
    """A zip archive of these members."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members_.items():
            archive.writestr(name, content)
    return file.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG file that says it has this size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(body)) + chunk(b"IEND", b"")


NRRD = b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: %d %d %d\nencoding: raw\n\n"
GARBAGE = {
    "empty": b"",
    "one byte": b"\0",
    "text": b"this is no scan",
    "zeros": bytes(400),
    "html": b"<html><script>alert(1)</script></html>",
    "pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "elf": b"\x7fELF" + bytes(100),
    "gzip of nothing": gzip.compress(b"", mtime=0),
    "gzip of text": gzip.compress(b"text", mtime=0),
    "gzip, truncated": gzip.compress(nifti(), mtime=0)[:40],
    "gzip, checksum wrong": gzip.compress(nifti(), mtime=0)[:-8] + bytes(8),
    "gzip bomb": gzip.compress(bytes(40_000_000), mtime=0),
    "zip bomb": zipped(**{"a.nii": bytes(20_000_000)}),
    "zip, path trick": zipped(**{"../../../evil.nii": nifti()}),
    "zip, absolute": zipped(**{"/etc/evil.nii": nifti()}),
    "zip, truncated": zipped(**{"a.nii": nifti()})[:-10],
    "nifti, header only": nifti()[:352],
    "nifti, half a header": nifti()[:200],
    "nifti, one byte short": nifti()[:-1],
    "nifti, two dimensions of nothing": patched(40, "<8h", 3, 0, 0, 0, 1, 1, 1, 1),
    "nifti, negative dimensions": patched(40, "<8h", 3, -4, 4, 3, 1, 1, 1, 1),
    "nifti, nine dimensions": patched(40, "<8h", 9, 4, 4, 3, 1, 1, 1, 1),
    "nifti, a bomb of dimensions": patched(40, "<8h", 3, 32767, 32767, 32767, 1, 1, 1, 1),
    "nifti, no such type": patched(70, "<h", 9999),
    "nifti, complex": patched(70, "<2h", 32, 64),
    "nifti, data before the header": patched(108, "<f", -1.0),
    "nifti, data beyond the end": patched(108, "<f", 1e30),
    "nifti, data nowhere": patched(108, "<f", float("nan")),
    "nifti, affine of NaN": patched(280, "<4f", *[float("nan")] * 4),
    "nifti, five dimensions": nifti((2, 2, 2, 2, 2)),
    "nifti, NaN voxel": nifti(dtype=np.float32, fill=float("nan")),
    "nifti, infinite voxel": nifti(dtype=np.float32, fill=float("inf")),
    "nrrd, no data": NRRD % (4, 4, 3),
    "nrrd, bomb": NRRD % (99999, 99999, 99999),
    "nrrd, negative": NRRD % (-4, 4, 3) + bytes(48),
    "nrrd, other file": b"NRRD0004\ntype: uint8\ndimension: 3\nsizes: 4 4 3\nencoding: raw\ndata file: /etc/passwd\n\n",
    "nrrd, no sizes": b"NRRD0004\ntype: uint8\n\n" + bytes(48),
    "metaimage, other file": b"ObjectType = Image\nNDims = 3\nDimSize = 4 4 3\nElementType = MET_UCHAR\n"
    b"ElementDataFile = /etc/passwd\n",
    "dicom, preamble only": bytes(128) + b"DICM",
    "dicom, garbage": bytes(128) + b"DICM" + b"\xff" * 200,
    "png, bomb": png(60_000, 60_000),
    "png, no pixels": png(4, 4),
    "png, truncated": png(4, 4, bytes(20))[:30],
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(100),
    "over the limit": bytes(LIMIT_BYTES + 1),
}

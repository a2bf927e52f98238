"""Volume <-> slice pack: one gzip member a slice, laid end to end, with the offsets kept in the volume's row.

A member holds the plain little-endian C-order plane in the volume's own dtype. It is deliberately not byte-shuffled,
though that would save a seventh: the raw answer of the API is these very bytes with `Content-Encoding: gzip`, so any
front end can read them, and sending a slice takes one positioned read and no numpy. A pack is a derived cache; the
file as it came in is the truth.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.errors import BlobDamaged, BlobRangeOutside, PlaneOutside, UnsupportedDtype, WrongDimensions
from app.storage.blobs import BlobStore

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PACK_DTYPES = ("uint8", "int16", "uint16", "float32")

# On plain int16 planes of cine MR level 6 takes three times as long and saves less than 1 %.
_GZIP_LEVEL = 4


@dataclass(frozen=True)
class PlanePack:
    """Where the slices of a volume lie: `offsets` has Z + 1 entries, slice z is bytes offsets[z] to offsets[z + 1]."""

    key: str
    dtype: str
    depth: int
    height: int
    width: int
    channels: int
    offsets: tuple[int, ...]

    @property
    def plane_shape(self) -> tuple[int, ...]:
        """(H, W), or (H, W, 3) in colour."""
        return (self.height, self.width) if self.channels == 1 else (self.height, self.width, self.channels)


def store_planes(store: BlobStore, volume: NDArray[Any]) -> PlanePack:
    """Pack a (Z, H, W) or (Z, H, W, 3) volume into one blob, holding one packed slice at a time.

    Raises `UnsupportedDtype` unless the dtype is one of `PACK_DTYPES`, `WrongDimensions` for any other shape.
    """
    if volume.dtype.name not in PACK_DTYPES:
        raise UnsupportedDtype("The volume", volume.dtype.name)
    if volume.ndim not in (3, 4) or 0 in volume.shape or (volume.ndim == 4 and volume.shape[3] != 3):
        raise WrongDimensions("The volume", volume.shape, "a pack takes (Z, H, W) or (Z, H, W, 3)")
    offsets = [0]

    def members() -> Iterator[bytes]:
        for plane in volume:
            member = encode_plane(plane)
            offsets.append(offsets[-1] + len(member))
            yield member

    key = store.put_stream(members()).key
    depth, height, width = volume.shape[:3]
    channels = 1 if volume.ndim == 3 else 3
    return PlanePack(key, volume.dtype.name, depth, height, width, channels, tuple(offsets))


def encode_plane(plane: NDArray[Any]) -> bytes:
    """The gzip bytes of one plane, little-endian, C order; equal planes give equal bytes."""
    compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, 31)
    little = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
    return compressor.compress(little.tobytes(order="C")) + compressor.flush()


def read_plane_body(store: BlobStore, pack: PlanePack, z: int) -> bytes:
    """The gzip bytes of slice z as they are sent; raises `PlaneOutside` and `BlobDamaged`."""
    if not 0 <= z < pack.depth:
        raise PlaneOutside(z, pack.depth)
    try:
        return store.get_range(pack.key, pack.offsets[z], pack.offsets[z + 1] - pack.offsets[z])
    except BlobRangeOutside:
        raise BlobDamaged(pack.key, f"it ends before slice {z}") from None


def read_plane(store: BlobStore, pack: PlanePack, z: int) -> NDArray[Any]:
    """Slice z as an (H, W) or (H, W, 3) array of the pack's dtype; raises `PlaneOutside` and `BlobDamaged`."""
    return _decode_plane(pack, read_plane_body(store, pack, z))


def read_volume(store: BlobStore, pack: PlanePack) -> NDArray[Any]:
    """The whole (Z, H, W) or (Z, H, W, 3) volume, read slice by slice; raises `BlobDamaged`."""
    import numpy as np

    volume = np.empty((pack.depth, *pack.plane_shape), dtype=pack.dtype)
    for z in range(pack.depth):
        volume[z] = read_plane(store, pack, z)
    return volume


def window_plane(
    plane: NDArray[Any], low: float, high: float, slope: float = 1.0, intercept: float = 0.0
) -> NDArray[np.uint8]:
    """The plane as uint8 for a screen: real values (stored * slope + intercept) to `low` are 0, from `high` on 255.

    A window without width (high <= low) is a step at `low`: above it white, at or below it black.
    """
    import numpy as np

    if plane.dtype.kind in "iu" and plane.dtype.itemsize <= 2 and plane.size:
        # Few values, many pixels: the same sums once a value, and the pixels look theirs up.
        least, most = int(plane.min()), int(plane.max())
        shades = _shades(np.arange(least, most + 1), low, high, slope, intercept)
        return shades[plane.astype(np.int32) - least]
    return _shades(plane, low, high, slope, intercept)


def _shades(stored: NDArray[Any], low: float, high: float, slope: float, intercept: float) -> NDArray[np.uint8]:
    import numpy as np

    real = stored.astype(np.float64) * slope + intercept
    if high <= low:
        return np.where(real > low, np.uint8(255), np.uint8(0))
    grey = (np.clip(real, low, high) - low) / (high - low) * 255
    return np.rint(grey).astype(np.uint8)


def display_window(volume: NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> tuple[float, float]:
    """A window (low, high) in real values that shows a volume well: its 0.5 and 99.5 percentiles.

    At most about a million voxels, evenly spread, are looked at, so the answer is the same each time.
    """
    import numpy as np

    flat = volume.reshape(-1)
    sample = flat[:: max(1, flat.size // 1_000_000)]
    low, high = (float(value) * slope + intercept for value in np.percentile(sample, [0.5, 99.5]))
    return (low, high) if low <= high else (high, low)


def grey_to_png(grey: NDArray[np.uint8]) -> bytes:
    """A PNG of a uint8 (H, W) or (H, W, 3) picture."""
    from PIL import Image

    out = io.BytesIO()
    # PNG's own row filters do most of the work on scans; run lengths after them pack as tightly as a search for
    # repetitions does, in a third of the time.
    Image.fromarray(grey).save(out, format="PNG", compress_level=1, compress_type=zlib.Z_RLE)
    return out.getvalue()


def _decode_plane(pack: PlanePack, body: bytes) -> NDArray[Any]:
    import numpy as np

    dtype = np.dtype(pack.dtype).newbyteorder("<")
    expected = int(np.prod(pack.plane_shape)) * dtype.itemsize
    unpacker = zlib.decompressobj(31)
    try:
        content = unpacker.decompress(body, expected + 1)
    except zlib.error as error:
        raise BlobDamaged(pack.key, f"a slice is no sound gzip stream ({error})") from None
    if len(content) != expected or not unpacker.eof:
        raise BlobDamaged(pack.key, f"a slice has {len(content)} bytes instead of {expected}")
    return np.frombuffer(content, dtype=dtype).astype(pack.dtype, copy=False).reshape(pack.plane_shape)

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray
from PIL import Image

from app.errors import BlobDamaged, PlaneOutside, UnsupportedDtype, WrongDimensions
from app.storage.planes import (
    PACK_DTYPES,
    PlanePack,
    display_window,
    grey_to_png,
    read_plane,
    read_plane_body,
    read_volume,
    store_planes,
    window_plane,
)
from app.storage.stores import LocalStore


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    return LocalStore(tmp_path_factory.mktemp("blobs"))


@st.composite
def volumes(draw: st.DrawFn) -> NDArray[np.generic]:
    dtype = draw(st.sampled_from(PACK_DTYPES))
    shape = draw(npst.array_shapes(min_dims=3, max_dims=3, max_side=7))
    channels = draw(st.sampled_from([(), (3,)]))
    return draw(npst.arrays(dtype, (*shape, *channels)))


@settings(max_examples=60, deadline=None)
@given(volume=volumes())
def test_every_dtype_comes_back_bit_for_bit_slice_by_slice(store: LocalStore, volume: NDArray[np.generic]) -> None:
    pack = store_planes(store, volume)
    assert pack.dtype == volume.dtype.name
    assert len(pack.offsets) == volume.shape[0] + 1
    for z, plane in enumerate(volume):
        # What is sent is plain little-endian C order, for front ends that know nothing of this house.
        assert zlib.decompress(read_plane_body(store, pack, z), 31) == plane.tobytes()
        assert read_plane(store, pack, z).tobytes() == plane.tobytes()
    whole = read_volume(store, pack)
    assert whole.dtype == volume.dtype
    assert whole.shape == volume.shape
    assert whole.tobytes() == volume.tobytes()


def test_a_view_in_another_memory_order_packs_the_same(store: LocalStore) -> None:
    volume = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    assert store_planes(store, np.asfortranarray(volume)) == store_planes(store, volume)
    assert store_planes(store, volume.astype(">i2")).key == store_planes(store, volume).key


@pytest.mark.parametrize("dtype", ["float64", "int32", "bool", "complex64"])
def test_a_dtype_that_a_pack_does_not_keep_is_refused(store: LocalStore, dtype: str) -> None:
    with pytest.raises(UnsupportedDtype, match=dtype):
        store_planes(store, np.zeros((2, 3, 4), dtype))


@pytest.mark.parametrize("shape", [(3, 4), (2, 3, 4, 2), (0, 3, 4), (2, 3, 4, 3, 1)])
def test_a_shape_that_is_no_stack_is_refused(store: LocalStore, shape: tuple[int, ...]) -> None:
    with pytest.raises(WrongDimensions):
        store_planes(store, np.zeros(shape, np.uint8))


@pytest.mark.parametrize("z", [-1, 2])
def test_a_slice_outside_is_refused(store: LocalStore, z: int) -> None:
    pack = store_planes(store, np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(PlaneOutside, match="slices 0 to 1"):
        read_plane_body(store, pack, z)


def test_a_damaged_pack_is_called_damaged(tmp_path: Path) -> None:
    store = LocalStore(tmp_path)
    pack = store_planes(store, np.arange(600, dtype=np.int16).reshape(2, 15, 20))
    path = tmp_path / pack.key
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    with pytest.raises(BlobDamaged, match="ends before slice 1"):
        read_plane(store, pack, 1)
    path.write_bytes(content[:40] + bytes(40) + content[80:])
    with pytest.raises(BlobDamaged):
        read_plane(store, pack, 0)
    short = PlanePack(pack.key, pack.dtype, 2, 15, 21, 1, pack.offsets)
    path.write_bytes(content)
    with pytest.raises(BlobDamaged, match="600 bytes instead of 630"):
        read_plane(store, short, 0)


def test_a_window_is_linear_between_its_ends_and_clips_outside() -> None:
    plane = np.array([[-100, 0, 50, 100, 4000]], dtype=np.int16)
    assert window_plane(plane, 0, 100).tolist() == [[0, 0, 128, 255, 255]]


def test_a_window_is_in_real_values() -> None:
    plane = np.array([[0, 1000, 2000]], dtype=np.uint16)
    assert window_plane(plane, -1024, 976, slope=1.0, intercept=-1024.0).tolist() == [[0, 128, 255]]


def test_a_window_without_width_is_a_step() -> None:
    plane = np.array([[4.0, 5.0, 6.0]], dtype=np.float32)
    assert window_plane(plane, 5, 5).tolist() == [[0, 0, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16, np.uint16])
@pytest.mark.parametrize("window", [(-30.5, 90.25), (7.0, 7.0), (-1e6, 1e6)])
def test_the_shades_of_stored_integers_are_those_of_their_real_values(
    dtype: type[np.integer], window: tuple[float, float]
) -> None:
    limits = np.iinfo(dtype)
    plane = np.random.default_rng(0).integers(limits.min, limits.max, (9, 11), dtype=dtype, endpoint=True)
    assert np.array_equal(window_plane(plane, *window, 0.7, -3), window_plane(plane.astype(np.int64), *window, 0.7, -3))


def test_the_display_window_leaves_out_the_extremes() -> None:
    volume = np.concatenate([np.full(5, -9000), np.linspace(0, 1000, 9990), np.full(5, 9000)])
    low, high = display_window(volume.astype(np.float32).reshape(10, 100, 10))
    assert 0 <= low < 10
    assert 990 < high <= 1000
    assert display_window(np.array([[[0, 10]]], np.uint8), slope=-1.0) == pytest.approx((-9.95, -0.05))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 3)])
def test_the_screen_png_holds_the_grey_values(shape: tuple[int, ...]) -> None:
    grey = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    with Image.open(io.BytesIO(grey_to_png(grey))) as image:
        assert np.array_equal(np.array(image), grey)

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.typing import NDArray

from app.errors import AffineMismatch, NotAMask, ShapeMismatch, WrongDimensions
from app.formats.image import Geometry, as_matrix
from app.formats.voxels import FileVoxels, mask_values, to_mask

IMAGE_AFFINE = np.array([[-2.0, 0, 0, 40], [0, -2, 0, 60], [0, 0, 5, -30], [0, 0, 0, 1]])
GEOMETRY = Geometry((4, 5, 3), 2, as_matrix(IMAGE_AFFINE), (5.0, 2.0, 2.0))


def _file(voxels: NDArray[np.uint8], affine: NDArray[np.float64]) -> FileVoxels:
    return FileVoxels("mask", voxels, affine, None)


def _coordinates(shape: tuple[int, ...], affine: NDArray[np.float64]) -> NDArray[np.float64]:
    index = np.stack([*np.indices(shape), np.ones(shape)], axis=-1)
    return (index @ affine.T)[..., :3]


@settings(deadline=None)
@given(
    order=st.permutations([0, 1, 2]),
    steps=st.tuples(*[st.sampled_from([-3, -2, -1, 1, 2, 3])] * 3),
    margins=st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 3),
)
def test_a_mask_on_a_grid_that_holds_the_image_s_is_read_at_the_image_s_voxels(
    order: list[int], steps: tuple[int, ...], margins: tuple[tuple[int, int], ...]
) -> None:
    # The mask's grid: image axes permuted, refined, flipped, with a margin around.
    fine = [(length - 1) * abs(step) + 1 for length, step in zip(GEOMETRY.shape, steps, strict=True)]
    shape, image_to_mask = [0, 0, 0], np.zeros((4, 4))
    image_to_mask[3, 3] = 1
    for axis, mask_axis in enumerate(order):
        before, after = margins[axis]
        shape[mask_axis] = fine[axis] + before + after
        image_to_mask[mask_axis, axis] = steps[axis]
        image_to_mask[mask_axis, 3] = before if steps[axis] > 0 else before + fine[axis] - 1
    mask_affine = IMAGE_AFFINE @ np.linalg.inv(image_to_mask)

    # A pattern in space: what is read must be its value at the place of each voxel of the image.
    def pattern(places: NDArray[np.float64]) -> NDArray[np.uint8]:
        return (np.rint(places @ [30.0, 42.0, 18.0]) % 251).astype(np.uint8)

    mask = to_mask(_file(pattern(_coordinates(tuple(shape), mask_affine)), mask_affine), GEOMETRY)
    assert np.array_equal(mask, pattern(_coordinates(GEOMETRY.shape, IMAGE_AFFINE)).transpose(2, 1, 0))


def test_a_grid_between_the_image_s_voxels_is_refused() -> None:
    half = IMAGE_AFFINE.copy()
    half[0, 3] += 1.0
    with pytest.raises(AffineMismatch):
        to_mask(_file(np.zeros((4, 5, 3), np.uint8), half), GEOMETRY)
    with pytest.raises(ShapeMismatch):
        to_mask(_file(np.zeros((8, 5, 3), np.uint8), half), GEOMETRY)


def test_a_grid_that_ends_inside_the_image_is_refused() -> None:
    with pytest.raises(ShapeMismatch):
        to_mask(_file(np.zeros((4, 5, 2), np.uint8), IMAGE_AFFINE), GEOMETRY)
    coarse = IMAGE_AFFINE @ np.diag([2.0, 1.0, 1.0, 1.0])
    with pytest.raises(ShapeMismatch):
        to_mask(_file(np.zeros((2, 5, 3), np.uint8), coarse), GEOMETRY)


def test_a_turned_grid_is_refused() -> None:
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    with pytest.raises(AffineMismatch):
        to_mask(_file(np.zeros((4, 5, 3), np.uint8), turn @ IMAGE_AFFINE), GEOMETRY)


def test_a_colour_file_is_no_mask() -> None:
    with pytest.raises(WrongDimensions):
        to_mask(_file(np.zeros((4, 5, 3, 3), np.uint8), IMAGE_AFFINE), GEOMETRY)


def test_an_image_given_as_a_mask_is_noticed_by_its_many_values() -> None:
    voxels = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)
    assert mask_values(_file(voxels % 3, IMAGE_AFFINE), most=3) == {0, 1, 2}
    with pytest.raises(NotAMask, match="more than 20"):
        mask_values(_file(voxels, IMAGE_AFFINE), most=20)

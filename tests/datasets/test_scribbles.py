"""Simulated scribbles: inside their class, on every class, the same each time, and like those that people drew."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, binary_fill_holes, distance_transform_edt, label

from app.datasets.folder import list_folder
from app.datasets.phantom import list_phantoms
from app.datasets.records import read_full_mask, read_volume_image
from app.datasets.scribbles import simulate_scribbles, with_simulated_scribbles
from app.datasets.upload import Privacy, prepare_upload

EIGHT = np.ones((3, 3))
masks = hnp.arrays(
    np.uint8,
    st.tuples(st.integers(1, 3), st.integers(1, 14), st.integers(1, 14)),
    elements=st.sampled_from([0, 1, 7, 255]),
)


def check(mask: NDArray[np.uint8], drawn: NDArray[np.uint8]) -> None:
    assert drawn.shape == mask.shape
    assert (drawn[drawn != 255] == mask[drawn != 255]).all(), "no pixel of another class"
    for plane, scribbles in zip(mask, drawn, strict=True):
        assert set(np.unique(plane)) - {255} == set(np.unique(scribbles)) - {255}, "every class that is there"


@settings(max_examples=150, deadline=None)
@given(masks, st.integers(0, 3))
def test_any_mask_gets_a_stroke_on_each_of_its_classes_and_on_no_other(mask: NDArray[np.uint8], seed: int) -> None:
    drawn = simulate_scribbles(mask, seed, "volume")
    check(mask, drawn)
    assert (drawn == simulate_scribbles(mask, seed, "volume")).all()


def test_a_slice_depends_on_its_own_mask_number_name_and_seed_alone() -> None:
    mask = np.zeros((3, 64, 64), np.uint8)
    mask[:, 20:40, 25:45] = 1
    drawn = simulate_scribbles(mask, 1, "a")
    other = mask.copy()
    other[0], other[2] = 0, 1
    assert (simulate_scribbles(other, 1, "a")[1] == drawn[1]).all()
    assert (drawn[0] != drawn[1]).any()
    assert (simulate_scribbles(mask, 2, "a") != drawn).any()
    assert (simulate_scribbles(mask, 1, "b") != drawn).any()


@pytest.mark.parametrize("shape", ["line", "ring", "two parts", "at the border", "everything", "a pixel", "comb"])
def test_odd_shapes_are_drawn_on(shape: str) -> None:
    rows, columns = np.mgrid[:60, :70]
    distance = np.hypot(rows - 30, columns - 35)
    region = {
        "line": rows == 30,
        "ring": (distance > 15) & (distance < 18),
        "two parts": (np.hypot(rows - 15, columns - 15) < 9) | (np.hypot(rows - 45, columns - 50) < 9),
        "at the border": columns < 12,
        "everything": rows >= 0,
        "a pixel": (rows == 7) & (columns == 9),
        "comb": (columns % 3 == 0) & (rows > 5),
    }[shape]
    mask = region.astype(np.uint8)[None]
    drawn = simulate_scribbles(mask, 0, shape)
    check(mask, drawn)
    assert ((drawn == 1).sum() < 0.6 * region.sum()) or region.sum() < 100, "scribbles, no mask"
    if shape == "two parts":
        assert label(drawn[0] == 1, EIGHT)[1] >= 2


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> list[NDArray[np.uint8]]:
    """The dense masks of some phantom hearts, 128 pixels wide."""
    listing = list_phantoms(tmp_path_factory.mktemp("phantoms"))
    found = []
    for volume in listing.volumes[:6]:
        mask = read_full_mask(volume, read_volume_image(volume).geometry)
        assert mask is not None
        found.append(mask)
    return found


def test_they_look_like_drawn_ones(hearts: list[NDArray[np.uint8]]) -> None:
    shares: dict[int, list[float]] = {1: [], 2: [], 3: []}
    thick, closed, depths, slices = 0, 0, [], 0
    for number, mask in enumerate(hearts):
        for plane, drawn in zip(mask, simulate_scribbles(mask, 0, str(number)), strict=True):
            for value in set(np.unique(plane)) - {0}:
                region, strokes = plane == value, drawn == value
                shares[int(value)].append(strokes.sum() / region.sum())
                thick += bool(binary_erosion(strokes, EIGHT).any())
                depths.append(float(np.median(distance_transform_edt(region)[strokes])))
            if (plane > 0).any():
                slices += 1
                closed += bool((binary_fill_holes(drawn == 0) >= (plane > 0)).all())
    for value, share in shares.items():
        assert 0.05 <= np.median(share) <= 0.30, f"class {value} of {len(share)} slices"
    assert thick <= 0.03 * sum(len(share) for share in shares.values())
    assert np.median(depths) >= 1.9, "not along the border"
    assert 0.5 <= closed / slices <= 0.95, "most background loops close around the heart, and some do not"


def test_a_data_set_without_scribbles_is_given_some(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    affine = np.diag([-1.0, 2, 3, 1])
    mask = np.zeros((20, 24, 4), np.uint8)
    mask[5:12, 6:14, 1:] = 2
    nib.save(
        nib.Nifti1Image(generator.normal(size=mask.shape).astype(np.float32), affine), tmp_path / "images/a.nii.gz"
    )
    nib.save(nib.Nifti1Image(mask, affine), tmp_path / "labels/a.nii.gz")
    listing = with_simulated_scribbles(list_folder(tmp_path), seed=3)
    assert listing.remarks[-1] == "the scribbles of 1 volumes are simulated from their masks, seed 3"
    assert listing.volumes[0].attributes["scribbles"] == "simulated from the dense mask, seed 3"
    prepared = prepare_upload(listing.volumes[0], listing.classes, tmp_path, Privacy())
    assert prepared.scribble_mask is not None
    assert prepared.scribble_mask.name == "simulated-scribbles-seed-3.nii.gz"
    stored = np.asarray(nib.load(prepared.scribble_mask.path).dataobj)
    assert stored.shape == mask.shape
    assert (stored[stored != 255] == mask[stored != 255]).all()
    assert {0, 2, 255} == set(np.unique(stored))


def test_scribbles_that_are_there_are_left_alone(tmp_path: Path) -> None:
    listing = list_phantoms(tmp_path)
    again = with_simulated_scribbles(listing, seed=0)
    assert all(volume.simulated_seed is None for volume in again.volumes)

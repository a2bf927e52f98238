from pathlib import Path

import numpy as np
import pytest

from app.datasets.phantom import PhantomConfig, list_phantoms, make_phantom, write_phantoms
from app.datasets.records import read_full_mask, read_scribble_mask, read_volume_image
from app.errors import DatasetUnreadable
from app.storage.masks import UNLABELLED

TINY = PhantomConfig(patients=6, slices=6, height=48, width=48)


def test_the_same_seed_gives_the_same_voxels_and_another_seed_others() -> None:
    first, again = make_phantom(TINY, 2, "ED"), make_phantom(TINY, 2, "ED")
    other = make_phantom(PhantomConfig(patients=6, slices=6, height=48, width=48, seed=1), 2, "ED")
    for name in ("image", "mask", "scribble"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert not np.array_equal(getattr(first, name), getattr(other, name))


def test_every_class_is_there_and_the_ring_closes_around_the_pool() -> None:
    for patient in range(TINY.patients):
        for phase in ("ED", "ES"):
            mask = make_phantom(TINY, patient, phase).mask
            assert set(np.unique(mask)) == {0, 1, 2, 3}
            pool = mask == 3
            for axis in (1, 2):
                for step in (-1, 1):
                    assert set(np.unique(np.roll(mask, step, axis)[pool])) <= {2, 3}


def test_scribbles_are_thin_agree_with_the_mask_and_reach_every_class() -> None:
    for patient in range(3):
        phantom = make_phantom(PhantomConfig(), patient, "ED")
        drawn = phantom.scribble != UNLABELLED
        assert np.array_equal(phantom.scribble[drawn], phantom.mask[drawn])
        assert 0.005 < drawn.mean() < 0.15
        for mask, scribble in zip(phantom.mask, phantom.scribble, strict=True):
            assert set(np.unique(mask)) == set(np.unique(scribble)) - {UNLABELLED}


def test_the_heart_contracts_and_shrinks_towards_the_apex() -> None:
    for patient in range(TINY.patients):
        relaxed, contracted = (make_phantom(TINY, patient, phase).mask for phase in ("ED", "ES"))
        assert (contracted == 3).sum() < 0.7 * (relaxed == 3).sum()
        pool = (relaxed == 3).sum(axis=(1, 2))
        assert (np.diff(pool) <= 0).all()
        assert (relaxed[-1] == 1).sum() == 0 < (relaxed[0] == 1).sum()


def test_groups_are_planted_neighbours_are_closer_than_volumes_and_these_than_patients() -> None:
    images = {
        (patient, phase): make_phantom(TINY, patient, phase).image.astype(float)
        for patient in range(TINY.patients)
        for phase in ("ED", "ES")
    }

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.abs(a - b).mean())

    patients = range(TINY.patients)
    neighbours = np.mean([distance(image[z], image[z + 1]) for image in images.values() for z in range(5)])
    phases = np.mean([distance(images[p, "ED"], images[p, "ES"]) for p in patients])
    strangers = np.mean([distance(images[p, "ED"], images[q, "ED"]) for p in patients for q in patients if p < q])
    assert neighbours < strangers
    assert phases < 0.7 * strangers


def test_the_folder_reads_back_what_was_made(tmp_path: Path) -> None:
    listing = list_phantoms(tmp_path / "new", config=TINY)
    assert listing.name == "phantom"
    assert listing.problems == ()
    assert {split: count["patients"] for split, count in listing.counts().items()} == {
        "train": 4,
        "validation": 1,
        "test": 1,
    }
    assert len(listing.volumes) == 12
    volume = listing.volumes[3]
    assert (volume.patient, volume.name, volume.group) == ("patient002", "frame09", "ES")
    made, image = make_phantom(TINY, 1, "ES"), read_volume_image(volume)
    assert np.array_equal(image.array, made.image)
    assert image.geometry.spacing_mm == pytest.approx((10.0, 1.5, 1.5))
    full = read_full_mask(volume, image.geometry)
    scribble = read_scribble_mask(volume, image.geometry, listing.classes)
    assert np.array_equal(full, made.mask)
    assert np.array_equal(scribble, made.scribble)


def test_phantoms_are_written_once_and_never_over_something_else(tmp_path: Path) -> None:
    config = PhantomConfig(patients=1, slices=2, height=16, width=16)
    write_phantoms(tmp_path / "a", config)
    file = next((tmp_path / "a").rglob("*_gt.nii.gz"))
    before = file.stat().st_mtime_ns
    write_phantoms(tmp_path / "a", config)
    assert file.stat().st_mtime_ns == before
    with pytest.raises(DatasetUnreadable, match="another recipe"):
        write_phantoms(tmp_path / "a", TINY)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("precious")
    with pytest.raises(DatasetUnreadable, match="something else"):
        write_phantoms(tmp_path / "b", config)


def test_a_folder_left_half_written_is_completed(tmp_path: Path) -> None:
    config = PhantomConfig(patients=2, slices=2, height=16, width=16)
    write_phantoms(tmp_path, config)
    (tmp_path / "phantom.json").unlink()
    next(tmp_path.rglob("patient002_frame01_gt.nii.gz")).unlink()
    assert all(volume.full_mask is not None for volume in list_phantoms(tmp_path, config=config).volumes)

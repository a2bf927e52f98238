from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app.datasets.davis import list_davis
from app.datasets.records import Problem, read_full_mask, read_volume_image
from app.errors import DatasetUnreadable
from tests.shared_data import shared_data


def _sequence(root: Path, name: str, resolution: str = "480p", objects: int = 1) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 8, 10, 3)).astype(np.uint8)
    for folder, planes in (("JPEGImages", pixels), ("Annotations", pixels[..., 0] // 90 * objects)):
        place = root / folder / resolution / name
        place.mkdir(parents=True)
        for number, plane in enumerate(planes):
            Image.fromarray(plane).save(place / f"{number:05d}.{'jpg' if folder == 'JPEGImages' else 'png'}")


def test_the_published_split_holds(tmp_path: Path) -> None:
    for name in ("bear", "camel", "libby", "holiday"):
        _sequence(tmp_path, name)
    listing = list_davis(tmp_path)
    assert {v.patient: v.split for v in listing.volumes} == {"bear": "train", "camel": "validation", "libby": "test"}
    assert listing.problems == (Problem("holiday", "it stands in no split list"),)


def test_the_published_split_counts_30_5_15(tmp_path: Path) -> None:
    (tmp_path / "JPEGImages" / "480p").mkdir(parents=True)
    from app.datasets import davis

    for name in davis._PUBLISHED:
        (tmp_path / "JPEGImages" / "480p" / name).mkdir()
    counts = list_davis(tmp_path).counts()
    assert [counts[split]["patients"] for split in ("train", "validation", "test")] == [30, 5, 15]


def test_numbered_objects_become_one_class(tmp_path: Path) -> None:
    _sequence(tmp_path, "camel", objects=3)
    volume = list_davis(tmp_path).volumes[0]
    image = read_volume_image(volume)
    mask = read_full_mask(volume, image.geometry)
    assert image.array.shape == (2, 8, 10, 3)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}


def test_480p_is_taken_before_other_resolutions_and_lists_win(tmp_path: Path) -> None:
    _sequence(tmp_path, "bear", "1080p")
    assert "1080p" in list_davis(tmp_path).volumes[0].image.parts
    _sequence(tmp_path, "bear", "480p")
    (tmp_path / "train.txt").write_text("somebody\n")
    (tmp_path / "test.txt").write_text("bear\n")
    volume = list_davis(tmp_path).volumes[0]
    assert "480p" in volume.image.parts
    assert volume.split == "test"


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetUnreadable, match="JPEGImages"):
        list_davis(tmp_path)


def test_the_real_camel_has_90_frames_and_a_mask_each() -> None:
    listing = list_davis(shared_data("davis"))
    assert [(v.patient, v.split) for v in listing.volumes] == [("camel", "validation")]
    image = read_volume_image(listing.volumes[0])
    mask = read_full_mask(listing.volumes[0], image.geometry)
    assert image.array.shape == (90, 480, 854, 3)
    assert mask is not None
    assert set(np.unique(mask)) == {0, 1}
    assert (mask.sum(axis=(1, 2)) > 0).all()

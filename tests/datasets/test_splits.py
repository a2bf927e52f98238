from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

from app.datasets.splits import draw_splits, read_split_lists
from app.errors import DatasetUnreadable


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(0, 1000))
def test_every_patient_has_one_split_and_some_train(count: int, seed: int) -> None:
    patients = [f"p{number}" for number in range(count)]
    splits = draw_splits(patients, seed)
    assert set(splits) == set(patients)
    assert set(splits.values()) <= {"train", "validation", "test"}
    sizes = [list(splits.values()).count(split) for split in ("train", "validation", "test")]
    assert sizes[0] >= 1
    if count >= 3:
        assert min(sizes) >= 1
    if count >= 20:
        assert abs(sizes[1] - 0.1 * count) <= 0.5
        assert abs(sizes[2] - 0.2 * count) <= 0.5


def test_the_draw_depends_on_the_seed_and_not_on_the_order() -> None:
    patients = [f"p{number}" for number in range(30)]
    assert draw_splits(patients, 3) == draw_splits(reversed(patients), 3)
    assert draw_splits(patients, 3) != draw_splits(patients, 4)


def test_other_fractions_are_kept_to_and_wrong_ones_refused() -> None:
    splits = draw_splits(map(str, range(10)), 0, (1.0, 0.0, 0.0))
    assert set(splits.values()) == {"train"}
    for fractions in ((0.5, 0.1, 0.1), (0.0, 0.5, 0.5), (1.2, -0.1, -0.1)):
        with pytest.raises(ValueError, match="shares of 1"):
            draw_splits(["a"], 0, fractions)


def test_lists_are_read_and_may_name_files(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("a/patient001_frame01.h5\na/patient001_frame12.h5\n\npatient002\n")
    (tmp_path / "test.txt").write_text("patient003\n")
    assert read_split_lists("acdc", tmp_path, r"patient\d{3}") == {
        "patient001": "train",
        "patient002": "train",
        "patient003": "test",
    }


def test_no_list_is_no_split(tmp_path: Path) -> None:
    assert read_split_lists("acdc", tmp_path) is None


def test_a_patient_in_two_lists_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("p1\np2\n")
    (tmp_path / "val.txt").write_text("p2\n")
    with pytest.raises(DatasetUnreadable, match="p2 stands in two split lists"):
        read_split_lists("nifti", tmp_path)


def test_a_line_that_names_no_patient_is_refused(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("somebody\n")
    with pytest.raises(DatasetUnreadable, match="'somebody'"):
        read_split_lists("acdc", tmp_path, r"patient\d{3}")

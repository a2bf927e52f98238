"""What a selection rule can see, and above all what it cannot."""

import inspect
from dataclasses import FrozenInstanceError, fields

import numpy as np
import pytest

from worker.learning.errors import (
    ConfigError,
    NonFiniteError,
    PoolStructureError,
    ReaderMissingError,
    ShapeError,
    UnrevealedLabelError,
)
from worker.learning.query.pool import QueryPool, refuse_unknown_settings
from worker.learning.query.strategies import STRATEGIES


def make_pool(**changes) -> QueryPool:
    annotated = np.array([True, False, False, False])
    values = {
        "patient_ids": np.array([0, 0, 1, 1]),
        "volume_ids": np.array([0, 0, 1, 1]),
        "z": np.array([0, 1, 0, 1]),
        "annotated": annotated,
        "available": ~annotated,
        "labels": {0: np.ones((2, 2), dtype=np.uint8)},
        "feature_reader": lambda: np.eye(4, dtype=np.float32),
        "pixel_reader": lambda: np.zeros((4, 1, 2, 2), dtype=np.uint8),
    }
    return QueryPool(**values | changes)


def test_labels_of_annotated_slices_can_be_read():
    assert make_pool().label(0).sum() == 4


@pytest.mark.parametrize("index", [1, 4, -1])
def test_an_unrevealed_label_can_neither_be_handed_in_nor_asked_for(index):
    garbage = np.full((2, 2), 3, dtype=np.uint8)
    with pytest.raises(UnrevealedLabelError, match=f"Slice {index} has not been annotated"):
        make_pool(labels={0: garbage, index: garbage})
    with pytest.raises(UnrevealedLabelError):
        make_pool().label(index)


def test_a_rule_receives_nothing_but_pool_budget_settings_and_generator():
    """So garbage in unrevealed labels cannot change a pick: there is no road by which they could reach a rule.

    What is carried are distances between features, which a rule had before.
    """
    for rule in STRATEGIES.values():
        assert list(inspect.signature(rule).parameters) == ["pool", "budget", "config", "generator"]
    assert {field.name for field in fields(QueryPool)} == {
        "patient_ids", "volume_ids", "z", "annotated", "available", "labels", "feature_reader", "pixel_reader",
        "imagenet_reader", "task_reader", "probability_reader", "carried", "model_missing", "device", "on_progress",
        "progress",
    }  # fmt: skip


def test_a_pool_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        make_pool().labels = {}


def test_readers_are_called_only_when_asked():
    def explode() -> np.ndarray:
        raise AssertionError("read too early")

    pool = make_pool(feature_reader=explode)
    assert pool.pixels().shape == (4, 1, 2, 2)
    with pytest.raises(AssertionError, match="too early"):
        pool.encoder_features()


def test_a_missing_reader_is_named():
    with pytest.raises(ReaderMissingError, match="without encoder features"):
        make_pool(feature_reader=None).encoder_features()
    with pytest.raises(ReaderMissingError, match="without pixels"):
        make_pool(pixel_reader=None).pixels()
    with pytest.raises(ReaderMissingError, match="without ImageNet features"):
        make_pool().imagenet_features()
    with pytest.raises(ReaderMissingError, match="without task features"):
        make_pool().task_features()
    with pytest.raises(ReaderMissingError, match="without probabilities"):
        make_pool().score_by_members(lambda maps: next(iter(maps)), np.array([1]))
    with pytest.raises(ReaderMissingError, match="without probabilities"):
        make_pool().score_by_dropout(lambda maps: next(iter(maps)), np.array([1]), 2, seed=0)


def test_readers_that_break_their_promise_are_refused():
    with pytest.raises(ShapeError, match="encoder features"):
        make_pool(feature_reader=lambda: np.zeros((3, 2))).encoder_features()
    with pytest.raises(ShapeError, match="encoder features"):
        make_pool(feature_reader=lambda: np.zeros(4)).encoder_features()
    with pytest.raises(ShapeError, match="pixels"):
        make_pool(pixel_reader=lambda: np.zeros((4, 2, 2))).pixels()
    bad = np.eye(4)
    bad[3, 2] = np.inf
    with pytest.raises(NonFiniteError, match=r"\(3, 2\)"):
        make_pool(feature_reader=lambda: bad).encoder_features()


def test_contradictions_are_refused():
    with pytest.raises(PoolStructureError, match="slice 0 is annotated and yet available"):
        make_pool(available=np.ones(4, dtype=bool))
    with pytest.raises(ShapeError, match="z of the pool"):
        make_pool(z=np.zeros(3))


def test_a_misspelt_setting_is_refused():
    refuse_unknown_settings({"normalise": True}, "normalise")
    with pytest.raises(ConfigError, match="normalize"):
        refuse_unknown_settings({"normalize": True}, "normalise")

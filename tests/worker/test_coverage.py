"""The coverage map: alike beside alike, the same map for the same seed, at most so many slices."""

from __future__ import annotations

import numpy as np
import pytest

from worker.tasks.coverage import lay_out, sample_rows


def test_slices_that_are_alike_lie_together_and_the_seed_decides() -> None:
    generator = np.random.default_rng(5)
    centres = generator.normal(size=(3, 20)) * 40
    features = np.concatenate([centre + generator.normal(size=(15, 20)) for centre in centres]).astype(np.float32)
    places = lay_out(features, seed=2)
    assert places.shape == (45, 2)
    assert places.min() == 0.0
    assert places.max() == 1.0
    distance = np.linalg.norm(places[:, None] - places[None], axis=-1)
    np.fill_diagonal(distance, np.inf)
    assert np.array_equal(distance.argmin(axis=1) // 15, np.arange(45) // 15)
    assert np.array_equal(places, lay_out(features, seed=2))


@pytest.mark.parametrize("rows", [1, 4, 5, 7])
def test_few_slices_have_places_too(rows: int) -> None:
    places = lay_out(np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32), seed=0)
    assert places.shape == (rows, 2)
    assert np.isfinite(places).all()


def test_of_many_slices_a_sample_is_drawn() -> None:
    assert sample_rows(7, 10, seed=1).tolist() == list(range(7))
    drawn = sample_rows(500, 100, seed=1)
    assert len(set(drawn.tolist())) == 100
    assert drawn.tolist() == sorted(drawn.tolist())
    assert sample_rows(500, 100, seed=1).tolist() == drawn.tolist()
    assert sample_rows(500, 100, seed=2).tolist() != drawn.tolist()

"""Every rule of the table, and what each baseline promises."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from app.names import STRATEGIES as DESCRIPTORS, Need
from tests.learning.query.maps import KeptMaps, draw_maps
from worker.learning.errors import BudgetError, ConfigError, NothingToPickError
from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.pool import QueryPool
from worker.learning.query.strategies import STRATEGIES

VOLUMES, SLICES = 6, 10
SIZE = VOLUMES * SLICES
MAPS = draw_maps(members=3, slices=SIZE, classes=3, size=4, seed=1)
WITHOUT_CHANCE = {"typiclust"}  # these ask the generator how to begin a computation, not what to pick first

ASK_A_MODEL = sorted(
    name for name, descriptor in DESCRIPTORS.items() if descriptor.needs & {Need.TASK, Need.PROBABILITIES}
)


def make_pool(annotated: tuple[int, ...] = (), skipped: tuple[int, ...] = (), scale: float = 1.0) -> QueryPool:
    volumes = np.arange(SIZE) // SLICES
    centres = np.isin(np.arange(SIZE), annotated)
    generator = np.random.default_rng(0)
    features = generator.standard_normal((SIZE, 12)) * np.linspace(1, scale, SIZE)[:, None]
    pixels = generator.integers(0, 255, (SIZE, 1, 4, 4), dtype=np.uint8)
    return QueryPool(
        patient_ids=volumes // 2,
        volume_ids=volumes,
        z=np.arange(SIZE) % SLICES,
        annotated=centres,
        available=~centres & ~np.isin(np.arange(SIZE), skipped),
        feature_reader=lambda: features,
        pixel_reader=lambda: pixels,
        imagenet_reader=lambda: features[:, 4:],
        task_reader=lambda: features[:, :8],
        probability_reader=KeptMaps(MAPS),
        model_missing=not annotated,
    )


def pick(name: str, pool: QueryPool, budget: int, seed: int = 0, **config: object):
    return STRATEGIES[name](pool, budget, config, np.random.default_rng(seed))


@pytest.mark.parametrize("name", STRATEGIES)
def test_picks_are_distinct_available_and_repeatable(name):
    pool = make_pool(annotated=(3, 17), skipped=(5,))
    picks = pick(name, pool, 12)
    assert len(set(picks.indices)) == 12
    assert pool.available[list(picks.indices)].all()
    assert len(picks.values) == len(picks.nearest) == 12
    assert pick(name, pool, 12) == picks


@pytest.mark.parametrize("name", sorted(STRATEGIES.keys() - WITHOUT_CHANCE))
def test_another_seed_starts_elsewhere(name):
    assert len({pick(name, make_pool(), 1, seed).indices for seed in range(12)}) > 3


@pytest.mark.parametrize("name", STRATEGIES)
def test_too_large_a_budget_picks_all_and_an_empty_pool_is_refused(name):
    assert len(pick(name, make_pool(annotated=(1,)), 1000).indices) == SIZE - 1
    with pytest.raises(NothingToPickError):
        pick(name, make_pool(annotated=tuple(range(SIZE))), 1)
    with pytest.raises(BudgetError):
        pick(name, make_pool(), 0)
    with pytest.raises(ConfigError, match="colour"):
        pick(name, make_pool(), 1, colour="red")


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_only_slice_left_is_picked(name):
    left = 42
    pool = make_pool(annotated=tuple(index for index in range(SIZE) if index != left))
    assert pick(name, pool, 3).indices == (left,)


@pytest.mark.parametrize(
    ("name", "later", "first"),
    [
        ("gcl", (35, 19, 18, 57, 40, 22), (40, 19, 50)),
        ("coreset-pixels", (19, 37, 18, 55, 25, 40), (40, 11, 59)),
        ("random", (9, 13, 53, 55, 49, 14), (9, 13, 53)),
        ("random-per-volume", (46, 36, 59, 28, 44, 37), (44, 35, 59)),
        ("random-by-position", (43, 39, 6, 0, 32, 18), (58, 23, 15)),
    ],
)
def test_picks_that_were_published_never_change(name, later, first):
    """Rounds of earlier versions must come out again: a change here is a change of every stored experiment."""
    assert pick(name, make_pool(annotated=(3, 17)), 6, seed=5).indices == later
    assert pick(name, make_pool(), 3, seed=5).indices == first


@pytest.mark.parametrize("name", ASK_A_MODEL)
def test_without_a_model_the_start_is_the_one_of_random_and_says_so(name):
    cold = pick(name, make_pool(), 5, seed=3)
    assert cold.indices == pick("random", make_pool(), 5, seed=3).indices
    assert cold.note == "drawn at random, because no model has been trained yet"
    assert pick(name, make_pool(annotated=(3, 17)), 5, seed=3).note is None


def test_every_coreset_measures_in_its_own_space():
    pool = make_pool(annotated=(0,))
    pixels = pool.pixels().reshape(SIZE, -1).astype(np.float32)
    spaces = {
        "gcl": pool.encoder_features(),
        "coreset-pixels": pixels,
        "coreset-imagenet": pool.imagenet_features(),
        "coreset-task": pool.task_features(),
    }
    for name, space in spaces.items():
        expected = k_center_greedy(space, pool.annotated, pool.available, 5, np.random.default_rng(0))
        assert pick(name, pool, 5) == expected
    assert len({pick(name, pool, 5).indices for name in spaces}) == len(spaces)


def test_normalised_features_forget_their_length():
    same = pick("gcl", make_pool((0,)), 8, normalise=True).indices
    assert pick("gcl", make_pool((0,), scale=9), 8, normalise=True).indices == same
    assert pick("gcl", make_pool((0,), scale=9), 8).indices != same


def test_random_is_even_over_the_pool():
    pool = make_pool()
    counts = Counter(index for seed in range(600) for index in pick("random", pool, 6, seed).indices)
    assert min(counts[index] for index in range(SIZE)) > 30
    assert max(counts.values()) < 100


def test_per_volume_takes_one_of_each_in_turn():
    picks = pick("random-per-volume", make_pool(), 2 * VOLUMES)
    turns = [[index // SLICES for index in picks.indices[start : start + VOLUMES]] for start in (0, VOLUMES)]
    assert [sorted(turn) for turn in turns] == [list(range(VOLUMES))] * 2
    assert picks.values == (0,) * VOLUMES + (1,) * VOLUMES


def test_per_volume_serves_the_least_annotated_volumes_first():
    annotated = (0, 1, 10, 20, 30)  # two in volume 0, one each in 1 to 3, none in 4 and 5
    order = [index // SLICES for index in pick("random-per-volume", make_pool(annotated), 8).indices]
    assert set(order[:2]) == {4, 5}
    assert sorted(order[2:7]) == [1, 2, 3, 4, 5]


def test_by_position_covers_every_stratum():
    picks = pick("random-by-position", make_pool(), SLICES)
    # Six volumes of ten slices cut into ten strata: one pick at each position.
    assert sorted(index % SLICES for index in picks.indices) == list(range(SLICES))
    assert sorted(picks.values) == pytest.approx([place / (SLICES - 1) for place in range(SLICES)])


def test_a_lone_slice_of_a_volume_stands_in_the_middle():
    one = np.array([True])
    pool = QueryPool(np.array([0]), np.array([4]), np.array([7]), ~one, one)
    assert pick("random-by-position", pool, 1).values == (0.5,)


@pytest.mark.parametrize("name", STRATEGIES)
def test_no_slice_is_picked_twice_though_all_look_the_same(name):
    """Duplicates lie at distance 0 of each other, have equal scores and are one cluster."""
    pool = make_pool(annotated=(3,))
    alike = replace(
        pool,
        feature_reader=lambda: np.ones((SIZE, 12)),
        pixel_reader=lambda: np.full((SIZE, 1, 4, 4), 100, dtype=np.uint8),
        imagenet_reader=lambda: np.ones((SIZE, 8)),
        task_reader=lambda: np.ones((SIZE, 8)),
        probability_reader=KeptMaps(MAPS[:, :1].expand(-1, SIZE, -1, -1, -1)),
    )
    indices = pick(name, alike, 20).indices
    assert len(set(indices)) == 20
    assert 3 not in indices

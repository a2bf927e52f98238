"""Every rule of the table against a loop-written twin, on small random rounds.

What a rule asks others for is given to its twin as well: the clusters of k-means, the columns of a trained graph
network, the judgement of a trained discriminator. Their parts have twins of their own in the tests beside this one.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings, strategies as st

from tests import oracles
from tests.learning.query.maps import KeptMaps, draw_maps
from worker.learning.query.coregcn import embed_by_graph
from worker.learning.query.geometry import bring_to_length_one
from worker.learning.query.pool import QueryPool
from worker.learning.query.strategies import STRATEGIES
from worker.learning.query.typiclust import cluster_features
from worker.learning.query.uncertainty import pick_highest
from worker.learning.query.vaal import AdversaryPlan, fit_adversaries, judge_slices, prepare_images
from worker.learning.shapes import ignore_progress

Settings = Mapping[str, object]
TOO_NEAR = 1e-5  # values of two slices between which float32 and float64 may decide differently


@dataclass(frozen=True)
class Round:
    """A pool, the maps that its members give (M, N, C, S, S), a budget and the generator's seed."""

    pool: QueryPool
    maps: torch.Tensor
    budget: int
    seed: int

    @property
    def annotated(self) -> list[int]:
        return np.flatnonzero(self.pool.annotated).tolist()

    @property
    def available(self) -> list[int]:
        return np.flatnonzero(self.pool.available).tolist()

    def generator(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    def maps_of_available(self) -> np.ndarray:
        return self.maps[:, self.available].numpy()


@st.composite
def rounds(draw: st.DrawFn) -> Round:
    size = draw(st.integers(4, 20))
    seed = draw(st.integers(0, 9999))
    generator = np.random.default_rng(seed)
    volumes = np.array(draw(st.lists(st.integers(0, 3), min_size=size, max_size=size)))
    z = np.array([int((volumes[:index] == volumes[index]).sum()) for index in range(size)])
    roles = draw(st.lists(st.sampled_from("aaaac-"), min_size=size, max_size=size))
    first, second = draw(st.permutations(range(size)))[:2]
    roles[first], roles[second] = "a", "c"
    annotated, available = (np.array([role == each for role in roles]) for each in "ca")
    features = generator.integers(-3, 4, (size, 3)).astype(np.float32)  # ties and duplicates are common
    pixels = generator.integers(0, 4, (size, 1, 2, 2), dtype=np.uint8)
    members, classes = draw(st.integers(2, 3)), draw(st.integers(2, 4))
    maps = draw_maps(members, size, classes, 3, seed)
    pool = QueryPool(
        volumes // 2,
        volumes,
        z,
        annotated,
        available,
        feature_reader=lambda: features,
        pixel_reader=lambda: pixels,
        imagenet_reader=lambda: features[:, :2],
        task_reader=lambda: features[:, 1:],
        probability_reader=KeptMaps(maps),
        progress=draw(st.floats(0, 1)),
    )
    return Round(pool, maps, draw(st.integers(1, 6)), seed)


def clear(values: list[float]) -> list[float]:
    """The values, once cases are left out in which rounding alone ranks two slices."""
    ordered = sorted(values)
    assume(all(high - low > TOO_NEAR for low, high in pairwise(ordered)))
    return values


def k_center(points: np.ndarray, now: Round) -> list[int]:
    return oracles.k_center_greedy_by_loops(points.tolist(), now.annotated, now.available, now.budget)[0]


def gcl(now: Round, config: Settings) -> list[int]:
    return k_center(now.pool.encoder_features(), now)


def pixels(now: Round, config: Settings) -> list[int]:
    return k_center(now.pool.pixels().reshape(now.pool.size, -1), now)


def imagenet(now: Round, config: Settings) -> list[int]:
    return k_center(now.pool.imagenet_features(), now)


def task(now: Round, config: Settings) -> list[int]:
    return k_center(now.pool.task_features(), now)


def by_lot(now: Round, config: Settings) -> list[int]:
    return oracles.random_picks_by_loops(now.generator().random(now.pool.size).tolist(), now.available, now.budget)


def per_volume(now: Round, config: Settings) -> list[int]:
    generator, volumes = now.generator(), now.pool.volume_ids.tolist()
    ranks = generator.random(len(set(volumes))).tolist()
    shuffled = np.array(now.available)[generator.permutation(len(now.available))].tolist()
    return oracles.per_volume_picks_by_loops(volumes, now.annotated, shuffled, ranks, now.budget)


def by_position(now: Round, config: Settings) -> list[int]:
    generator, volumes = now.generator(), now.pool.volume_ids.tolist()
    keys = generator.random(len(now.available)).tolist()
    strata = oracles.strata_by_loops(volumes, now.pool.z.tolist(), now.available, keys, now.budget)
    return generator.permutation([int(generator.choice(stratum)) for stratum in strata]).tolist()


def variance_ratio(now: Round, config: Settings) -> list[int]:
    values = oracles.variance_ratio_by_loops(now.maps_of_available())  # counts: equal ones are equal to the last bit
    keys = now.generator().random(len(values)).tolist()
    return oracles.highest_by_loops(now.available, values, keys, now.budget)


def bald(now: Round, config: Settings) -> list[int]:
    generator = now.generator()

    def score(maps: object) -> torch.Tensor:
        return torch.tensor(oracles.mutual_information_by_loops(torch.stack(list(maps)).numpy()))

    passes, seed = int(str(config["passes"])), int(generator.integers(2**63))
    by_member = KeptMaps(now.maps).score_by_dropout(score, np.array(now.available), passes, seed)
    values = clear([sum(column) / len(column) for column in by_member.T.tolist()])
    return oracles.highest_by_loops(now.available, values, generator.random(len(values)).tolist(), now.budget)


def stochastic(now: Round, config: Settings) -> list[int]:
    generator, size = now.generator(), len(now.available)
    values = clear(oracles.predictive_entropy_by_loops(now.maps_of_available()))
    if "group_size" in config:
        shuffled = generator.permutation(size).tolist()
        places = oracles.best_groups_by_loops(values, shuffled, int(str(config["group_size"])))[: now.budget]
    else:
        take = min(now.budget, size)
        drawn = [generator.choice(size, take, replace=False, shuffle=False).tolist() for _ in range(20)]
        places = oracles.best_batch_by_loops(values, drawn)
    return [now.available[place] for place in places]


def typiclust(now: Round, config: Settings) -> list[int]:
    generator = now.generator()
    unit = bring_to_length_one(now.pool.encoder_features())
    wanted = min(len(now.annotated) + now.budget, now.pool.size)
    clusters = cluster_features(unit, wanted, generator).tolist()
    picks = oracles.typiclust_by_loops(unit.tolist(), clusters, now.annotated, now.available, now.budget)
    rest = generator.permutation([index for index in now.available if index not in picks])
    return [*picks, *rest[: now.budget - len(picks)].tolist()]


def foreground(now: Round, config: Settings) -> list[int]:
    present = [[share > 0 for share in row[1:]] for row in oracles.class_shares_by_loops(now.maps_of_available())]
    budget = min(now.budget, len(present))
    rows = oracles.foreground_picks_by_loops(present, budget, round(0.66 * now.budget), now.generator())
    return [now.available[row] for row in rows]


def clasp(now: Round, config: Settings) -> list[int]:
    generator = now.generator()
    scores = oracles.class_entropies_by_loops(now.maps_of_available())
    noised = oracles.power_noise_by_loops(scores, 100.0**now.pool.progress, generator)
    columns = oracles.clasp_columns_by_loops(min(now.budget, len(scores)), 0.66, len(scores[0]), generator)
    for column in set(columns):
        clear([row[column] for row in noised])
    return [now.available[row] for row in oracles.clasp_picks_by_loops(noised, columns)]


def coregcn(now: Round, config: Settings) -> list[int]:
    seed = int(now.generator().integers(2**63))
    points = embed_by_graph(now.pool.task_features(), now.pool.annotated, int(str(config["epochs"])), seed)
    return k_center(points, now)


def vaal(now: Round, config: Settings) -> list[int]:
    generator = now.generator()
    images = prepare_images(now.pool.pixels())
    plan = AdversaryPlan(max(1, now.pool.size // 8), 8, 4, int(generator.integers(2**63)))
    networks = fit_adversaries(images, torch.from_numpy(now.pool.annotated), plan, ignore_progress)
    values = (1 - judge_slices(*networks, images))[now.available].tolist()
    return oracles.highest_by_loops(now.available, values, generator.random(len(values)).tolist(), now.budget)


Twin = Callable[[Round, Settings], list[int]]
NOTHING: Settings = {}
# The rule, its twin, the settings of both, and on how many rounds they are compared.
TWINS: list[tuple[str, Twin, Settings, int]] = [
    ("gcl", gcl, NOTHING, 30),
    ("coreset-pixels", pixels, NOTHING, 30),
    ("coreset-imagenet", imagenet, NOTHING, 30),
    ("coreset-task", task, NOTHING, 30),
    ("random", by_lot, NOTHING, 30),
    ("random-per-volume", per_volume, NOTHING, 40),
    ("random-by-position", by_position, NOTHING, 40),
    ("variance-ratio", variance_ratio, NOTHING, 20),
    ("bald", bald, {"passes": 3}, 10),
    ("stochastic-batches", stochastic, {"batches": 20}, 20),
    ("stochastic-batches", stochastic, {"group_size": 3}, 20),
    ("typiclust", typiclust, NOTHING, 30),
    ("foreground-aware-random", foreground, NOTHING, 20),
    ("clasp-pe", clasp, NOTHING, 20),
    ("coregcn", coregcn, {"epochs": 2}, 10),
    ("vaal", vaal, {"epochs": 1, "batch": 8, "width": 4}, 3),
]


def test_every_rule_has_a_twin() -> None:
    assert {name for name, *_ in TWINS} == set(STRATEGIES)


@pytest.mark.parametrize(("name", "twin", "config", "examples"), TWINS)
def test_a_rule_picks_what_its_twin_picks(name: str, twin: Twin, config: Settings, examples: int) -> None:
    @given(rounds())
    @settings(max_examples=examples, deadline=None)
    def compare(now: Round) -> None:
        if name in {"typiclust", "coregcn"}:  # of points at one place rounding would take either
            now = moved_apart(now)
        expected = twin(now, config)
        picks = STRATEGIES[name](now.pool, now.budget, config, now.generator())
        assert list(picks.indices) == expected
        assert len(expected) == min(now.budget, len(now.available))

    compare()


def moved_apart(now: Round) -> Round:
    noise = np.random.default_rng(now.seed + 1).normal(0, 0.3, (now.pool.size, 3)).astype(np.float32)
    features = now.pool.encoder_features() + noise
    return replace(
        now, pool=replace(now.pool, feature_reader=lambda: features, task_reader=lambda: np.abs(features[:, 1:]))
    )


@given(st.lists(st.integers(0, 3), min_size=1, max_size=9), st.integers(1, 10), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_the_highest_are_picked_and_equal_ones_by_the_generator(values: list[int], budget: int, seed: int) -> None:
    candidates = list(range(10, 10 + len(values)))
    keys = np.random.default_rng(seed).random(len(values)).tolist()
    picks = pick_highest(np.array(candidates), np.array(values, dtype=float), budget, np.random.default_rng(seed))
    assert list(picks.indices) == oracles.highest_by_loops(candidates, values, keys, budget)


@given(rounds())
@settings(max_examples=30, deadline=None)
def test_features_of_length_one_are_measured_where_gcl_is_told_to(now: Round) -> None:
    unit = [
        [x / max(float(np.hypot.reduce(row)), 1e-30) for x in row] for row in moved_apart(now).pool.encoder_features()
    ]
    picks = STRATEGIES["gcl"](moved_apart(now).pool, now.budget, {"normalise": True}, now.generator())
    assert list(picks.indices) == k_center(np.array(unit), now)

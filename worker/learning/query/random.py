"""Rules without learning: the baselines that every other rule has to beat."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from worker.learning.query.pool import Picks, QueryPool, list_available, refuse_unknown_settings

NO_MODEL = "drawn at random, because no model has been trained yet"


def pick_at_random(pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator) -> Picks:
    """Pick uniformly without replacement; the value of a pick is the random key that ranked it.

    Source: none, the usual null; "Random" of Vepa et al., NeurIPS 2024. Input: what is available, (N,). Cost:
    O(N log N). Departure: the keys come from the round's generator, so that a larger budget only prolongs the list.
    """
    refuse_unknown_settings(config)
    available = list_available(pool, budget)
    keys = generator.random(pool.size)
    chosen = available[np.argsort(-keys[available], kind="stable")][:budget]
    return _picks(chosen, keys)


def pick_without_model(pool: QueryPool, budget: int, generator: np.random.Generator, note: str = NO_MODEL) -> Picks:
    """Pick as `random` does with the same generator, and say why: the cold start of rules that ask a trained model."""
    return replace(pick_at_random(pool, budget, {}, generator), note=note)


def pick_per_volume(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Pick one random slice of each volume in turn, volumes with fewest annotated slices first.

    Source: none; the null for "groups matter" that Vepa et al., NeurIPS 2024, did not run. Input: volume ids (N,) and
    what is annotated, (N,). Cost: O(N log N). Departures: none, the rule is ours. The value of a pick is the turn of
    its volume, counted from the slices already annotated there.
    """
    refuse_unknown_settings(config)
    available = list_available(pool, budget)
    _, volumes = np.unique(pool.volume_ids, return_inverse=True)
    annotated_counts = np.bincount(volumes, weights=pool.annotated)
    volume_keys = generator.random(len(annotated_counts))
    shuffled = available[generator.permutation(len(available))]
    by_volume = shuffled[np.argsort(volumes[shuffled], kind="stable")]
    starts = np.r_[0, np.flatnonzero(np.diff(volumes[by_volume])) + 1]
    place_in_volume = np.arange(len(by_volume)) - np.repeat(starts, np.diff(np.r_[starts, len(by_volume)]))
    turns = np.zeros(pool.size)
    turns[by_volume] = annotated_counts[volumes[by_volume]] + place_in_volume
    order = np.lexsort((volume_keys[volumes[by_volume]], turns[by_volume]))
    return _picks(by_volume[order][:budget], turns)


def pick_by_position(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """Cut the available slices into `budget` equal strata by relative position and pick one of each at random.

    Source: none; the null for "position matters". Input: volume ids and z, both (N,). Cost: O(N log N). Departures:
    none, the rule is ours. Relative position: 0 at a volume's first slice, 1 at its last, 0.5 if it has one only; it is
    the value of a pick.
    """
    refuse_unknown_settings(config)
    available = list_available(pool, budget)
    position = _relative_positions(pool)
    ranked = available[np.lexsort((generator.random(len(available)), position[available]))]
    chosen = [int(generator.choice(stratum)) for stratum in np.array_split(ranked, min(budget, len(ranked)))]
    return _picks(generator.permutation(np.array(chosen, dtype=np.int64)), position)


def _relative_positions(pool: QueryPool) -> npt.NDArray[np.float64]:
    _, volumes = np.unique(pool.volume_ids, return_inverse=True)
    count = int(volumes.max()) + 1
    first = np.full(count, np.inf)
    last = np.full(count, -np.inf)
    np.minimum.at(first, volumes, pool.z)
    np.maximum.at(last, volumes, pool.z)
    length = (last - first)[volumes]
    return np.where(length > 0, (pool.z - first[volumes]) / np.maximum(length, 1), 0.5)


def _picks(chosen: npt.NDArray[np.int64], values: npt.NDArray[np.float64]) -> Picks:
    indices = tuple(int(index) for index in chosen)
    return Picks(indices, tuple(float(values[index]) for index in indices), (None,) * len(indices), None)

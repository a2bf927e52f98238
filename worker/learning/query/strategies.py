"""The table of selection rules: one signature, one name each."""

from collections.abc import Callable, Mapping

import numpy as np

from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.pool import Picks, QueryPool, refuse_unknown_settings
from worker.learning.query.random import pick_at_random, pick_by_position, pick_per_volume
from worker.learning.query.stochastic import pick_by_stochastic_batches
from worker.learning.query.uncertainty import pick_by_bald, pick_by_variance_ratio

Rule = Callable[[QueryPool, int, Mapping[str, object], np.random.Generator], Picks]


def pick_by_encoder_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on the contrastive encoder's features: the method of Vepa et al., NeurIPS 2024.

    Setting "normalise" (default False, as in the paper): features are brought to length 1 first.
    """
    refuse_unknown_settings(config, "normalise")
    features = pool.encoder_features()
    if config.get("normalise", False):
        lengths = np.linalg.norm(features, axis=1, keepdims=True)
        features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return k_center_greedy(features, pool.annotated, pool.available, budget, generator)


def pick_by_pixel_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on raw pixels: what the paper's tables call Coreset."""
    refuse_unknown_settings(config)
    pixels = pool.pixels().reshape(pool.size, -1).astype(np.float32)
    return k_center_greedy(pixels, pool.annotated, pool.available, budget, generator)


STRATEGIES: Mapping[str, Rule] = {
    "gcl": pick_by_encoder_coreset,
    "coreset-pixels": pick_by_pixel_coreset,
    "random": pick_at_random,
    "random-per-volume": pick_per_volume,
    "random-by-position": pick_by_position,
    "variance-ratio": pick_by_variance_ratio,
    "bald": pick_by_bald,
    "stochastic-batches": pick_by_stochastic_batches,
}

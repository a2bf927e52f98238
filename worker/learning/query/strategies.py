"""The table of selection rules: one signature, one name each. What each needs stands in `app/names.py`."""

from collections.abc import Callable, Mapping

import numpy as np

from worker.learning.query.clasp import pick_by_clasp_entropy
from worker.learning.query.coregcn import pick_by_coregcn
from worker.learning.query.foreground import pick_foreground_aware
from worker.learning.query.geometry import (
    pick_by_encoder_coreset,
    pick_by_imagenet_coreset,
    pick_by_pixel_coreset,
    pick_by_task_coreset,
)
from worker.learning.query.pool import Picks, QueryPool
from worker.learning.query.random import pick_at_random, pick_by_position, pick_per_volume
from worker.learning.query.stochastic import pick_by_stochastic_batches
from worker.learning.query.typiclust import pick_by_typiclust
from worker.learning.query.uncertainty import pick_by_bald, pick_by_variance_ratio
from worker.learning.query.vaal import pick_by_vaal

Rule = Callable[[QueryPool, int, Mapping[str, object], np.random.Generator], Picks]

STRATEGIES: Mapping[str, Rule] = {
    "gcl": pick_by_encoder_coreset,
    "coreset-pixels": pick_by_pixel_coreset,
    "coreset-imagenet": pick_by_imagenet_coreset,
    "coreset-task": pick_by_task_coreset,
    "random": pick_at_random,
    "random-per-volume": pick_per_volume,
    "random-by-position": pick_by_position,
    "variance-ratio": pick_by_variance_ratio,
    "bald": pick_by_bald,
    "stochastic-batches": pick_by_stochastic_batches,
    "typiclust": pick_by_typiclust,
    "foreground-aware-random": pick_foreground_aware,
    "clasp-pe": pick_by_clasp_entropy,
    "coregcn": pick_by_coregcn,
    "vaal": pick_by_vaal,
}

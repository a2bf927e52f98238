"""Rules that run K-Center Greedy; they differ in the space that they measure in."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.pool import Features, Picks, QueryPool, refuse_unknown_settings
from worker.learning.query.random import pick_without_model


def pick_by_encoder_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on the group-contrastive encoder's features: the method of Vepa et al., NeurIPS 2024.

    Source: Section 3.3 and Algorithm 1 there, after Sener and Savarese, ICLR 2018, Algorithm 1; the encoder by Section
    3.2, Eq. 4 and 5 (`losses.contrastive`, `samplers`). Input: (N, 512) features before the head. Setting "normalise"
    (default False, as in the paper) brings them to length 1. Cost: once a project the encoder, `epochs` times N slices
    in two views forward and backward, and N slices forward; then O(N·D) a centre, O(N·D) memory. Departures: no label
    enters the distance (the released configuration measured pixels under scribbles of slices not yet annotated), the
    first centre comes from the generator, and duplicates are never picked twice; of the encoder: positives by ids (the
    released mask makes all views positives), both views as anchors, both in one forward pass, no slice left out of an
    epoch. Cold start: the same, from one drawn centre.
    """
    refuse_unknown_settings(config, "normalise")
    features = pool.encoder_features()
    if config.get("normalise", False):
        features = bring_to_length_one(features)
    return k_center_greedy(features, pool.annotated, pool.available, budget, generator, pool.carried)


def pick_by_pixel_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on raw pixels: what the tables of Vepa et al., NeurIPS 2024, call Coreset.

    Source: Sener and Savarese, ICLR 2018, Algorithm 1. Input: (N, C, S, S) images, flattened. Cost: O(N·D) a centre
    with D = C·S². Departures: Sener and Savarese measure the task model's features, for which `coreset-task` stands;
    size and resizing are the encoder's in the protocol, so 256 by nearest, as published, under the preset `paper`
    alone. Cold start: the same, from one drawn centre.
    """
    refuse_unknown_settings(config)
    pixels = pool.pixels().reshape(pool.size, -1).astype(np.float32)
    return k_center_greedy(pixels, pool.annotated, pool.available, budget, generator, pool.carried)


def pick_by_imagenet_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on the encoder as ImageNet left it: what `gcl` is without its contrastive training.

    Source: none; the control that Vepa et al., NeurIPS 2024, did not run, with their K-Center Greedy (Section 3.3).
    Input: (N, 512) features before the head, unscaled. Cost: one forward pass of a ResNet-18 a slice and round, then
    O(N·D) a centre. Departures from what begins `gcl`: no training, and nothing stands in for the weights; where they
    cannot be had the round is refused. Cold start: the same, from one drawn centre.
    """
    refuse_unknown_settings(config)
    features = pool.imagenet_features()
    return k_center_greedy(features, pool.annotated, pool.available, budget, generator, pool.carried)


def pick_by_task_coreset(
    pool: QueryPool, budget: int, config: Mapping[str, object], generator: np.random.Generator
) -> Picks:
    """K-Center Greedy on what the segmentation model sees: the Core-Set method as first published.

    Source: Sener and Savarese, ICLR 2018, Algorithm 1. Input: (N, 256) bottleneck features of the last round's best
    member on validation, averaged over the plane. Cost: the encoder half of one forward pass a slice, then O(N·D) a
    centre. Departures: the greedy solution alone, without the integer program that refines it; with no model yet the
    first round is `random`, as they begin from a random set. The distances of earlier rounds cannot be carried over,
    for every round's model has another space.
    """
    refuse_unknown_settings(config)
    if pool.model_missing:
        return pick_without_model(pool, budget, generator)
    picks = k_center_greedy(pool.task_features(), pool.annotated, pool.available, budget, generator)
    return replace(picks, cover=None)


def bring_to_length_one(features: Features) -> Features:
    """Give (N, D) features divided by their Euclidean length; a row of zeros stays one."""
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    scaled: Features = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    return scaled

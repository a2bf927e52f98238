"""The nine acceptance checks that were written down before the method was built, each under its number.

Each is short here; the tests of the parts say more, and drive the slow twins with hypothesis.
"""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.ndimage import zoom

from app.bench.statistics import bootstrap_error, draw_resamples
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.datasets.splits import split_checksum
from app.services.pools import count_at_budget
from tests import oracles
from tests.learning.query.maps import draw_maps
from worker.learning.errors import UnrevealedLabelError
from worker.learning.intensity import resize_nearest
from worker.learning.losses.contrastive import group_loss, legacy_group_loss, relation_mask
from worker.learning.metrics import score_volume
from worker.learning.query.coreset import k_center_greedy, measure_cover
from worker.learning.query.pool import QueryPool
from worker.learning.query.stochastic import predictive_entropy
from worker.learning.query.uncertainty import mutual_information, variance_ratio
from worker.learning.samplers import draw_epoch, sort_slices


def test_check_1_group_loss_equals_a_triple_loop_keeps_its_invariances_and_has_a_legacy_form():
    views = torch.randn(2, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    patients, volumes, z = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([0, 0, 1, 2, 2, 3]), torch.arange(6)
    same_patient = relation_mask("patient", patients, volumes, z)
    related = relation_mask("volume", patients, volumes, z)
    loss = group_loss(views[0], views[1], related, same_patient, 0.5)
    twin = oracles.group_loss_by_loops(
        views[0], views[1], lambda a, b: bool(volumes[a] == volumes[b]), patients.tolist(), 0.5
    )
    assert loss.item() == pytest.approx(twin, abs=1e-12)

    order = torch.tensor([4, 2, 0, 5, 1, 3])
    turned = group_loss(views[0, order], views[1, order], related[order][:, order], same_patient[order][:, order], 0.5)
    assert turned.item() == pytest.approx(loss.item(), abs=1e-12), "the order of the batch does not matter"

    one_volume_each = relation_mask("volume", patients, patients, z)
    assert torch.equal(one_volume_each, same_patient), "then the patient loss is the volume loss"

    legacy = legacy_group_loss(views[0], views[1], volumes, 0.5)
    by_loops = oracles.legacy_group_loss_by_loops(views[0], views[1], volumes.tolist(), 0.5)  # counts 2B (2B - 1) terms
    assert legacy.item() == pytest.approx(by_loops, abs=1e-12)
    assert legacy.item() != pytest.approx(loss.item(), abs=1e-3)


def test_check_2_sampler_uses_every_anchor_once_with_distinct_patients_and_ends_on_tiny_volumes():
    depths = [1, 2, 5, 1, 2, 5]  # one-slice and two-slice volumes, two of each kind of patient
    patients = np.repeat(np.arange(6), depths)
    z = np.concatenate([np.arange(depth) for depth in depths])
    order = sort_slices(patients, patients, z)
    batches = draw_epoch(order, ("slice", "volume", "patient"), 8, seed=3, epoch=0)
    anchors = np.concatenate([groups[:, 0] for groups in batches])
    assert sorted(anchors) == list(range(len(patients)))
    for groups in batches:
        assert len({int(patients[anchor]) for anchor in groups[:, 0]}) == len(groups)
    again = draw_epoch(order, ("slice", "volume", "patient"), 8, seed=3, epoch=0)
    assert all(np.array_equal(one, other) for one, other in zip(batches, again, strict=True))


def test_check_3_k_center_equals_the_reference_and_is_within_twice_the_best():
    generator = np.random.default_rng(1)
    points = generator.integers(-4, 5, (9, 2)).astype(np.float32)
    points[5] = points[2]  # duplicates
    annotated = np.arange(9) == 0
    picks = k_center_greedy(points, annotated, ~annotated, 3, generator)
    expected, radius = oracles.k_center_greedy_by_loops(points.tolist(), [0], list(range(1, 9)), 3)
    assert list(picks.indices) == expected
    assert picks.cover_radius == pytest.approx(radius, abs=1e-5)
    assert picks.cover_radius <= 2 * oracles.best_cover_radius(points.tolist(), [0], 3) + 1e-5
    assert all(later <= earlier + 1e-6 for earlier, later in pairwise(picks.values)), "distances never rise"

    with_two = annotated | np.isin(np.arange(9), picks.indices[:2])
    carried = measure_cover(points, with_two, measure_cover(points, annotated))
    rest = k_center_greedy(points, with_two, ~with_two, 1, generator, carried)
    assert rest.indices == picks.indices[2:], "carried on is the same as from scratch"
    everything = k_center_greedy(points, annotated, ~annotated, 99, generator)
    assert sorted(everything.indices) == list(range(1, 9)), "duplicates too are picked once each"


@pytest.mark.parametrize(
    ("source", "target"), [((216, 256), (256, 256)), ((154, 224), (256, 256)), ((256, 216), (64, 64))]
)
def test_check_4_nearest_resize_is_scipys_zoom_bit_for_bit(source, target):
    plane = np.random.default_rng(0).random(source, dtype=np.float32)
    factors = [wanted / given for wanted, given in zip(target, source, strict=True)]
    assert np.array_equal(resize_nearest(plane, target), zoom(plane, factors, order=0, mode="nearest"))


def test_check_5_scores_by_hand_and_aligned_members():
    sure, other, torn = [1.0, 0.0], [0.0, 1.0], [0.5, 0.5]

    def maps(*members: list[float]) -> list[torch.Tensor]:
        return [torch.tensor(member).view(1, 2, 1, 1) for member in members]

    ln2 = float(np.log(2))
    assert variance_ratio(maps(sure, sure, other)).item() == pytest.approx(1 / 3)
    assert predictive_entropy(maps(sure, other)).item() == pytest.approx(ln2)
    assert mutual_information(maps(sure, other)).item() == pytest.approx(ln2), "each is sure, of something else"
    assert mutual_information(maps(torn, torn)).item() == pytest.approx(0, abs=1e-7), "all unsure alike"
    drawn = draw_maps(members=3, slices=4, classes=3, size=6, seed=0)
    for score in (variance_ratio, predictive_entropy, mutual_information):
        turned = score(iter(drawn.rot90(1, (3, 4))))
        assert torch.allclose(turned, score(iter(drawn)), atol=1e-6)


def test_check_6_dice_equals_its_loops_skips_what_is_not_there_and_follows_renamed_classes():
    generator = np.random.default_rng(2)
    predicted = generator.integers(0, 3, (3, 6, 5)).astype(np.uint8)
    reference = generator.integers(0, 3, (3, 6, 5)).astype(np.uint8)
    scores = score_volume(predicted, reference, [1, 2, 3], None)
    for score in scores[:2]:
        hits, alarms, omissions = np.sum(oracles.loop_counts(predicted, reference, score.value), axis=0)
        assert score.dice == pytest.approx(2 * hits / (2 * hits + alarms + omissions))
    assert (scores[2].dice, scores[2].missed) == (None, False), "in neither: skipped"
    missed = score_volume(np.zeros_like(reference), reference, [1], None)[0]
    assert (missed.dice, missed.hd95, missed.missed) == (0, None, True), "in one: 0 and a miss"
    renamed = np.array([0, 2, 1], dtype=np.uint8)
    swapped = score_volume(renamed[predicted], renamed[reference], [2, 1], None)
    assert [score.dice for score in swapped] == [score.dice for score in scores[:2]]


def test_check_7_bootstrap_of_constant_volumes_is_zero_and_resamples_are_the_same_for_all():
    assert bootstrap_error([[0.7] * 10, [0.7] * 10]) == pytest.approx(0)
    assert draw_resamples(10, 20) == draw_resamples(10, 20), "every strategy meets the same patients again"
    ours = [0.1, 0.4, 0.6, 0.9, 0.5]
    theirs = [value + 0.05 for value in ours]  # better by the same on every volume: so is every resample
    assert bootstrap_error([ours]) == pytest.approx(bootstrap_error([theirs]), abs=1e-12)
    assert bootstrap_error([ours]) > 0


def test_check_8_a_rule_can_reach_no_label_of_an_unannotated_slice():
    """That garbage there changes no pick of any strategy is run in tests/bench/test_sweep.py."""
    annotated = np.array([True, False, False])
    garbage = np.full((2, 2), 3, dtype=np.uint8)
    ids = np.zeros(3, dtype=np.int64)
    with pytest.raises(UnrevealedLabelError):
        QueryPool(ids, ids, np.arange(3), annotated, ~annotated, labels={0: garbage, 1: garbage})


@pytest.mark.parametrize(
    ("slices", "counts"),
    [
        (1454, {1: 14, 2: 29, 3: 43, 4: 58, 5: 72, 10: 145, 15: 218, 20: 290, 40: 581}),
        (1448, {1: 14, 2: 28, 3: 43, 4: 57, 5: 72, 10: 144, 15: 217, 20: 289, 40: 579}),
        (382, {1: 3, 2: 7, 3: 11, 4: 15, 5: 19, 10: 38, 15: 57, 20: 76, 40: 152}),
        (2351, {1: 23, 2: 47, 3: 70, 4: 94, 5: 117, 10: 235, 15: 352, 20: 470, 40: 940}),
        (2079, {1: 20, 2: 41, 3: 62, 4: 83, 5: 103, 10: 207, 20: 415, 30: 623, 40: 831}),
        (784, {2: 15, 3: 23, 4: 31, 5: 39}),
    ],
)
def test_check_9_counts_of_a_budget_are_those_of_the_published_table(slices, counts):
    assert {percent: count_at_budget(slices, percent) for percent in counts} == counts


def test_check_9_no_patient_is_in_two_splits_and_the_same_recipe_gives_the_same_listing(tmp_path: Path):
    config = PhantomConfig(8, 2, 24, 24, seed=1, fractions=(0.5, 0.25, 0.25))
    listing = list_phantoms(tmp_path / "a", config=config)
    splits: dict[str, set[str]] = {}
    for volume in listing.volumes:
        splits.setdefault(volume.patient, set()).add(str(volume.split))
    assert all(len(each) == 1 for each in splits.values())
    again = list_phantoms(tmp_path / "b", config=config)
    facts = [[(v.patient, v.name, str(v.split)) for v in each.volumes] for each in (listing, again)]
    assert json.dumps(facts[0]) == json.dumps(facts[1])
    assert split_checksum(listing) == split_checksum(again), "it does not matter where the data lie"
    first, *rest = listing.volumes
    moved = dataclasses.replace(first, split="test" if first.split != "test" else "train")
    assert split_checksum(dataclasses.replace(listing, volumes=(moved, *rest))) != split_checksum(listing)
    turned = dataclasses.replace(listing, volumes=listing.volumes[::-1])
    assert split_checksum(turned) == split_checksum(listing)
    images = [sorted(p.relative_to(tmp_path / n) for p in (tmp_path / n).rglob("*.nii.gz")) for n in ("a", "b")]
    assert images[0] == images[1]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in images[0])

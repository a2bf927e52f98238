"""Contrastive losses against loop-written twins, and what must hold of them whatever the batch."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from torch import Tensor

from tests.oracles import (
    group_loss_by_loops,
    legacy_group_loss_by_loops,
    nt_xent_by_loops,
    total_loss_by_loops,
)
from worker.learning.configs import EncoderConfig
from worker.learning.errors import ConfigError, ShapeError
from worker.learning.losses.contrastive import group_loss, legacy_group_loss, nt_xent, relation_mask, total_loss

RELATIONS = ("patient", "volume", "slice")


@st.composite
def batches(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Two views (float64), patients, volumes and positions of 1 to 7 slices; volumes never cross patients."""
    slices = draw(st.integers(1, 7))
    patients = draw(st.lists(st.integers(0, 2), min_size=slices, max_size=slices))
    volumes = [10 * patient + draw(st.integers(0, 1)) for patient in patients]
    z = draw(st.lists(st.integers(0, 4), min_size=slices, max_size=slices))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10_000)))
    views = torch.randn(2, slices, 5, generator=generator, dtype=torch.float64)
    return views[0], views[1], torch.tensor(patients), torch.tensor(volumes), torch.tensor(z)


@given(batches(), st.floats(0.1, 2))
@settings(max_examples=40, deadline=None)
def test_nt_xent_equals_its_twin(batch, temperature):
    first, second, *_ = batch
    assert nt_xent(first, second, temperature).item() == pytest.approx(nt_xent_by_loops(first, second, temperature))


@given(batches(), st.floats(0.1, 2))
@settings(max_examples=40, deadline=None)
def test_nt_xent_that_spares_a_patients_slices_equals_its_twin(batch, temperature):
    first, second, patients, volumes, z = batch
    same = relation_mask("patient", patients, volumes, z)
    expected = nt_xent_by_loops(first, second, temperature, lambda a, b: bool(patients[a] == patients[b]))
    assert nt_xent(first, second, temperature, same).item() == pytest.approx(expected, abs=1e-12)
    config = EncoderConfig(
        weight_patient=0, weight_volume=0, temperature=temperature, nt_xent_negatives="other-patients"
    )
    assert total_loss(*batch, config).item() == pytest.approx(expected, abs=1e-12)


@given(batches(), st.lists(st.sampled_from([0.0, 0.05, 0.35, 1.0]), min_size=4, max_size=4), st.floats(0.1, 2))
@settings(max_examples=40, deadline=None)
@pytest.mark.parametrize("anchors", ["both", "first"])
def test_total_equals_its_twin(anchors, batch, weights, temperature):
    if not any(weights):
        return
    names = ("weight_nt_xent", "weight_patient", "weight_volume", "weight_slice")
    fields = dict(zip(names, weights, strict=True))
    config = EncoderConfig(temperature=temperature, anchors=anchors, **fields)
    first, second, *ids = batch
    expected = total_loss_by_loops(first, second, *(each.tolist() for each in ids), weights, temperature, anchors)
    assert total_loss(*batch, config).item() == pytest.approx(expected, abs=1e-12)


@given(batches(), st.lists(st.integers(0, 2), min_size=7, max_size=7))
@settings(max_examples=40, deadline=None)
def test_legacy_flag_puts_the_published_form_in_place_of_every_group_loss(batch, groups):
    first, second, *_ = batch
    ids = torch.tensor(groups[: len(first)])
    expected = nt_xent_by_loops(first, second, 0.5)
    expected += (0.05 + 0.35) * legacy_group_loss_by_loops(first, second, ids.tolist(), 0.5)
    config = EncoderConfig(legacy=True)
    assert total_loss(*batch, config, ids).item() == pytest.approx(expected, abs=1e-12)
    split = replace(config, weight_patient=0.4, weight_volume=0.0)
    assert total_loss(*batch, split, ids).item() == pytest.approx(expected, abs=1e-12), "the split is inert"


def test_legacy_flag_needs_the_sampled_groups():
    view, ids = torch.ones(2, 4), torch.tensor([0, 1])
    with pytest.raises(ConfigError, match="legacy"):
        total_loss(view, view, ids, ids, ids, EncoderConfig(legacy=True))


@given(batches(), st.sampled_from(RELATIONS), st.sampled_from(["both", "first"]))
@settings(max_examples=60, deadline=None)
def test_group_loss_equals_its_twin(batch, relation, anchors):
    first, second, patients, volumes, z = batch

    def related(a: int, b: int) -> bool:
        if relation == "patient":
            return bool(patients[a] == patients[b])
        return bool(volumes[a] == volumes[b]) and (relation == "volume" or abs(int(z[a] - z[b])) <= 1)

    mask = relation_mask(relation, patients, volumes, z)
    same_patient = relation_mask("patient", patients, volumes, z)
    loss = group_loss(first, second, mask, same_patient, 0.5, anchors)
    expected = group_loss_by_loops(first, second, related, patients.tolist(), 0.5, anchors)
    assert loss.item() == pytest.approx(expected, abs=1e-12)


@given(batches(), st.lists(st.integers(0, 2), min_size=7, max_size=7))
@settings(max_examples=40, deadline=None)
def test_legacy_loss_has_all_other_views_as_positives(batch, groups):
    first, second, *_ = batch
    ids = torch.tensor(groups[: len(first)])
    expected = legacy_group_loss_by_loops(first, second, ids.tolist(), 0.5)
    assert legacy_group_loss(first, second, ids, 0.5).item() == pytest.approx(expected, abs=1e-12)


@given(batches(), st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_order_of_the_batch_does_not_change_the_total(batch, random):
    order = list(range(len(batch[0])))
    random.shuffle(order)
    config = EncoderConfig(weight_slice=0.2)
    shuffled = [part[order] for part in batch]
    assert total_loss(*batch, config).item() == pytest.approx(total_loss(*shuffled, config).item())


@given(batches(), st.sampled_from(RELATIONS))
@settings(max_examples=40, deadline=None)
def test_swapping_the_views_does_not_change_a_symmetric_group_loss(batch, relation):
    first, second, *ids = batch
    masks = relation_mask(relation, *ids), relation_mask("patient", *ids)
    assert group_loss(first, second, *masks, 0.5).item() == pytest.approx(group_loss(second, first, *masks, 0.5).item())


@given(batches())
@settings(max_examples=40, deadline=None)
def test_patient_loss_is_volume_loss_when_each_patient_has_one_volume(batch):
    first, second, patients, _, z = batch
    same_patient = relation_mask("patient", patients, patients, z)
    same_volume = relation_mask("volume", patients, patients, z)
    assert torch.equal(
        group_loss(first, second, same_patient, same_patient, 0.5),
        group_loss(first, second, same_volume, same_patient, 0.5),
    )


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_step_down_the_group_loss_raises_in_group_similarity(relation):
    generator = torch.Generator().manual_seed(3)
    first = torch.randn(6, 8, generator=generator, dtype=torch.float64).requires_grad_()
    second = torch.randn(6, 8, generator=generator, dtype=torch.float64)
    ids = torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 0, 0, 1, 1, 1]), torch.tensor([0, 1, 2, 0, 1, 2])
    mask, same_patient = relation_mask(relation, *ids), relation_mask("patient", *ids)
    group_loss(first, second, mask, same_patient, 0.5).backward()
    unit, moved = (torch.nn.functional.normalize(v, dim=1) for v in (first, first - 0.05 * first.grad))
    change = (moved @ moved.T - unit @ unit.T)[mask & ~torch.eye(6, dtype=torch.bool)]
    assert change.mean() > 0


def test_gradient_of_an_in_group_similarity_is_negative():
    """On the plane, with the anchor's only mate below it, turning the mate nearer must lower the loss."""
    angles = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64, requires_grad=True)
    views = torch.stack([angles.cos(), angles.sin()], dim=1)
    patients = torch.tensor([0, 0, 1])
    same = relation_mask("patient", patients, patients, patients)
    group_loss(views, views.detach(), same, same, 0.5, "first").backward()
    assert angles.grad[1] > 0  # a larger angle, away from slice 0 and towards patient 1, costs more


def test_slices_of_one_patient_in_other_groups_stay_out_of_the_denominator():
    generator = torch.Generator().manual_seed(0)
    first, second, moved = torch.randn(3, 3, 4, generator=generator)
    volumes, patients, z = torch.tensor([0, 1, 2]), torch.tensor([0, 0, 1]), torch.zeros(3, dtype=torch.long)
    related, same_patient = (
        relation_mask("volume", patients, volumes, z),
        relation_mask("patient", patients, volumes, z),
    )
    # Slice 1 moves; anchors of slice 0 must not feel it, so with patient 1 gone the loss of slice 0 is 0 throughout.
    keep = torch.tensor([0, 1])
    for other in (first, moved):
        views = torch.stack([first[0], other[1]]), torch.stack([second[0], other[1]])
        loss = group_loss(*views, related[keep][:, keep], same_patient[keep][:, keep], 0.5)
        assert loss.item() == pytest.approx(0, abs=1e-6)
    assert group_loss(first, second, related, same_patient, 0.5).item() > 0.1


def test_three_slices_drawn_by_hand():
    """Two mates at 0 degrees, a stranger at 90: the anchor's terms are -log(e^2 / (3 e^2 + 2)) at temperature 0.5."""
    views = torch.tensor([[1.0, 0], [1, 0], [0, 1]], dtype=torch.float64)
    patients = torch.tensor([0, 0, 1])
    same = relation_mask("patient", patients, patients, patients)
    mate = math.log(3 + 2 / math.exp(2))
    stranger = math.log(1 + 4 / math.exp(2))
    assert group_loss(views, views, same, same, 0.5).item() == pytest.approx((2 * mate + stranger) / 3)


def test_neighbours_are_decided_by_true_positions():
    volumes, z = torch.tensor([0, 0, 0, 1]), torch.tensor([4, 5, 7, 5])
    expected = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.bool)
    assert torch.equal(relation_mask("slice", volumes, volumes, z), expected)


@given(batches())
@settings(max_examples=25, deadline=None)
def test_total_is_the_weighted_sum_of_its_terms(batch):
    config = EncoderConfig(weight_nt_xent=0.7, weight_patient=0.3, weight_volume=0.2, weight_slice=0.1)
    zero = EncoderConfig(weight_nt_xent=1, weight_patient=0, weight_volume=0, weight_slice=0)
    expected = 0.7 * total_loss(*batch, zero)
    for field, weight in (("weight_patient", 0.3), ("weight_volume", 0.2), ("weight_slice", 0.1)):
        expected += weight * (total_loss(*batch, replace(zero, **{field: 1.0})) - total_loss(*batch, zero))
    assert total_loss(*batch, config).item() == pytest.approx(expected.item())


def test_half_precision_embeddings_are_compared_in_float32():
    views = torch.randn(2, 6, 64, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = nt_xent(views[0], views[1], 0.5)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(nt_xent(views[0].float(), views[1].float(), 0.5).item(), rel=1e-6)


def test_one_slice_has_nothing_to_tell_apart():
    view = torch.randn(1, 4, generator=torch.Generator().manual_seed(0))
    assert nt_xent(view, view + 1, 0.5).item() == pytest.approx(0, abs=1e-6)


def test_wrong_shapes_and_words_are_refused():
    view = torch.ones(3, 4)
    same = torch.ones(3, 3, dtype=torch.bool)
    with pytest.raises(ShapeError, match="second view"):
        nt_xent(view, view[:2], 0.5)
    with pytest.raises(ShapeError, match="related slices"):
        group_loss(view, view, same[:2], same, 0.5)
    with pytest.raises(ConfigError, match="anchors"):
        group_loss(view, view, same, same, 0.5, "second")
    with pytest.raises(ConfigError, match="relation"):
        relation_mask("ward", view, view, view)

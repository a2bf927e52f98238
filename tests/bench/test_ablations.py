"""Every row of Table 4 is one configuration, and so are the controls that it leaves open."""

from __future__ import annotations

import dataclasses

import pytest

from app.bench.ablations import ABLATIONS
from app.bench.plan import BenchPlan
from app.errors import UnknownAblation
from app.names import STRATEGIES, Supervision
from app.protocols import EncoderProtocol, resolve_protocol
from worker.learning.configs import EncoderConfig

# (lambda 0 to 3) of the runs behind the rows of Table 4, in its order; the first row has no encoder.
TABLE4 = [
    (1, 0, 0, 0),
    (0, 1, 0, 0),
    (0, 0, 1, 0),
    (0, 0, 0, 1),
    (0, 0.5, 0.5, 0),
    (0, 0, 0.5, 0.5),
    (1, 0, 0.35, 0),
    (1, 0.05, 0.35, 0),
    (0, 0.33, 0.33, 0.33),
    (1, 0.10, 0.20, 0.05),
]


def plan(ablation: str, **overrides: object) -> BenchPlan:
    return BenchPlan("acdc", Supervision.SCRIBBLE, ("gcl",), (2.0,), (1,), "cpu", dict(overrides), ablation)


def test_table_4_has_the_weights_of_the_runs_behind_it() -> None:
    asked = plan("table4", encoder={"epochs": 3})
    first, *rows = asked.arms
    assert first.strategy == "coreset-pixels"
    encoders = [resolve_protocol("cpu", asked.overrides_of(arm)).encoder for arm in rows]
    found = [(e.weight_nt_xent, e.weight_patient, e.weight_volume, e.weight_slice) for e in encoders]
    assert found == TABLE4
    assert {encoder.epochs for encoder in encoders} == {3}, "what the whole experiment replaces holds in every arm"
    assert all(arm.strategy == "gcl" for arm in rows)


@pytest.mark.parametrize("ablation", sorted(ABLATIONS))
def test_every_arm_can_be_trained_and_has_a_slug_of_its_own(ablation: str) -> None:
    asked = plan(ablation)
    for arm in asked.arms:
        assert arm.strategy in STRATEGIES
        encoder = resolve_protocol("cpu", asked.overrides_of(arm)).encoder
        EncoderConfig(**dataclasses.asdict(encoder))
    slugs = [arm.slug for arm in asked.arms]
    assert len(set(slugs)) == len(slugs)


def test_control_samples_groups_without_a_loss_of_theirs() -> None:
    arm = next(arm for arm in ABLATIONS["controls"] if arm.name == "nt-xent, groups sampled")
    encoder = EncoderConfig(**dataclasses.asdict(resolve_protocol("cpu", plan("controls").overrides_of(arm)).encoder))
    assert encoder.relations == ("volume", "patient")
    assert encoder.group_size == 3
    assert [weight for _, weight in encoder.relation_weights] == [0, 0, 0]


def test_controls_ask_for_the_published_code_and_for_negatives_of_other_patients() -> None:
    encoders = {
        arm.name: resolve_protocol("cpu", plan("controls").overrides_of(arm)).encoder for arm in ABLATIONS["controls"]
    }
    legacy = [name for name, encoder in encoders.items() if encoder.legacy]
    spared = [name for name, encoder in encoders.items() if encoder.nt_xent_negatives == "other-patients"]
    assert (len(legacy), len(spared)) == (1, 1)
    full = encoders["nt-xent + patient + volume"]
    assert dataclasses.replace(encoders[legacy[0]], legacy=False) == full
    assert dataclasses.replace(encoders[spared[0]], nt_xent_negatives="all") == full


def test_any_subset_of_relations_is_one_configuration() -> None:
    for subset in range(1, 16):
        weights = [float(bool(subset & 1 << place)) for place in range(4)]
        fields = dict(zip(("weight_nt_xent", "weight_patient", "weight_volume", "weight_slice"), weights, strict=True))
        encoder = EncoderProtocol(**fields)
        assert EncoderConfig(**dataclasses.asdict(encoder)).group_size == 1 + sum(weight > 0 for weight in weights[1:])


def test_unknown_ablation_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UnknownAblation, match="controls, table4"):
        plan("table5")

"""Protocols: presets, recipes, and what may be replaced."""

import dataclasses

import pytest

from app.errors import ProtocolRefused
from app.names import STRATEGIES
from app.protocols import PRESETS, RECIPES, WEIGHTS, SegmentationProtocol, load_protocol, resolve_protocol


@pytest.mark.parametrize(("preset", "recipe"), [("paper", "paper"), ("tiny", "paper"), ("cpu", "modern")])
def test_a_preset_trains_by_one_recipe_as_a_whole(preset: str, recipe: str) -> None:
    stored = dataclasses.asdict(PRESETS[preset].segmentation)
    assert stored["recipe"] == recipe
    assert {name: stored[name] for name in RECIPES[recipe]} == RECIPES[recipe]


def test_a_recipe_sets_its_fields_and_none_of_the_budget() -> None:
    paper = resolve_protocol("cpu", {"segmentation": {"recipe": "paper"}}).segmentation
    modern = resolve_protocol("cpu", {"segmentation": {"recipe": "modern"}}).segmentation
    changed = {
        field.name
        for field in dataclasses.fields(SegmentationProtocol)
        if getattr(paper, field.name) != getattr(modern, field.name)
    }
    assert changed == {"recipe", "pseudo_weight", "shut_out_background", "augmentation", "ema_decay"}
    equal = {
        "iterations_min",
        "iterations_max",
        "iterations_per_fraction",
        "batch_size",
        "validate_every",
        "image_size",
    }
    assert not changed & equal, "steps, batch and validations are the same in both"
    assert RECIPES["paper"].keys() == RECIPES["modern"].keys()


def test_a_field_that_is_named_wins_over_its_recipe_and_all_is_kept() -> None:
    protocol = resolve_protocol("tiny", {"segmentation": {"ema_decay": 0.5, "recipe": "modern"}})
    assert protocol.segmentation.ema_decay == 0.5
    assert protocol.segmentation.augmentation == RECIPES["modern"]["augmentation"]
    assert load_protocol(protocol.as_json()) == protocol


def test_a_project_of_before_recipes_is_still_read() -> None:
    stored = resolve_protocol("cpu", {"segmentation": {"recipe": "paper"}}).as_json()
    for name in {"recipe", "network", "start", *RECIPES["paper"]} - {"pseudo_weight"}:  # that one is older
        del stored["segmentation"][name]
    assert load_protocol(stored) == resolve_protocol("cpu", {"segmentation": {"recipe": "paper"}})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("recipe", "secret"),
        ("recipe", ["paper"]),
        ("pseudo_labels", "fuzzy"),
        ("pseudo_ramp", 2.0),
        ("augmentation", "none"),
        ("ema_decay", 1.0),
        ("shut_out_background", 1),
        ("network", "dmpls"),
        ("start", "there"),
    ],
)
def test_other_words_and_numbers_are_refused(field: str, value: object) -> None:
    with pytest.raises(ProtocolRefused, match=field):
        resolve_protocol("cpu", {"segmentation": {field: value}})


@pytest.mark.parametrize(
    ("word", "weights"),
    [
        ("acdc", (1, 0.05, 0.35, 0)),
        ("one-volume", (1, 0, 0.35, 0)),
        ("pretrained", (0, 1, 0, 0)),
        ("nt-xent", (1, 0, 0, 0)),
    ],
)
def test_published_weights_of_the_encoders_loss_have_names(word: str, weights: tuple[float, ...]) -> None:
    encoder = resolve_protocol("paper", {"encoder": {"weights": word}}).encoder
    found = (encoder.weight_nt_xent, encoder.weight_patient, encoder.weight_volume, encoder.weight_slice)
    assert found == weights
    assert len(WEIGHTS) == 4


def test_a_weight_that_is_named_wins_over_its_word_and_all_is_kept() -> None:
    protocol = resolve_protocol("cpu", {"encoder": {"weights": "one-volume", "weight_slice": 0.1}})
    assert (protocol.encoder.weight_patient, protocol.encoder.weight_slice) == (0, 0.1)
    assert load_protocol(protocol.as_json()) == protocol


@pytest.mark.parametrize(
    ("named", "groups"),
    [({}, (0, 0)), ({"epochs": 2}, (0, 0)), ({"weight_volume": 0.2}, (0, 0.2)), ({"weights": "acdc"}, (0.05, 0.35))],
)
def test_the_weights_that_a_strategy_wants_give_way_to_those_that_are_named(
    named: dict[str, object], groups: tuple[float, float]
) -> None:
    word = STRATEGIES["typiclust"].encoder_weights
    encoder = resolve_protocol("paper", {"encoder": named}, word).encoder
    assert (encoder.weight_nt_xent, encoder.weight_patient, encoder.weight_volume) == (1, *groups)
    assert encoder.epochs == named.get("epochs", 100)
    with pytest.raises(ProtocolRefused, match="an object"):
        resolve_protocol("paper", {"encoder": 7}, word)
    assert {each.encoder_weights for each in STRATEGIES.values()} - {""} <= WEIGHTS.keys()


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("weights", "brats"),
        ("weights", ["acdc"]),
        ("anchors", "second"),
        ("nt_xent_negatives", "none"),
        ("legacy", "yes"),
        ("mates", "ward"),
    ],
)
def test_other_words_of_the_encoder_are_refused(field: str, value: object) -> None:
    with pytest.raises(ProtocolRefused, match=field):
        resolve_protocol("cpu", {"encoder": {field: value}})


def test_a_resnet_needs_multiples_of_32() -> None:
    with pytest.raises(ProtocolRefused, match="multiple of 32"):
        resolve_protocol("cpu", {"segmentation": {"network": "resnet50-unet", "image_size": 48}})

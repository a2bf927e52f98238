"""Protocols: presets, recipes, and what may be replaced."""

import dataclasses

import pytest

from app.errors import ProtocolRefused
from app.names import STRATEGIES
from app.protocols import PRESETS, RECIPES, WEIGHTS, SegmentationProtocol, load_protocol, resolve_protocol

OF_TINY = {"optimizer", "learning_rate", "iterations_per_fraction", "iterations_min", "iterations_max"}


@pytest.mark.parametrize(
    ("preset", "recipe", "own"), [("paper", "paper", set()), ("tiny", "paper", OF_TINY), ("cpu", "modern", set())]
)
def test_a_preset_trains_by_one_recipe_as_a_whole(preset: str, recipe: str, own: set[str]) -> None:
    stored = dataclasses.asdict(PRESETS[preset].segmentation)
    assert stored["recipe"] == recipe
    assert {name for name in RECIPES[recipe] if stored[name] != RECIPES[recipe][name]} == own


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_the_paper_recipe_is_as_published_but_for_what_the_preset_sizes(preset: str) -> None:
    ours = resolve_protocol(preset, {"segmentation": {"recipe": "paper"}}).segmentation
    published = SegmentationProtocol()
    assert {
        field.name
        for field in dataclasses.fields(SegmentationProtocol)
        if getattr(ours, field.name) != getattr(published, field.name)
    } <= {"image_size", "validate_every"}
    assert [ours.iterations_for(each / 100) for each in (2, 3, 4, 5, 40)] == [1200, 1800, 2400, 3000, 24000]


def test_the_modern_recipe_takes_the_steps_of_its_preset() -> None:
    modern = resolve_protocol("paper", {"segmentation": {"recipe": "modern"}}).segmentation
    assert modern.iterations_for(0.02) == 1200
    assert resolve_protocol("cpu").segmentation.iterations_for(0.02) == 800
    assert modern.augmentation == "strong"


def test_a_field_that_is_named_wins_over_its_recipe_and_all_is_kept() -> None:
    protocol = resolve_protocol("tiny", {"segmentation": {"ema_decay": 0.5, "recipe": "modern"}})
    assert protocol.segmentation.ema_decay == 0.5
    assert protocol.segmentation.augmentation == RECIPES["modern"]["augmentation"]
    assert load_protocol(protocol.as_json()) == protocol


def test_a_project_of_before_recipes_is_still_read() -> None:
    newer = {"recipe", "network", "start", "pseudo_labels", "pseudo_ramp", "shut_out_background", "augmentation"}
    stored = resolve_protocol("tiny").as_json()
    for name in newer | {"ema_decay"}:
        del stored["segmentation"][name]
    assert load_protocol(stored) == resolve_protocol("tiny")


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

"""Encoder settings: defaults of the paper, refusals, relations in use."""

import json
from dataclasses import asdict

import pytest

from worker.learning.configs import EncoderConfig
from worker.learning.errors import ConfigError


def test_settings_travel_as_json():
    config = EncoderConfig(image_size=96, weight_slice=0.1, batch_slices=12)
    assert EncoderConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_relations_in_use_make_the_group():
    assert EncoderConfig().relations == ("volume", "patient")
    assert EncoderConfig().group_size == 3
    assert EncoderConfig(weight_slice=1.0).relations == ("slice", "volume", "patient")
    assert EncoderConfig(weight_volume=0, weight_patient=0).group_size == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", 0), ("image_size", -1), ("learning_rate", 0.0), ("temperature", float("nan")),
        ("weight_volume", -0.1), ("weight_patient", float("nan")), ("anchors", "second"), ("start", "coco"),
        ("precision", "float16"), ("batch_slices", 2), ("nt_xent_negatives", "none"),
    ],
)  # fmt: skip
def test_a_value_that_no_training_could_use_is_refused(field, value):
    with pytest.raises(ConfigError, match=field):
        EncoderConfig(**{field: value})


def test_some_loss_must_count():
    with pytest.raises(ConfigError, match="weight_nt_xent"):
        EncoderConfig(weight_nt_xent=0, weight_patient=0, weight_volume=0)

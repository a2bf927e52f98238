"""Settings of a segmentation training are refused where they are written."""

import json
from dataclasses import asdict

import pytest

from worker.learning.configs import SegmentationConfig
from worker.learning.errors import ConfigError


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("network", "unet3d"),
        ("optimizer", "adam"),
        ("precision", "float16"),
        ("classes", 1),
        ("classes", 256),
        ("channels", 2),
        ("image_size", 100),
        ("image_size", 16),
        ("iterations", 0),
        ("batch_size", 0),
        ("learning_rate", 0.0),
        ("learning_rate", float("nan")),
        ("momentum", 1.0),
        ("weight_decay", -1e-4),
        ("poly_power", float("inf")),
        ("pseudo_weight", float("nan")),
        ("validate_every", 0),
        ("pseudo_labels", "fuzzy"),
        ("pseudo_ramp", 1.5),
        ("augmentation", "none"),
        ("ema_decay", 1.0),
    ],
)
def test_value_out_of_range_is_refused_by_its_name(field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=field):
        SegmentationConfig(**{field: value})  # type: ignore[arg-type]


def test_fields_survive_json() -> None:
    config = SegmentationConfig(network="dmpls", classes=9, channels=3, image_size=96)
    assert SegmentationConfig(**json.loads(json.dumps(asdict(config)))) == config

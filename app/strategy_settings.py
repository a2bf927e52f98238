"""The settings that a strategy takes: name, kind and range, so that a project with a wrong one is refused at once."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.errors import ProjectSettingRefused


@dataclass(frozen=True)
class StrategySetting:
    """A flag (`kind` bool), a whole number from 1 on (int), or a number from `least` to `most` (float)."""

    kind: type
    summary: str
    least: float = 1
    most: float = math.inf

    @property
    def allowed(self) -> str:
        """What values there are, for a sentence."""
        if self.kind is bool:
            return "true or false"
        if self.kind is int:
            return f"a whole number from {self.least:g} on"
        return f"a number from {self.least:g} to {self.most:g}"

    def admits(self, value: object) -> bool:
        """True for a value of the kind and range; true and false are no numbers."""
        if isinstance(value, bool) or self.kind is bool:
            return isinstance(value, bool) and self.kind is bool
        if not isinstance(value, int | float) or (self.kind is int and not isinstance(value, int)):
            return False
        return self.least <= value <= self.most


STRATEGY_SETTINGS: dict[str, dict[str, StrategySetting]] = {
    "gcl": {"normalise": StrategySetting(bool, "bring the features to length 1 first; default false")},
    "bald": {"passes": StrategySetting(int, "dropout passes of each member; default 40")},
    "stochastic-batches": {
        "batches": StrategySetting(int, "random batches that are compared; default 1000"),
        "group_size": StrategySetting(int, "take whole random groups of this size instead, as the published code did"),
    },
    "typiclust": {"clusters": StrategySetting(int, "at most; default 500")},
    "foreground-aware-random": {
        "foreground_share": StrategySetting(float, "of the budget drawn where foreground is seen; default 0.66", 0, 1)
    },
    "clasp-pe": {
        "class_share": StrategySetting(float, "of the budget shared out among the classes; default 0.66", 0, 1),
        "first_beta": StrategySetting(float, "noise in the first round, large is little; default 1", 1e-6, 1e12),
        "last_beta": StrategySetting(float, "noise in the last round; default 100", 1e-6, 1e12),
    },
    "coregcn": {"epochs": StrategySetting(int, "of the graph network; default 200")},
    "vaal": {
        "epochs": StrategySetting(int, "of the autoencoder; default 50"),
        "batch": StrategySetting(int, "slices of each kind a step; default 128"),
        "width": StrategySetting(int, "channels of the first layer; default a quarter of the image's side"),
    },
}
"""Strategies that are not here have no settings. A test holds names and ranges equal to what the rules accept."""


def check_strategy_settings(strategy: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as they were given; raises ProjectSettingRefused for an unknown name or a value out of range."""
    known = STRATEGY_SETTINGS.get(strategy, {})
    for name, value in settings.items():
        if name not in known:
            allowed = f"among the settings of {strategy}: {', '.join(known)}" if known else f"absent for {strategy}"
            raise ProjectSettingRefused(f"strategy_settings.{name}", allowed, str(value))
        if not known[name].admits(value):
            raise ProjectSettingRefused(f"strategy_settings.{name}", known[name].allowed, str(value))
    return dict(settings)

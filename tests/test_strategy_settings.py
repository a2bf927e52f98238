"""The settings that projects may give a strategy are those that its rule takes."""

from __future__ import annotations

import numpy as np
import pytest

from app.errors import ProjectSettingRefused
from app.names import STRATEGIES as DESCRIPTORS
from app.strategy_settings import STRATEGY_SETTINGS, check_strategy_settings
from worker.learning.errors import ConfigError, LearningError
from worker.learning.query.pool import QueryPool
from worker.learning.query.strategies import STRATEGIES


def empty_pool() -> QueryPool:
    ids, none = np.arange(3), np.zeros(3, dtype=bool)
    return QueryPool(ids, ids, ids, annotated=none, available=~none)


@pytest.mark.parametrize("strategy", sorted(DESCRIPTORS))
def test_names_are_those_of_the_rule(strategy: str) -> None:
    with pytest.raises(ConfigError) as refused:
        STRATEGIES[strategy](empty_pool(), 1, {"no such setting": 1}, np.random.default_rng(0))
    known = STRATEGY_SETTINGS.get(strategy, {})
    expected = f"one of {', '.join(known)}" if known else "absent: this strategy has no settings"
    assert refused.value.allowed == expected


@pytest.mark.parametrize(
    ("strategy", "name"), [(strategy, name) for strategy, known in STRATEGY_SETTINGS.items() for name in known]
)
def test_what_a_project_may_say_the_rule_takes_and_no_more(strategy: str, name: str) -> None:
    setting = STRATEGY_SETTINGS[strategy][name]
    good = True if setting.kind is bool else setting.kind(setting.least)
    assert check_strategy_settings(strategy, {name: good}) == {name: good}
    try:
        STRATEGIES[strategy](empty_pool(), 1, {name: good}, np.random.default_rng(0))
    except ConfigError:
        pytest.fail("the rule refuses what the project was allowed")
    except LearningError:
        pass  # this pool has no readers; the settings were read before
    for bad in ("many", None, 0 if setting.kind is int else -1, float("nan")):
        with pytest.raises(ProjectSettingRefused, match=name):
            check_strategy_settings(strategy, {name: bad})


def test_unknown_settings_are_refused_with_the_known_ones() -> None:
    with pytest.raises(ProjectSettingRefused, match="among the settings of bald: passes"):
        check_strategy_settings("bald", {"runs": 3})
    with pytest.raises(ProjectSettingRefused, match="absent for random"):
        check_strategy_settings("random", {"runs": 3})

"""What each rule's docstring must say: source, inputs with shapes, cost, departures, cold start."""

import inspect
import re

import pytest

from app.names import STRATEGIES as DESCRIPTORS
from worker.learning.query.strategies import STRATEGIES

# The place in the publication; a rule that has no number there is named, or its formula is written out.
NAMED_PLACE = re.compile(r"Eq\. \d|Algorithms? \d|Section \d|Table \d|Random 66 % FG|log s \+ Gumbel")
SHAPE = re.compile(r"\(\(?[MNn],?[^)]*\)")


def said_by(name: str) -> str:
    return " ".join((inspect.getdoc(STRATEGIES[name]) or "").split())


@pytest.mark.parametrize("name", STRATEGIES)
def test_a_rule_says_its_source_inputs_cost_and_departures(name):
    text = said_by(name)
    positions = [text.find(word) for word in ("Source:", "Input:", "Cost:", "Departure")]
    assert -1 not in positions, f"{name} lacks one of its notes"
    source = text[positions[0] : text.find("Input:")]
    assert NAMED_PLACE.search(text) or source.startswith("Source: none"), f"{name} names no equation or algorithm"
    given = text[positions[1] : text.find("Cost:")]
    assert SHAPE.search(given), f"{name} gives no shape of what it reads"
    cost = text[positions[2] :]
    assert re.search(r"O\(|pass", cost), f"{name} says no cost"


@pytest.mark.parametrize("name", [name for name in STRATEGIES if not name.startswith("random")])
def test_a_rule_that_learns_from_something_says_how_it_begins(name):
    assert re.search(r"Cold start:|With no model yet|With nothing annotated|with no model yet", said_by(name))


@pytest.mark.parametrize("name", STRATEGIES)
def test_the_list_says_what_a_rule_needs_and_costs(name):
    descriptor = DESCRIPTORS[name]
    assert descriptor.summary
    assert descriptor.source
    assert re.search(r"O\(|pass", descriptor.cost)

"""How much of the pool a round's members are trained as having."""

import pytest

from app.db.models import Round
from app.names import RoundState
from app.services.pools import count_at_budget
from worker.tasks.train_segmentation import labelled_share


@pytest.mark.parametrize("size", [757, 784, 1454])
@pytest.mark.parametrize("percent", [1, 2, 3, 5, 40])
def test_a_round_that_has_what_it_asked_for_is_its_budget_to_the_letter(size: int, percent: int) -> None:
    target = count_at_budget(size, percent)
    assert labelled_share(round_of(percent, target), target, size) == percent / 100


def test_slices_found_unfit_cost_no_steps_and_more_than_was_asked_for_gives_more() -> None:
    asked = round_of(10, 20)
    assert labelled_share(asked, 15, 200) == 0.1
    assert labelled_share(asked, 50, 200) == 0.25


def round_of(percent: float, target: int) -> Round:
    return Round(number=1, budget_percent=percent, target=target, state=RoundState.TRAINING, strategy="gcl", seed=0)

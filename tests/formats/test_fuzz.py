import pytest

from benchmarks.fuzz_formats import SEEDS, fuzz


@pytest.mark.parametrize("name", sorted(SEEDS))
def test_damaged_files_are_read_or_refused_with_a_reason_and_nothing_is_left(name: str) -> None:
    outcome = fuzz(name, count=20, seed=11)
    assert outcome.failures == []
    assert outcome.read + outcome.refused >= 20

"""What K-Center Greedy measures, counted while it does."""

import pytest

from worker.learning.query import coreset
from worker.learning.query.pool import Features


def count_pairs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The list to which every measuring adds how many slices it measured to how many centres."""
    measured: list[tuple[int, int]] = []
    measure = coreset._Points.measure

    def count(points: coreset._Points, centres: coreset._Points) -> Features:
        distances = measure(points, centres)
        measured.append((distances.shape[0], distances.shape[1]))
        return distances

    monkeypatch.setattr(coreset._Points, "measure", count)
    return measured

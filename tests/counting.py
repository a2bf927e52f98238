"""What K-Center Greedy measures, counted while it does."""

import pytest

from worker.learning.query import coreset
from worker.learning.query.pool import Features, Indices


def count_centres(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The list to which every look at a centre adds how many slices it measured."""
    measured: list[int] = []
    measure = coreset._Geometry.squared_distances

    def count(geometry: coreset._Geometry, centre: int, rows: slice | Indices = slice(None)) -> Features:
        distances = measure(geometry, centre, rows)
        measured.append(len(distances))
        return distances

    monkeypatch.setattr(coreset._Geometry, "squared_distances", count)
    return measured

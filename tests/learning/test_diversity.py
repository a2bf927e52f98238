"""Group diversity against its loop-written twin."""

import pytest
import torch
from hypothesis import given, settings, strategies as st

from tests.oracles import diversity_by_loops
from worker.learning.diversity import measure_diversity
from worker.learning.shapes import SlicePool


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 1), st.integers(0, 5)), min_size=1, max_size=8, unique=True),
    st.integers(0, 99),
)
@settings(max_examples=40, deadline=None)
def test_diversity_equals_its_twin(places, seed):
    patients, volumes, z = (list(column) for column in zip(*places, strict=True))
    volumes = [10 * patient + volume for patient, volume in zip(patients, volumes, strict=True)]
    images = torch.rand(len(places), 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    found = measure_diversity(SlicePool(images, *(torch.tensor(each) for each in (patients, volumes, z))))
    relations = {
        "all": lambda _a, _b: True,
        "patient": lambda a, b: patients[a] == patients[b],
        "volume": lambda a, b: volumes[a] == volumes[b],
        "slice": lambda a, b: volumes[a] == volumes[b] and abs(z[a] - z[b]) == 1,
    }
    for name, related in relations.items():
        expected = diversity_by_loops(images.numpy(), related)
        assert found[name] == (None if expected is None else pytest.approx(expected, abs=1e-6))


def test_bytes_are_measured_as_shares_of_white():
    images = torch.stack([torch.zeros(1, 4, 4), torch.full((1, 4, 4), 255.0)]).to(torch.uint8)
    ids = torch.zeros(2, dtype=torch.int64)
    assert measure_diversity(SlicePool(images, ids, ids, torch.arange(2))) == {
        "all": 1.0, "patient": 1.0, "volume": 1.0, "slice": 1.0,
    }  # fmt: skip

"""Named streams of random numbers."""

import torch

from worker.learning.seeding import derive_seed, numpy_generator, seeded_initialisation, torch_generator


def test_a_stream_depends_on_seed_and_names_only():
    assert derive_seed(7, "sampler", 3) == derive_seed(7, "sampler", 3)
    streams = [derive_seed(7), derive_seed(8), derive_seed(7, "a"), derive_seed(7, "a", 1), derive_seed(7, "a", "1")]
    assert len(set(streams)) == 5
    assert all(0 <= stream < 2**63 for stream in streams)


def test_derived_seed_stays_the_same_for_ever():
    """A stored run must be repeatable by a later version."""
    assert derive_seed(0, "select", 1) == 621568024394359275


def test_generators_repeat():
    assert numpy_generator(1, "x").random() == numpy_generator(1, "x").random()
    draws = [torch.rand(3, generator=torch_generator(1, "x")) for _ in range(2)]
    assert torch.equal(*draws)


def test_initialisation_is_seeded_and_leaves_the_global_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    with seeded_initialisation(5, "net"):
        one = torch.nn.Linear(3, 3).weight
    assert torch.equal(torch.rand(1), expected)
    with seeded_initialisation(5, "net"):
        assert torch.equal(torch.nn.Linear(3, 3).weight, one)

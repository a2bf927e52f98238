"""The group sampler: who meets whom in a batch."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st

from tests.oracles import fill_batches_by_loops, possible_mates
from worker.learning.errors import ConfigError, PoolStructureError
from worker.learning.samplers import NO_MATE, draw_epoch, draw_groups, flatten_groups, number_groups, sort_slices
from worker.learning.seeding import numpy_generator

ALL = ("slice", "volume", "patient")
SUBSETS = [(), ("slice",), ("volume",), ("patient",), ("slice", "volume"), ("volume", "patient"), ALL]


@st.composite
def hierarchies(draw):
    """Ids and positions of a few patients with 1 to 3 volumes of 1 to 5 slices, gaps between them allowed, shuffled."""
    rows = []
    for patient in range(draw(st.integers(1, 5))):
        for volume in range(draw(st.integers(1, 3))):
            positions = draw(st.sets(st.integers(0, 6), min_size=1, max_size=5))
            rows += [(patient, 10 * patient + volume, position) for position in positions]
    rows = draw(st.permutations(rows))
    return tuple(np.array(column, dtype=np.int64) for column in zip(*rows, strict=True))


def regular(patients: int, volumes: int, slices: int):
    patient, volume, z = np.meshgrid(np.arange(patients), np.arange(volumes), np.arange(slices), indexing="ij")
    return patient.ravel(), (patient * volumes + volume).ravel(), z.ravel()


@given(hierarchies(), st.sampled_from(SUBSETS), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_mate_is_one_that_the_rules_allow(hierarchy, relations, seed):
    patients, volumes, z = hierarchy
    groups = draw_groups(sort_slices(*hierarchy), relations, np.random.default_rng(seed))
    assert groups.shape == (len(z), 1 + len(relations))
    for anchor, *mates in groups.tolist():
        taken = {anchor}
        for relation, mate in zip([name for name in ALL if name in relations], mates, strict=True):
            allowed = possible_mates(relation, anchor, taken, patients, volumes, z)
            assert mate in allowed or (mate == NO_MATE and not allowed)
            taken.add(mate)


@given(hierarchies(), st.sampled_from(SUBSETS), st.integers(4, 13), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_every_slice_is_an_anchor_exactly_once_an_epoch(hierarchy, relations, batch_slices, seed):
    batches = draw_epoch(sort_slices(*hierarchy), relations, batch_slices, seed, 0)
    anchors = np.concatenate([groups[:, 0] for groups in batches])
    assert sorted(anchors) == list(range(len(hierarchy[0])))
    size = batch_slices // (1 + len(relations))
    assert len(batches) == -(-len(anchors) // size)
    assert sorted(len(groups) for groups in batches)[1:] == [size] * (len(batches) - 1)


@given(hierarchies(), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_patient_meets_itself_only_when_it_outnumbers_the_batches(hierarchy, seed):
    patients = hierarchy[0]
    batches = draw_epoch(sort_slices(*hierarchy), ("volume",), 4, seed, 0)
    repeats = sum(len(groups) - len(set(patients[groups[:, 0]])) for groups in batches)
    # No schedule does better: a patient with more groups than there are batches must share one with itself.
    assert repeats == sum(max(0, count - len(batches)) for count in Counter(patients.tolist()).values())


def test_batches_hold_distinct_patients():
    patients, volumes, z = regular(8, 2, 5)
    for groups in draw_epoch(sort_slices(patients, volumes, z), ("volume", "patient"), 9, 0, 0):
        anchors = patients[groups[:, 0]]
        assert len(set(anchors)) == len(anchors)
        assert (patients[groups] == anchors[:, None]).all()


def test_same_seed_and_epoch_give_the_same_batches_and_others_give_others():
    order = sort_slices(*regular(6, 2, 6))

    def drawn(seed: int, epoch: int) -> list[list[list[int]]]:
        return [groups.tolist() for groups in draw_epoch(order, ALL, 8, seed, epoch)]

    assert drawn(1, 4) == drawn(1, 4)
    assert drawn(1, 4) != drawn(1, 5)
    assert drawn(1, 4) != drawn(2, 4)


def test_mates_are_drawn_evenly():
    order = sort_slices(*regular(1, 1, 5))
    generator = np.random.default_rng(0)
    drawn = np.concatenate([draw_groups(order, ("slice", "volume"), generator) for _ in range(3000)])
    middle = drawn[drawn[:, 0] == 2]
    assert np.bincount(middle[:, 1], minlength=5) / 3000 == pytest.approx([0, 0.5, 0, 0.5, 0], abs=0.05)
    assert np.bincount(middle[:, 2], minlength=5) / 3000 == pytest.approx([1 / 3, 1 / 6, 0, 1 / 6, 1 / 3], abs=0.05)


def test_a_lone_slice_is_a_group_of_its_own():
    order = sort_slices(np.array([0]), np.array([7]), np.array([3]))
    (groups,) = draw_epoch(order, ALL, 8, 0, 0)
    assert groups.tolist() == [[0, NO_MATE, NO_MATE, NO_MATE]]
    assert flatten_groups(groups).tolist() == [0]


def test_edges_and_gaps_have_no_neighbour_beyond_them():
    order = sort_slices(np.zeros(5, dtype=int), np.array([0, 0, 0, 1, 1]), np.array([0, 1, 9, 0, 1]))
    groups = draw_groups(order, ("slice",), np.random.default_rng(0))
    neighbour = dict(groups.tolist())
    assert (neighbour[0], neighbour[1], neighbour[3], neighbour[4]) == (1, 0, 4, 3)
    assert neighbour[2] in {0, 1}  # alone at its position: any slice of its volume


def test_a_slice_shared_by_two_groups_enters_the_batch_once():
    groups = np.array([[4, 2, NO_MATE], [2, 4, 0]])
    assert flatten_groups(groups).tolist() == [4, 2, 0]
    assert number_groups(groups).tolist() == [0, 0, 1]


@given(st.lists(st.lists(st.integers(0, 6) | st.just(NO_MATE), min_size=3, max_size=3), min_size=1, max_size=5))
def test_flattened_groups_and_their_numbers_equal_a_walk_over_them(rows):
    first_in: dict[int, int] = {}
    for number, row in enumerate(rows):
        for index in row:
            if index != NO_MATE:
                first_in.setdefault(index, number)
    assert flatten_groups(np.array(rows)).tolist() == list(first_in)
    assert number_groups(np.array(rows)).tolist() == list(first_in.values())


def test_without_relations_batches_are_shuffled_slices():
    batches = draw_epoch(sort_slices(*regular(2, 1, 50)), (), 16, 0, 0)
    assert [groups.shape[1] for groups in batches] == [1] * 7
    assert np.concatenate(batches).ravel().tolist() != list(range(100))


@pytest.mark.parametrize(
    ("patients", "volumes", "z", "reason"),
    [
        ([0, 1], [5, 5], [0, 1], "volume 5 belongs to two patients"),
        ([0, 0], [5, 5], [2, 2], "volume 5 holds position 2 twice"),
        ([], [], [], "holds no slice"),
        ([0], [0, 0], [0], "1 patient ids, 2 volume ids"),
    ],
)
def test_contradicting_ids_are_refused(patients, volumes, z, reason):
    with pytest.raises(PoolStructureError, match=reason):
        sort_slices(*(np.array(ids, dtype=np.int64) for ids in (patients, volumes, z)))


def test_unknown_relation_and_too_small_batch_are_refused():
    order = sort_slices(*regular(2, 1, 3))
    with pytest.raises(ConfigError, match="relations"):
        draw_groups(order, ("ward",), np.random.default_rng(0))
    with pytest.raises(ConfigError, match="group size 4"):
        draw_epoch(order, ALL, 3, 0, 0)


@given(hierarchies(), st.sampled_from(SUBSETS[1:]), st.integers(4, 13), st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_batches_equal_their_twin(hierarchy, relations, batch_slices, seed):
    order = sort_slices(*hierarchy)
    generator = numpy_generator(seed, "sampler", 2)
    groups = draw_groups(order, relations, generator)
    filled = fill_batches_by_loops(order.patients.tolist(), batch_slices // (1 + len(relations)), generator)
    expected = [groups[filled[place]].tolist() for place in generator.permutation(len(filled))]
    assert [batch.tolist() for batch in draw_epoch(order, relations, batch_slices, seed, 2)] == expected

"""Batches of slice groups for contrastive training (Vepa et al., NeurIPS 2024, Algorithm 1).

A group is an anchor slice and one mate for each relation in use. In one epoch every slice is the anchor of one group;
a batch takes groups of distinct patients as long as there are enough of them. Cost of an epoch: O(N log P) for N slices
of P patients, no retries.
"""

import heapq
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from worker.learning.errors import ConfigError, PoolStructureError
from worker.learning.seeding import numpy_generator

NO_MATE = -1

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SliceOrder:
    """N slices sorted by patient, volume and position, so that every patient and every volume is one run of places."""

    slices: Indices  # (N,) pool index at each place
    z: Indices  # (N,) position in the volume, by place
    patients: Indices  # (N,) patient code 0..P-1, by place
    patient_start: Indices  # (N,) first place of the patient's run, by place
    patient_size: Indices  # (N,)
    volume_start: Indices  # (N,)
    volume_size: Indices  # (N,)


def sort_slices(patient_ids: Indices, volume_ids: Indices, z: Indices) -> SliceOrder:
    """Sort N slices into runs.

    Raises PoolStructureError when there is no slice, a volume has two patients, or a volume holds a position twice.
    """
    if not len(patient_ids) == len(volume_ids) == len(z):
        raise PoolStructureError(f"{len(patient_ids)} patient ids, {len(volume_ids)} volume ids, {len(z)} positions")
    if len(patient_ids) == 0:
        raise PoolStructureError("it holds no slice")
    order = np.lexsort((z, volume_ids, patient_ids)).astype(np.int64)
    patient, volume, position = patient_ids[order], volume_ids[order], z[order]
    twice = np.flatnonzero(
        (volume[1:] == volume[:-1]) & (patient[1:] == patient[:-1]) & (position[1:] == position[:-1])
    )
    if len(twice):
        raise PoolStructureError(f"volume {volume[twice[0]]} holds position {position[twice[0]]} twice")
    new_patient = np.r_[True, patient[1:] != patient[:-1]]
    new_volume = np.r_[True, (volume[1:] != volume[:-1])] | new_patient
    owners = volume[new_volume]
    if len(np.unique(owners)) != len(owners):
        values, counts = np.unique(owners, return_counts=True)
        raise PoolStructureError(f"volume {values[counts > 1][0]} belongs to two patients")
    patient_start, patient_size = _runs(new_patient)
    volume_start, volume_size = _runs(new_volume)
    codes = np.cumsum(new_patient, dtype=np.int64) - 1
    return SliceOrder(order, position, codes, patient_start, patient_size, volume_start, volume_size)


def draw_groups(order: SliceOrder, relations: tuple[str, ...], generator: np.random.Generator) -> Indices:
    """Give (N, 1 + len(relations)) pool indices: row p is the group of the anchor at place p, NO_MATE where none is.

    Columns: the anchor, then "slice" (a slice one position away), "volume" and "patient" (any other slice of the same),
    those in use, in this order. No slice stands twice in a group. Fallbacks: no neighbour, another slice of the volume;
    none, another of the patient; none, no mate, so that the anchor has only its own second view as a positive.
    """
    unknown = set(relations) - {"slice", "volume", "patient"}
    if unknown:
        raise ConfigError("relations", relations, "made of slice, volume, patient")
    places = np.arange(len(order.slices), dtype=np.int64)[:, None]
    for relation in ("slice", "volume", "patient"):
        if relation not in relations:
            continue
        mate = np.full(len(places), NO_MATE, dtype=np.int64)
        if relation == "slice":
            mate = _draw_neighbours(order, generator)
        if relation != "patient":
            mate = _fill(mate, _draw_mates(places, order.volume_start, order.volume_size, generator))
        mate = _fill(mate, _draw_mates(places, order.patient_start, order.patient_size, generator))
        places = np.column_stack([places, mate])
    return np.where(places == NO_MATE, NO_MATE, order.slices[places])


def draw_epoch(
    order: SliceOrder, relations: tuple[str, ...], batch_slices: int, seed: int, epoch: int
) -> tuple[Indices, ...]:
    """Give the batches of one epoch, each (groups, 1 + len(relations)) pool indices as `draw_groups` makes them.

    Every slice is an anchor exactly once. Without relations a batch is plain shuffled slices, as SimCLR has it. There
    are ceil(N / groups) batches, and only the last one filled may be smaller. Equal (seed, epoch) give equal batches.
    """
    size = batch_slices // (1 + len(relations))
    if size < 1:
        raise ConfigError("batch_slices", batch_slices, f"at least the group size {1 + len(relations)}")
    generator = numpy_generator(seed, "sampler", epoch)
    groups = draw_groups(order, relations, generator)
    if relations:
        batches = [groups[places] for places in _fill_batches(order.patients, size, generator)]
    else:
        shuffled = groups[generator.permutation(len(groups))]
        batches = [shuffled[start : start + size] for start in range(0, len(groups), size)]
    # The fullest queues are emptied first; without this, long patients would lead every epoch.
    return tuple(batches[place] for place in generator.permutation(len(batches)))


def flatten_groups(groups: Indices) -> Indices:
    """Give the distinct slices of a batch in order of first appearance, without NO_MATE.

    A slice that two groups of one patient share enters once: twice it would be its own negative.
    """
    distinct: Indices = groups.ravel()[_first_places(groups)]
    return distinct


def number_groups(groups: Indices) -> Indices:
    """Give for each slice of `flatten_groups` the row of the group that brought it into the batch."""
    rows: Indices = _first_places(groups) // groups.shape[1]
    return rows


def _first_places(groups: Indices) -> Indices:
    """Where in the raveled groups each distinct slice stands first, ascending."""
    flat = groups.ravel()
    _, first = np.unique(flat, return_index=True)
    first = np.sort(first).astype(np.int64)
    places: Indices = first[flat[first] != NO_MATE]
    return places


def _runs(starts_here: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Start and length of the run that each place belongs to."""
    starts = np.flatnonzero(starts_here)
    lengths = np.diff(np.r_[starts, len(starts_here)])
    return np.repeat(starts, lengths).astype(np.int64), np.repeat(lengths, lengths).astype(np.int64)


def _draw_neighbours(order: SliceOrder, generator: np.random.Generator) -> Indices:
    """Place of the slice before or behind each one, at random if both exist; positions must differ by exactly 1."""
    places = np.arange(len(order.slices), dtype=np.int64)
    adjacent = (np.diff(order.z) == 1) & (np.diff(order.volume_start) == 0)
    has_before, has_behind = np.r_[False, adjacent], np.r_[adjacent, False]
    behind = np.where(has_before & has_behind, generator.random(len(places)) < 0.5, has_behind)
    return np.where(has_before | has_behind, np.where(behind, places + 1, places - 1), NO_MATE)


def _draw_mates(taken: Indices, start: Indices, size: Indices, generator: np.random.Generator) -> Indices:
    """For each row a uniform place of its run outside the row's `taken` (N, k) places; NO_MATE if none is left.

    A number below the count of free places is drawn and then moved past every taken place from below: no retries.
    """
    outside = (taken < start[:, None]) | (taken >= (start + size)[:, None])
    beyond = np.iinfo(np.int64).max
    blocked = np.sort(np.where(outside, beyond, taken), axis=1)
    free = size - (blocked < beyond).sum(axis=1)
    place = start + np.minimum((generator.random(len(start)) * free).astype(np.int64), np.maximum(free - 1, 0))
    for column in blocked.T:
        place += place >= column
    return np.where(free > 0, place, NO_MATE)


def _fill(mate: Indices, fallback: Indices) -> Indices:
    return np.where(mate == NO_MATE, fallback, mate)


def _fill_batches(patients: Indices, size: int, generator: np.random.Generator) -> list[Indices]:
    """Cut all places into batches of `size`, always taking from the patients with most places left.

    So the patients run out together and a batch repeats one only when fewer than `size` have anything left.
    """
    shuffled = generator.permutation(len(patients)).astype(np.int64)
    by_patient = shuffled[np.argsort(patients[shuffled], kind="stable")]
    queues = [queue.tolist() for queue in np.split(by_patient, np.cumsum(np.bincount(patients))[:-1])]
    tie_breaks = iter(generator.random(len(patients) + len(queues)).tolist())
    heap = [(-len(queue), next(tie_breaks), code) for code, queue in enumerate(queues)]
    heapq.heapify(heap)
    batches = []
    left = len(patients)
    while left:
        batch: list[int] = []
        while len(batch) < min(size, left):
            drawn = [heapq.heappop(heap) for _ in range(min(size - len(batch), len(heap)))]
            for negative_count, _, code in drawn:
                batch.append(queues[code].pop())
                if negative_count < -1:
                    heapq.heappush(heap, (negative_count + 1, next(tie_breaks), code))
        left -= len(batch)
        batches.append(np.array(batch, dtype=np.int64))
    return batches

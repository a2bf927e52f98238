"""Rows to wire shapes, where more than one table has a say."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.api.schemas import (
    JobWire,
    LeaseWire,
    ModelWire,
    PickWire,
    ProjectWire,
    PromotionWire,
    RoundWire,
    SliceWire,
    VolumeWire,
)
from app.db.models import Job, Lease, Model, Pick, Project, Promotion, Round, Slice, Volume
from app.db.session import database_now
from app.names import AnnotationKind, LeaseState, Purpose, SkipReason, Split
from app.services import annotations as slice_annotations, jobs, leases, models, projects, rounds, volumes


def project_wires(session: Session, found: Sequence[Project]) -> list[ProjectWire]:
    """Projects, each with its counts."""
    ids = [each.id for each in found]
    slices, annotated = projects.count_slices(session, ids), slice_annotations.count_annotated(session, ids)
    wires = [ProjectWire.model_validate(each) for each in found]
    for wire in wires:
        wire.slices, wire.annotated = slices[wire.id], annotated[wire.id]
    return wires


def volume_wire(volume: Volume, kinds: set[AnnotationKind]) -> VolumeWire:
    """A volume with the kinds of ground truth that it has."""
    return VolumeWire(
        id=volume.id,
        patient_id=volume.patient_id,
        patient=volume.patient.code,
        split=Split(volume.patient.split),
        name=volume.name,
        group=volume.group,
        shape=(volume.depth, volume.height, volume.width),
        channels=volume.channels,
        dtype=volume.dtype,
        slope=volume.slope,
        intercept=volume.intercept,
        spacing_mm=None if volume.spacing_mm is None else tuple(volume.spacing_mm),
        affine=volume.affine,
        axis=volume.axis,
        window=(volume.window_low, volume.window_high),
        original_name=volume.original_name,
        original_sha256=volume.original_sha256,
        ground_truth=sorted(kinds),
        created_at=volume.created_at,
    )


def slice_wires(session: Session, slices: Sequence[Slice], person: str) -> list[SliceWire]:
    """Slices of one project with their annotation's tag as this person sees it and, where proposed, why."""
    tags = slice_annotations.visible_tags(session, slices, person)
    schema_version = session.get_one(Project, slices[0].project_id).schema_version if slices else 0
    return [
        SliceWire(
            id=each.id,
            volume_id=each.volume_id,
            patient=each.volume.patient.code,
            volume=each.volume.name,
            split=Split(each.volume.patient.split),
            index=each.index,
            depth=each.volume.depth,
            shape=(each.volume.height, each.volume.width),
            spacing_mm=None if each.volume.spacing_mm is None else tuple(each.volume.spacing_mm[1:]),
            annotation=tags.get(each.id, slice_annotations.NO_VERSION),
            schema_version=schema_version,
            excluded=each.excluded,
            proposal=None if each.pick is None else _pick_wire(each.pick, each),
        )
        for each in slices
    ]


def pick_wires(session: Session, picks: Sequence[Pick]) -> list[PickWire]:
    """Picks in the given order, each with the place of its slice."""
    found = {
        each.id: each for each in session.scalars(select(Slice).where(Slice.id.in_([pick.slice_id for pick in picks])))
    }
    return [_pick_wire(pick, found[pick.slice_id]) for pick in picks]


def lease_wires(session: Session, held: Sequence[Lease]) -> list[LeaseWire]:
    """Leases of one person in the given order, each with its slice."""
    if not held:
        return []
    slices = volumes.slices_to_show(session, [lease.slice_id for lease in held])
    wires = {wire.id: wire for wire in slice_wires(session, slices, held[0].holder)}
    now = database_now(session)
    return [_lease_wire(lease, wires[lease.slice_id], now) for lease in held]


def _lease_wire(lease: Lease, slice_: SliceWire, now: datetime) -> LeaseWire:
    until = leases.live_until(lease)
    # The row of a lease whose clock ran out says so only when somebody else takes the slice.
    ran_out = lease.state == LeaseState.ACTIVE and until <= now
    return LeaseWire(
        id=lease.id,
        annotator=lease.holder,
        purpose=Purpose(lease.purpose),
        state=LeaseState.EXPIRED if ran_out else lease.state,
        until=until,
        idle_until=lease.until,
        live_until=lease.live_until,
        skip_reason=None if lease.skip_reason is None else SkipReason(lease.skip_reason),
        skip_note=lease.skip_note,
        slice=slice_,
    )


def round_wires(session: Session, found: Sequence[Round]) -> list[RoundWire]:
    """Rounds, each with its newest job and what still waits."""
    ids = [each.id for each in found]
    newest, waiting = rounds.newest_jobs(session, ids), rounds.count_open_picks(session, ids)
    wires = [RoundWire.model_validate(each) for each in found]
    for wire in wires:
        wire.job_id, wire.open_picks = newest.get(wire.id), waiting[wire.id]
    return wires


def job_wires(session: Session, found: Sequence[Job]) -> list[JobWire]:
    """Jobs, each with its place in the queue and the time that it will still take."""
    places, now = jobs.queue_positions(session, found), database_now(session)
    wires = [JobWire.model_validate(each) for each in found]
    for wire, job in zip(wires, found, strict=True):
        wire.queue_position, wire.time_left_s = places.get(job.id), jobs.time_left_s(job, now)
    return wires


def _pick_wire(pick: Pick, slice_: Slice) -> PickWire:
    volume = slice_.volume
    return PickWire(
        id=pick.id,
        round_id=pick.round_id,
        slice_id=pick.slice_id,
        patient=volume.patient.code,
        volume=volume.name,
        index=slice_.index,
        depth=volume.depth,
        order=pick.order,
        value=pick.value,
        reason=pick.reason,
        nearest_slice_id=pick.nearest_slice_id,
        seed=pick.seed,
        annotated=pick.annotated,
    )


def model_wires(session: Session, found: Sequence[Model]) -> list[ModelWire]:
    """Models of one project, each with the number of the round that trained it."""
    numbers = models.round_numbers(session, found[0].project_id) if found else {}
    wires = [ModelWire.model_validate(each) for each in found]
    for wire in wires:
        wire.version = None if wire.round_id is None else numbers[wire.round_id]
    return wires


def promotion_wires(session: Session, found: Sequence[Promotion]) -> list[PromotionWire]:
    """Promotions of one project with version numbers in place of rounds."""
    numbers = models.round_numbers(session, found[0].project_id) if found else {}
    return [
        PromotionWire(
            id=each.id,
            version=None if each.round_id is None else numbers[each.round_id],
            author=each.author,
            created_at=each.created_at,
        )
        for each in found
    ]

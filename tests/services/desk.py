"""A project with proposed slices and no HTTP: people who lease and submit, and a clock that a test can move."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.db.models import AnnotationVersion, Assignment, Lease, Project, Round, Slice
from app.db.session import Database
from app.names import AnnotationKind, Purpose, SkipReason
from app.outbox import SilentBell, unit_of_work
from app.services import annotations, leases
from app.services.lease_queue import Clocks
from app.services.turns import Submission
from app.storage.stores import LocalStore
from tests.rows import add_project, add_slices, propose_all

SIDE = 4
CLOCKS = Clocks(idle_s=900.0, alive_s=90.0)


def drawn(*pixels: int) -> NDArray[np.uint8]:
    """A mask of two classes with these pixels in class 1."""
    mask = np.zeros(SIDE * SIDE, np.uint8)
    mask[list(pixels)] = 1
    return mask.reshape(SIDE, SIDE)


@dataclass
class Desk:
    """What people do with the slices of one project, each act committed."""

    database: Database
    blobs: LocalStore
    project_id: uuid.UUID
    slices: list[uuid.UUID]

    @classmethod
    def make(cls, database: Database, folder: Path, count: int = 4, picked: int | None = None, **settings: Any) -> Desk:
        with unit_of_work(database, SilentBell()) as session:
            project = add_project(session)
            project.label_schema = [{"value": value, "name": str(value), "color": "#000000"} for value in (0, 1)]
            project.supervision = "full"
            project.auto_train = True
            for name, value in settings.items():
                setattr(project, name, value)
            session.flush()
            slices = add_slices(session, project, count, SIDE)
            propose_all(session, project, slices[:picked])
            return cls(database, LocalStore(folder / "blobs"), project.id, [each.id for each in slices])

    def lease(self, person: str, n: int = 1, purpose: Purpose = Purpose.ANNOTATE, clocks: Clocks = CLOCKS) -> list[int]:
        """The places of the slices that this person now holds, in the order in which they were proposed."""
        with unit_of_work(self.database, SilentBell()) as session:
            project = session.get_one(Project, self.project_id)
            taken = leases.lease_next_slices(session, project, person, n, clocks, purpose)
            return [self.slices.index(each.slice_id) for each in taken]

    def find_lease(self, person: str, place: int) -> Lease:
        with self.database.reading() as session:
            return session.scalars(
                select(Lease)
                .where(Lease.holder == person, Lease.slice_id == self.slices[place])
                .order_by(Lease.id.desc())
                .limit(1)
            ).one()

    def skip(self, person: str, place: int, reason: SkipReason) -> None:
        with unit_of_work(self.database, SilentBell()) as session:
            leases.skip_lease(session, session.get_one(Lease, self.find_lease(person, place).id), reason, "a note")

    def release(self, person: str, place: int) -> None:
        with unit_of_work(self.database, SilentBell()) as session:
            leases.release_lease(session, session.get_one(Lease, self.find_lease(person, place).id))

    def heartbeat(self, person: str, place: int) -> None:
        with unit_of_work(self.database, SilentBell()) as session:
            leases.heartbeat(session, session.get_one(Lease, self.find_lease(person, place).id), CLOCKS)

    def submit(
        self,
        person: str,
        place: int,
        mask: NDArray[np.uint8] | None = None,
        purpose: Purpose = Purpose.ANNOTATE,
        lead_time_ms: int | None = None,
    ) -> AnnotationVersion:
        """Submit over whatever this person sees as the current version."""
        with unit_of_work(self.database, SilentBell()) as session:
            project = session.get_one(Project, self.project_id)
            slice_ = session.get_one(Slice, self.slices[place])
            seen = annotations.visible_version(session, project, slice_, person)
            base = annotations.NO_VERSION if seen is None else str(seen.id)
            submission = Submission(AnnotationKind.FULL, person, base, purpose=purpose, lead_time_ms=lead_time_ms)
            mask = drawn(place) if mask is None else mask
            return annotations.submit_annotation(session, self.blobs, project, slice_, mask, submission)

    def sees(self, person: str, place: int) -> uuid.UUID | None:
        with self.database.reading() as session:
            project = session.get_one(Project, self.project_id)
            seen = annotations.visible_version(session, project, session.get_one(Slice, self.slices[place]), person)
            return None if seen is None else seen.id

    def pass_time(self, seconds: float) -> None:
        """Move every clock into the past, as if so much time had gone by."""
        ago = timedelta(seconds=seconds)
        with unit_of_work(self.database, SilentBell()) as session:
            for lease in session.scalars(select(Lease)):
                lease.until -= ago
                lease.live_until = lease.live_until and lease.live_until - ago
            for seat in session.scalars(select(Assignment)):
                seat.leased_until = seat.leased_until and seat.leased_until - ago

    @property
    def round_state(self) -> str:
        with self.database.reading() as session:
            return session.scalars(select(Round.state).order_by(Round.number.desc()).limit(1)).one()

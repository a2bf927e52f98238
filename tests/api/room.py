"""A desk behind a service with accounts: who sits at it, and what they ask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from app.db.models import Project, Volume
from app.db.session import Database
from app.embedded import running_service
from app.formats.image import Geometry
from app.formats.nifti import write_nifti
from app.names import Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.settings import Settings
from tests.services.desk import SIDE, Desk

GEOMETRY = Geometry((SIDE, SIDE, 4), 2, ((1.5, 0, 0, 0), (0, 1.5, 0, 0), (0, 0, 5, 0), (0, 0, 0, 1)), (5.0, 1.5, 1.5))


@dataclass
class Room:
    """A desk behind a service with accounts, and a token for each person at it."""

    desk: Desk
    url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)

    def ask(self, who: str, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[who]}"} | options.pop("headers", {})
        return httpx.request(method, self.url + path, headers=headers, **options)

    def put_volume(self, who: str, mask: NDArray[np.uint8], **options: Any) -> httpx.Response:
        etag = self.ask(who, "GET", self.volume_path).headers["etag"]
        content = write_nifti(mask, GEOMETRY)
        parameters = {"kind": "full"} | options
        return self.ask(who, "PUT", self.volume_path, params=parameters, content=content, headers={"If-Match": etag})

    @property
    def volume_path(self) -> str:
        with self.desk.database.reading() as session:
            return f"/v1/volumes/{session.scalars(select(Volume.id)).one()}/annotation"


def open_room(database: Database, folder: Path, **settings: Any) -> Iterator[Room]:
    room = Room(Desk.make(database, folder, **settings))
    with unit_of_work(database, SilentBell()) as session:
        roles = {"anna": Role.ANNOTATOR, "bert": Role.ANNOTATOR, "rita": Role.REVIEWER, "mary": Role.MANAGER}
        for name, role in roles.items():
            account = people.create_account(session, name, None)
            _, room.tokens[name] = people.create_token(session, account, "test", Scope.ADMIN, 1)
            members.set_member(session, session.get_one(Project, room.desk.project_id), account.id, role)
    knobs = Settings(home=folder, port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as room.url:
        yield room


def whole(*planes: tuple[int, NDArray[np.uint8]]) -> NDArray[np.uint8]:
    mask = np.full((4, SIDE, SIDE), 255, dtype=np.uint8)
    for index, plane in planes:
        mask[index] = plane
    return mask

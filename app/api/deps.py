"""What routes are handed: the house's parts, a session, the row that a path names, the body.

What waits for nothing is `async`: FastAPI sends every other dependency to a thread and back, for each request. So a
transaction spans several turns on the 40 threads of the process: were all of them waiting for a lock that one
transaction holds, it would never get the thread that ends it. Hence the seats.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Protocol

from fastapi import Depends, Header, Request
from sqlalchemy.orm import Session

from app.api.idempotency import begin_keyed
from app.api.probes import Probe
from app.db.session import Database
from app.errors import NotSignedIn
from app.outbox import Dispatcher, unit_of_work
from app.services.people import Person
from app.settings import Settings
from app.storage.blobs import BlobStore


class Background(Protocol):
    """What runs beside the requests, in a thread of its own."""

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        ...

    def start(self) -> None:
        """Start the thread."""
        ...

    def stop(self) -> None:
        """Stop the thread and wait for it."""
        ...


@dataclass(frozen=True)
class House:
    """The parts of one service process."""

    settings: Settings
    database: Database
    blobs: BlobStore
    dispatcher: Dispatcher
    background: Mapping[str, Background]
    """All that runs beside the requests, the dispatcher too, each by name."""
    probes: dict[str, Probe] = field(default_factory=dict)
    """The checks of `/readyz` that are under way, by part."""


async def _house(request: Request) -> House:
    house: House = request.app.state.house
    return house


TheHouse = Annotated[House, Depends(_house)]


async def current_person(request: Request) -> Person:
    """Who asks, with their role in the project that the path names (see `app.api.gate`)."""
    person: Person | None = getattr(request.state, "person", None)
    if person is None:
        raise NotSignedIn
    return person


ThePerson = Annotated[Person, Depends(current_person)]


def _reading(house: TheHouse) -> Iterator[Session]:
    with house.database.reading() as session:
        yield session


def _writing(house: TheHouse, request: Request) -> Iterator[Session]:
    with unit_of_work(house.database, house.dispatcher) as session:
        begin_keyed(request, session)
        yield session


# scope="function": the commit comes before the answer leaves, so that a commit that fails is not acknowledged.
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]


async def _body(request: Request) -> bytes:
    return await request.body()


Body = Annotated[bytes, Depends(_body)]

SEATS = 16
"""Requests at a time that are past the gate. Two connections each leave some of the pool's 40 to the gate."""

_READ_BY_FASTAPI = ("multipart/form-data", "application/x-www-form-urlencoded")  # before any dependency


async def _arrived(request: Request) -> None:
    """A body that trickles in takes nobody's seat."""
    if not request.headers.get("content-type", "").lower().startswith(_READ_BY_FASTAPI):
        await request.body()


async def _seat(_arrived: Annotated[None, Depends(_arrived)]) -> AsyncIterator[None]:
    yield


SEAT = Depends(_seat, scope="function", max_concurrency=SEATS)
"""Taken by every route but the probes before anything else, and kept until the commit; who waits for one, waits without
a thread, in the order of arrival."""


async def _takes_gzip(accept_encoding: Annotated[str, Header()] = "") -> bool:
    return "gzip" in accept_encoding or "*" in accept_encoding


TakesGzip = Annotated[bool, Depends(_takes_gzip)]

"""Is it alive, is it ready, and which version is it?"""

from __future__ import annotations

import shutil
from functools import partial
from importlib.metadata import version

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import House, TheHouse
from app.api.probes import ask_parts
from app.broker import check_broker
from app.db.session import is_reachable
from app.errors import BrokerUnreachable, StoreUnreachable

router = APIRouter(tags=["health"])

_OK = "ok"


class Health(BaseModel):
    """Whether this process answers."""

    status: str


class Readiness(BaseModel):
    """Whether every part that this process leans on answers; a failing one says why."""

    ready: bool
    parts: dict[str, str]


class Version(BaseModel):
    """What runs here."""

    version: str
    embedded: bool


@router.get("/healthz")
async def healthz() -> Health:
    """This process is alive; nothing else is asked."""
    return Health(status="alive")


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(house: TheHouse, response: Response) -> Readiness:
    """Database, schema, blobs, broker, disk and the service's own threads, each by name; 503 when one fails."""
    parts = {
        **await ask_parts({part: partial(check, house) for part, check in _CHECKS.items()}, house.probes),
        **{name: _OK if each.is_alive else "not running" for name, each in house.background.items()},
    }
    ready = all(state == _OK for state in parts.values())
    response.status_code = 200 if ready else 503
    hidden = {part: house.settings.hide_folders(state) for part, state in parts.items()}
    return Readiness(ready=ready, parts=hidden)


@router.get("/v1/version")
def read_version(house: TheHouse) -> Version:
    """The version of this service and whether it runs embedded."""
    return Version(version=version("nextslice"), embedded=house.settings.is_sqlite)


def _database_state(house: House) -> str:
    try:
        is_reachable(house.database)
    except SQLAlchemyError as error:
        return type(error).__name__
    return _OK


def _migrations_state(house: House) -> str:
    from app.db.migrate import current_revision, head_revision

    try:
        found = current_revision(house.database)
    except SQLAlchemyError as error:
        return type(error).__name__
    expected = head_revision()
    return _OK if found == expected else f"the database is at {found or 'no revision'}, this service needs {expected}"


def _blobs_state(house: House) -> str:
    try:
        house.blobs.check()
    except StoreUnreachable as error:
        return str(error)
    return _OK


def _broker_state(house: House) -> str:
    try:
        check_broker(house.settings)
    except BrokerUnreachable as error:
        return error.reason
    return _OK


def _disk_state(house: House) -> str:
    try:
        free, wanted = shutil.disk_usage(house.settings.home).free, house.settings.free_disk_bytes
    except OSError as error:
        return error.strerror or type(error).__name__
    return _OK if free >= wanted else f"{free // 2**20} MiB free, {wanted // 2**20} MiB wanted"


_CHECKS = {
    "database": _database_state,
    "migrations": _migrations_state,
    "blobs": _blobs_state,
    "broker": _broker_state,
    "disk": _disk_state,
}

"""Is it alive, is it ready, and which version is it?"""

from __future__ import annotations

from importlib.metadata import version

from fastapi import APIRouter, Response
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from app.api.deps import TheHouse
from app.db.session import is_reachable
from app.errors import StoreUnreachable

router = APIRouter(tags=["health"])


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
def readyz(house: TheHouse, response: Response) -> Readiness:
    """Database, blobs and dispatcher, each by name."""
    parts = {"database": "ok", "blobs": "ok", "dispatcher": "ok"}
    try:
        is_reachable(house.database)
    except SQLAlchemyError as error:
        parts["database"] = type(error).__name__
    try:
        house.blobs.check()
    except StoreUnreachable as error:
        parts["blobs"] = str(error)
    if not house.dispatcher.is_alive:
        parts["dispatcher"] = "not running"
    ready = all(state == "ok" for state in parts.values())
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, parts=parts)


@router.get("/v1/version")
def read_version(house: TheHouse) -> Version:
    """The version of this service and whether it runs embedded."""
    return Version(version=version("nextslice"), embedded=house.settings.is_sqlite)

"""The ASGI application: routes, problem details, request ids, limits; and what runs beside it."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from app.api import (
    annotations as annotation_routes,
    audit,
    deletions,
    drafts,
    exports,
    health,
    history,
    imports,
    jobs,
    leases,
    members,
    metrics,
    models,
    people,
    projects,
    providers,
    reviews,
    rounds,
    statistics,
    volume_annotations,
    volumes,
    webhooks,
)
from app.api.contract import install_contract
from app.api.deps import SEAT, Background, House
from app.api.gate import Gate
from app.api.metrics import CountRequests, RequestMeter
from app.api.problems import install_problem_handlers
from app.api.requests import LimitBody, TagRequest
from app.api.security import ProtectPages
from app.broker import WakeSender, make_celery
from app.db.session import Database
from app.errors import AccountsNeeded
from app.heap import share_heaps
from app.janitor import Janitor
from app.oidc import check_provider_settings
from app.outbox import Dispatcher
from app.postman import Postman
from app.services.jobs import queues_to_wake
from app.settings import Settings, settings
from app.storage.stores import open_store

_ABANDONED_S = 24 * 3600.0  # a blob that nobody finished in a day was left behind by a writer that was killed
_HEAPS = 2  # one thread at a time runs Python; more heaps would only keep more

WEB = Path(__file__).parent / "web"


def create_app(knobs: Settings | None = None) -> FastAPI:
    """The service over these settings (default: those of the environment). The schema must be migrated already."""
    knobs = knobs or settings()
    if not knobs.has_accounts and not knobs.binds_loopback:
        raise AccountsNeeded(knobs.host)
    check_provider_settings(knobs)
    house = open_house(knobs)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        share_heaps(_HEAPS)
        for each in house.background.values():
            each.start()
        # What is alive now lives as long as the process; walked through again and again, it took a fifth of the time
        # that requests wait for.
        gc.collect()
        gc.freeze()
        yield
        gc.unfreeze()
        for each in reversed(list(house.background.values())):
            each.stop()
        house.database.dispose()

    app = FastAPI(
        title="NextSlice",
        version=version("nextslice"),
        summary="Which slice next? An annotation backend for 3D scans that learns from every answer.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
    )
    app.state.house = house
    app.state.meter = RequestMeter(house.database)
    install_problem_handlers(app)
    install_contract(app)
    for routes in (health, metrics):
        app.include_router(routes.router)
    for routes in (
        projects,
        volumes,
        imports,
        annotation_routes,
        volume_annotations,
        history,
        drafts,
        reviews,
        leases,
        rounds,
        models,
        jobs,
        exports,
        webhooks,
        statistics,
        people,
        providers,
        members,
        deletions,
        audit,
    ):
        app.include_router(routes.router, dependencies=[SEAT])
    # Swagger UI from this host (the page is web/docs): FastAPI's own page loads it from another one.
    app.mount("/docs/swagger", StaticFiles(packages=[("fastapi_offline", "static")]), name="swagger")
    app.mount("/", StaticFiles(directory=WEB, html=True), name="web")
    app.add_middleware(LimitBody, limit_bytes=knobs.max_upload_bytes)
    app.add_middleware(Gate, house=house)
    app.add_middleware(ProtectPages)
    app.add_middleware(CountRequests, meter=app.state.meter)
    app.add_middleware(TagRequest)
    return app


def open_house(knobs: Settings) -> House:
    """The parts of one service process; what runs in the background is not started yet."""
    knobs.home.mkdir(parents=True, exist_ok=True)
    database = Database(knobs.database)
    blobs = open_store(knobs)
    blobs.sweep_unfinished(older_than_s=_ABANDONED_S)
    dispatcher = Dispatcher(database, queues_to_wake, WakeSender(make_celery(knobs)), knobs.sweep_s)
    background: dict[str, Background] = {
        "dispatcher": dispatcher,
        "postman": Postman(database, knobs),
        "janitor": Janitor(database, blobs),
    }
    return House(settings=knobs, database=database, blobs=blobs, dispatcher=dispatcher, background=background)

"""`/metrics` for Prometheus: requests as this process answered them, everything else as the database says."""

from __future__ import annotations

import time
from collections.abc import Iterator

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.access import find_entry
from app.api.deps import TheHouse
from app.db.session import Database
from app.log import get_log
from app.services.gauges import Gauges, count_everything

router = APIRouter(tags=["health"])

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = get_log(__name__)


class RequestMeter:
    """What this process answered, by route template (never by path: ids would make labels without end)."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_DatabaseGauges(database))
        labels = ("method", "route", "status")
        self._requests = Counter("nextslice_http_requests", "Requests answered.", labels, registry=self.registry)
        self._seconds = Histogram(
            "nextslice_http_request_seconds",
            "Time until the answer was sent, event streams left out.",
            ("method", "route"),
            registry=self.registry,
            buckets=_SECONDS,
        )

    def note(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        method = method if method in _METHODS else "other"
        self._requests.labels(method, route, str(status)).inc()
        if not route.endswith("/events"):  # a stream stays open for as long as somebody looks
            self._seconds.labels(method, route).observe(seconds)


class CountRequests:
    """Counts and times every request."""

    def __init__(self, app: ASGIApp, meter: RequestMeter) -> None:
        self._app = app
        self._meter = meter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noted)
        finally:
            self._meter.note(scope["method"], _route_of(scope), status, time.perf_counter() - started)


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
def read_metrics(request: Request, house: TheHouse) -> Response:
    """Requests by route and status, their latency, jobs by kind and state, queues, leases and annotations.

    With several API processes each is scraped by itself: requests are its own, counts of the database are the same
    from all of them.
    """
    del house  # only its meter is asked
    meter: RequestMeter = request.app.state.meter
    return Response(generate_latest(meter.registry), media_type=CONTENT_TYPE_LATEST)


class _DatabaseGauges(Collector):
    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[Metric]:
        """Nothing: asked at registration, when no table need be there yet."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """The counts now; a database that does not answer is a 0 of `nextslice_database_up`, and no counts."""
        up = GaugeMetricFamily("nextslice_database_up", "Whether the database answered.")
        try:
            with self._database.reading() as session:
                gauges = count_everything(session)
        except SQLAlchemyError as error:
            _log.warning("metrics_without_database", reason=str(error))
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from _families(gauges)


def _families(gauges: Gauges) -> Iterator[Metric]:
    jobs = GaugeMetricFamily("nextslice_jobs", "Jobs by kind and state.", labels=("kind", "state"))
    for (kind, state), count in gauges.jobs.items():
        jobs.add_metric([str(kind), str(state)], count)
    yield jobs
    lengths = GaugeMetricFamily("nextslice_queue_length", "Jobs that wait.", labels=("queue",))
    for queue, count in gauges.queue_lengths.items():
        lengths.add_metric([str(queue)], count)
    yield lengths
    yield GaugeMetricFamily("nextslice_leases_active", "Slices held by somebody.", value=gauges.active_leases)
    versions = GaugeMetricFamily("nextslice_annotation_versions", "Stored versions by source.", labels=("source",))
    for source, count in gauges.annotation_versions.items():
        versions.add_metric([source], count)
    yield versions
    yield GaugeMetricFamily("nextslice_projects", "Projects.", value=gauges.projects)


def _route_of(scope: Scope) -> str:
    # From the table and not from the router: a request that the gate refuses never reaches the router.
    entry = find_entry(scope["path"].removeprefix(scope.get("root_path", "")))
    if entry is not None:
        return entry.template
    return "page" if scope.get("endpoint") is not None else "none"

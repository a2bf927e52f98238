"""The whole service on one machine: schema, API and workers, nothing else installed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.client import Client, import_listing, label_schema_of
from app.datasets.registry import list_dataset
from app.db.migrate import migrate
from app.db.session import Database, wait_until_reachable
from app.errors import AddressTaken
from app.log import get_log
from app.main import create_app
from app.names import Queue
from app.settings import Settings
from app.supervisor import Supervisor

DEMO = "demo"
_DEMO_PROTOCOL = {
    "members": 2,
    "encoder": {"image_size": 64, "epochs": 3},
    "segmentation": {"image_size": 64, "iterations_min": 150, "iterations_max": 150, "validate_every": 50},
}
_START_TIMEOUT_S = 60.0

_log = get_log(__name__)


@contextmanager
def running_service(knobs: Settings, queues: tuple[Queue, ...] = tuple(Queue)) -> Iterator[str]:
    """Migrate, serve and work until the block is left; gives the address. `queues` says which workers are started."""
    database = Database(knobs.database)
    wait_until_reachable(database)
    migrate(database)
    database.dispose()
    listening = _listen(knobs.host, knobs.port)
    config = uvicorn.Config(create_app(knobs), log_config=None, access_log=False, timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="api", daemon=True)
    supervisor = Supervisor(knobs, queues=queues)
    thread.start()
    try:
        _wait_until_started(server, thread)
        if queues:
            supervisor.start()
        host = f"[{knobs.host}]" if ":" in knobs.host else knobs.host
        yield f"http://{host}:{listening.getsockname()[1]}"
    finally:
        if queues:
            supervisor.stop()
        server.should_exit = True
        thread.join()
        listening.close()


def make_demo_project(url: str, knobs: Settings) -> None:
    """Fill an empty service with phantom hearts and open their first round, so that the loop can be turned at once."""
    with Client(url) as client:
        if client.find_project(DEMO) is None:
            if next(client.items("/v1/projects"), None) is not None:
                return
            listing = list_dataset("phantom", knobs.home / "phantoms")
            client.post(
                "/v1/projects",
                {
                    "slug": DEMO,
                    "name": "Demo: phantom hearts",
                    "label_schema": label_schema_of(listing),
                    "supervision": "scribble",
                    "strategy": "gcl",
                    "budgets": [5, 10, 20, 30, 40],
                    "preset": "cpu",
                    "protocol": _DEMO_PROTOCOL,
                    "auto_propose": True,
                },
            )
        else:
            listing = list_dataset("phantom", knobs.home / "phantoms")
        # Both steps go on where a start that was cut short left them.
        import_listing(client, DEMO, listing, lambda _done, _total, _message: None)
        if next(client.items(f"/v1/projects/{DEMO}/rounds"), None) is None:
            client.post(f"/v1/projects/{DEMO}/rounds")
            _log.info("demo_ready", project=DEMO)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise AddressTaken(host, port, error.strerror or str(error)) from None
    return listening


def _wait_until_started(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the API did not start; the log above says why")
        time.sleep(0.01)

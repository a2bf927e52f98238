"""Purges what is past its retention: one thread of each API process, any number of which may run."""

from __future__ import annotations

import threading

from sqlalchemy.exc import SQLAlchemyError

from app.db.session import Database
from app.errors import StoreUnreachable
from app.log import get_log
from app.services.purging import purge_due
from app.storage.blobs import BlobStore

EVERY_S = 600.0
STOP_TIMEOUT_S = 10.0

_log = get_log(__name__)


class Janitor:
    """Looks every ten minutes."""

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self._database = database
        self._blobs = blobs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="janitor", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the purge in hand."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopping.wait(EVERY_S):
            try:
                swept = purge_due(self._database, self._blobs)
                for told in swept.purged:
                    _log.info("purged", object=told)
                for told in swept.waiting:
                    _log.info("purge_waits_for_jobs", object=told)
            except (SQLAlchemyError, StoreUnreachable) as error:
                _log.warning("not_purged", reason=str(error))

"""Checkpoints of a job: a training that was cut short goes on from its last one, if it still is the same training."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from sqlalchemy import func, select

from app.db.models import Job
from app.errors import BlobDamaged, BlobNotFound
from app.log import get_log
from app.services.claims import keep_checkpoint
from worker.checkpoints import load_training, save_training
from worker.learning.resume import TrainingState
from worker.runner import Work

_log = get_log(__name__)


class JobCheckpoints:
    """The checkpoints of one training of a job; `identity` is everything that it depends on, as plain JSON values.

    A checkpoint of another training (slices were annotated again meanwhile, a batch was halved) is passed over, and so
    is one whose blob is gone: beginning anew is always right, only slower.
    """

    def __init__(self, work: Work, identity: dict[str, Any]) -> None:
        self._work = work
        self._identity = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._key: str | None = (work.checkpoint or {}).get("key")
        self._kept_at = time.monotonic()
        self.found = self._find()

    def keep(self, snapshot: Callable[[], TrainingState]) -> None:
        """Store the state when the last one is old enough; the one before it is then of no use."""
        if time.monotonic() - self._kept_at < self._work.settings.checkpoint_s:
            return
        state = snapshot()
        key = save_training(self._work.blobs, state)
        facts = {"key": key, "identity": self._identity}
        self._work.keep(partial(keep_checkpoint, job_id=self._work.job_id, checkpoint=facts))
        former, self._key = self._key, key
        self._kept_at = time.monotonic()
        if former is not None and former != key and not self._is_named(former):
            self._work.blobs.delete(former)

    def _find(self) -> TrainingState | None:
        stored = self._work.checkpoint or {}
        if stored.get("identity") != self._identity:
            return None
        try:
            state = load_training(self._work.blobs, stored["key"])
        except (BlobNotFound, BlobDamaged) as error:
            _log.warning("checkpoint_lost", reason=str(error))
            return None
        _log.info("training_resumed", step=state.facts["step"])
        return state

    def _is_named(self, key: str) -> bool:
        named = select(func.count()).select_from(Job).where(Job.checkpoint["key"].as_string() == key)
        with self._work.database.reading() as session:
            return session.execute(named).scalar_one() > 0

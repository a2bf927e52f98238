"""What names a purged volume without a foreign key: snapshots, models, jobs, uploads, picks of others, kept answers.

By ids, and by the words that people know it by: a patient's code, "code volume", a file's name.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Collection, Set
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from app.db.audit import Trace
from app.db.models import (
    AuditEvent,
    IdempotentAnswer,
    Job,
    Model,
    Pick,
    Round,
    Snapshot,
    Upload,
    UploadPart,
    Webhook,
    WebhookDelivery,
)
from app.names import JobKind
from app.services.snapshots import read_snapshot
from app.storage.blobs import BlobStore

_UUID = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_KEY = re.compile(r"sha256/[0-9a-f]{2}/[0-9a-f]{64}")
_PURGED = "purged"
_BY_NAME = frozenset({"dice_by_patient", "axes"})
"""Fields whose own fields are patients' codes or volumes' names; in others a name such as "1" is something else."""

_OF_NOBODY = frozenset({"dataset", "counts", "volumes", "deidentified"})
"""What of an import's report names nobody but the volumes in it."""


@dataclass(frozen=True)
class Purgees:
    """What is purged: the ids of patients, volumes, slices and versions, and the words that name them in texts."""

    ids: Set[str]
    words: re.Pattern[str] | None = None

    @classmethod
    def of(cls, ids: Set[uuid.UUID], names: Collection[str]) -> Purgees:
        """These ids and names; a name counts where no letter or digit goes on before or behind it."""
        known = sorted({re.escape(name) for name in names if name.strip()}, key=len, reverse=True)
        words = re.compile(rf"(?<![^\W_])(?:{'|'.join(known)})(?![^\W_])") if known else None
        return cls({str(each) for each in ids}, words)

    def names(self, text: str) -> bool:
        """Whether a text is one of the ids, or holds one of the names."""
        return text in self.ids or (self.words is not None and self.words.search(text) is not None)


def clean_project(
    session: Session, blobs: BlobStore, project_id: uuid.UUID, ids: Set[uuid.UUID], names: Collection[str]
) -> set[str]:
    """Take these patients, volumes, slices and versions, by ids and names, out of what else the project keeps.

    Gives the keys of the blobs let go.

    Weights stay: a model is what was learned of all, and says how many of its versions are gone. What shows single
    slices goes: features and distances, maps, exports, and uploads that held a purged volume.
    """
    gone = Purgees.of(ids, names)
    released = _clean_snapshots(session, blobs, project_id, gone.ids)
    released |= _clean_models(session, project_id, gone.ids)
    released |= _clean_jobs(session, project_id, gone)
    session.execute(
        update(Pick)
        .where(Pick.project_id == project_id, Pick.nearest_slice_id.in_(ids))
        .values(nearest_slice_id=None, reason=_PURGED),
        execution_options={"synchronize_session": False},
    )
    for round_ in session.scalars(select(Round).where(Round.project_id == project_id)):
        round_.summary = _without(round_.summary, gone)
        if round_.cover_key is not None:
            released.add(round_.cover_key)
            round_.cover_key = None  # measured anew when it is next needed
    _forget_deliveries(session, project_id, gone.ids)
    session.flush()
    return released


def forget_answers(session: Session, ids: Set[uuid.UUID]) -> None:
    """Drop the kept answers to keyed requests that speak of these: a request sent again is then done anew."""
    wanted = {str(each).encode() for each in ids}
    rows = session.execute(select(IdempotentAnswer.id, IdempotentAnswer.body).execution_options(yield_per=500))
    for row in [row_id for row_id, body in rows if wanted & set(_UUID.findall(body))]:
        session.execute(delete(IdempotentAnswer).where(IdempotentAnswer.id == row))


def write_audit(session: Session, trace: Trace) -> None:
    """An audit row of what no request asked for."""
    session.add(
        AuditEvent(
            actor=trace.actor,
            account_id=trace.account_id,
            action=trace.action,
            project_id=trace.project_id,
            object=trace.object,
            request_id=trace.request_id,
            address=trace.address,
        )
    )


def _clean_snapshots(session: Session, blobs: BlobStore, project_id: uuid.UUID, gone: Set[str]) -> set[str]:
    released: set[str] = set()
    for snapshot in session.scalars(select(Snapshot).where(Snapshot.project_id == project_id)):
        frozen = read_snapshot(blobs, snapshot)
        kept = [each for each in frozen.volumes if each.id not in gone]
        if len(kept) == len(frozen.volumes):
            continue
        released |= {snapshot.content_key, *snapshot.mask_keys}
        document = {**asdict(frozen), "volumes": [asdict(each) for each in kept]}
        snapshot.content_key = blobs.put(json.dumps(document, sort_keys=True, ensure_ascii=False).encode())
        snapshot.mask_keys = [each.prediction.mask_key for each in kept if each.prediction is not None]
        snapshot.counts = {
            "volumes": len(kept),
            "slices": sum(len(each.slices) for each in kept),
            "predictions": len(snapshot.mask_keys),
            "purged": snapshot.counts.get("purged", 0) + len(frozen.volumes) - len(kept),
        }
    return released


def _clean_models(session: Session, project_id: uuid.UUID, gone: Set[str]) -> set[str]:
    released: set[str] = set()
    for model in session.scalars(select(Model).where(Model.project_id == project_id)):
        manifest = dict(model.manifest)
        for name in ("annotation_versions", "volumes"):
            seen = manifest.get(name, [])
            left = [each for each in seen if each not in gone]
            if len(left) < len(seen):
                manifest[name] = left
                manifest[_PURGED] = manifest.get(_PURGED, 0) + len(seen) - len(left)
        model.manifest = manifest
        if model.features_key is not None:
            released.add(model.features_key)
            model.features_key = None  # made anew when they are next needed
    return released


def _clean_jobs(session: Session, project_id: uuid.UUID, gone: Purgees) -> set[str]:
    released: set[str] = set()
    uploads = select(Upload.id, Upload.file_name).where(Upload.project_id == project_id)
    dropped = {str(row[0]) for row in session.execute(uploads) if gone.names(row[1])}
    for job in session.scalars(select(Job).where(Job.project_id == project_id)):
        told = [job.result, job.error, job.checkpoint]
        named = _mentions([job.payload, *told], gone)
        if job.kind in {JobKind.EXPORT, JobKind.COVERAGE} or (named and job.checkpoint):
            # Which volumes are in its file is not written down: it is made again when somebody asks.
            released |= set(_KEY.findall(json.dumps(told)))
            job.result = None if job.result is None else {_PURGED: True}
            job.checkpoint = None
        elif named and job.kind == JobKind.IMPORT:
            if job.payload.get("upload"):
                dropped.add(str(job.payload["upload"]))
            job.result = job.result and _without(_of_nobody(job.result), gone)
        elif named:
            job.result = job.result and _without(job.result, gone)
        if named:
            job.payload, job.error = _without(job.payload, gone), job.error and _without(job.error, gone)
        job.message = ""
    return released | _drop_uploads(session, dropped)


def _of_nobody(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what speaks of files: their names and reasons may name whom no other line gives away."""
    return {
        name: value if name in _OF_NOBODY else [] if isinstance(value, list) else _PURGED
        for name, value in report.items()
    }


def _forget_deliveries(session: Session, project_id: uuid.UUID, ids: Set[str]) -> None:
    hooks = select(Webhook.id).where(Webhook.project_id == project_id)
    for delivery in session.scalars(select(WebhookDelivery).where(WebhookDelivery.webhook_id.in_(hooks))):
        if _mentions(delivery.body, Purgees(ids)):
            session.delete(delivery)


def _drop_uploads(session: Session, references: Collection[str]) -> set[str]:
    released: set[str] = set()
    for reference in references:
        upload = session.get(Upload, uuid.UUID(reference))
        if upload is None:
            continue
        parts = session.scalars(select(UploadPart).where(UploadPart.upload_id == upload.id)).all()
        released |= {part.blob_key for part in parts} | ({upload.blob_key} if upload.blob_key else set())
        for part in parts:
            session.delete(part)
        session.flush()
        session.delete(upload)
    return released


def _without(found: Any, gone: Purgees, *, by_name: bool = False) -> Any:
    """The same JSON without list entries and fields of these; a text by itself that names one says "purged"."""
    if isinstance(found, dict):
        return {
            key: _without(value, gone, by_name=key in _BY_NAME)
            for key, value in found.items()
            if key not in gone.ids
            and not (isinstance(value, str) and value in gone.ids)
            and not (by_name and gone.names(key))
        }
    if isinstance(found, list):
        return [_without(each, gone) for each in found if not _names(each, gone)]
    return _PURGED if isinstance(found, str) and gone.names(found) else found


def _mentions(found: Any, gone: Purgees) -> bool:
    if isinstance(found, dict):
        return any(gone.names(key) or _mentions(value, gone) for key, value in found.items())
    if isinstance(found, list):
        return any(_mentions(each, gone) for each in found)
    return isinstance(found, str) and gone.names(found)


def _names(entry: Any, gone: Purgees) -> bool:
    if isinstance(entry, dict):
        return any(isinstance(value, str) and gone.names(value) for value in entry.values())
    return isinstance(entry, str) and gone.names(entry)

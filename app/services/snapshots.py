"""Snapshots: which version of every annotation, and which prediction, a project had at one moment.

The document is one immutable blob, and everything that it names is immutable too, so that the same snapshot gives the
same export for as long as it is kept.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Project, Snapshot
from app.db.session import database_now
from app.errors import NothingToExport
from app.services.annotations import current_versions
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.predictions import latest_prediction
from app.services.rounds import list_members
from app.services.volumes import list_volumes
from app.storage.blobs import BlobStore


@dataclass(frozen=True)
class FrozenSlice:
    """One annotated slice: its version, and where that is from."""

    version: str
    kind: str
    author: str
    source: str
    at: str


@dataclass(frozen=True)
class FrozenPrediction:
    """The prediction of a volume: its mask, and the round and models that made it."""

    mask_key: str
    round: str
    round_number: int
    models: list[str]


@dataclass(frozen=True)
class FrozenVolume:
    """A volume with what is known of it; slices by their index."""

    id: str
    patient: str
    volume: str
    split: str
    original_sha256: str
    slices: dict[str, FrozenSlice] = field(default_factory=dict)
    prediction: FrozenPrediction | None = None


@dataclass(frozen=True)
class FrozenProject:
    """What a snapshot holds."""

    project: str
    label_schema: list[dict[str, Any]]
    volumes: list[FrozenVolume]


def take_snapshot(session: Session, blobs: BlobStore, project: Project, name: str = "") -> Snapshot:
    """Freeze the project as this transaction sees it; raises NothingToExport where there is no mask."""
    volumes = [frozen for volume in list_volumes(session, project) if (frozen := _freeze(session, volume)) is not None]
    if not volumes:
        raise NothingToExport(project.slug)
    document = FrozenProject(project.slug, list(project.label_schema), volumes)
    content = json.dumps(asdict(document), sort_keys=True, ensure_ascii=False).encode()
    snapshot = Snapshot(
        project_id=project.id,
        name=name,
        content_key=blobs.put(content),
        # Named here as well, so that what a later prediction replaces is kept for as long as the snapshot.
        mask_keys=[each.prediction.mask_key for each in volumes if each.prediction is not None],
        counts={
            "volumes": len(volumes),
            "slices": sum(len(each.slices) for each in volumes),
            "predictions": sum(each.prediction is not None for each in volumes),
        },
        created_at=database_now(session),
    )
    session.add(snapshot)
    session.flush()
    return snapshot


def read_snapshot(blobs: BlobStore, snapshot: Snapshot) -> FrozenProject:
    """What a snapshot holds."""
    document = json.loads(blobs.get(snapshot.content_key))
    volumes = [
        FrozenVolume(
            **{
                **each,
                "slices": {index: FrozenSlice(**one) for index, one in each["slices"].items()},
                "prediction": None if each["prediction"] is None else FrozenPrediction(**each["prediction"]),
            }
        )
        for each in document["volumes"]
    ]
    return FrozenProject(document["project"], document["label_schema"], volumes)


def find_snapshot(session: Session, reference: str | uuid.UUID) -> Snapshot:
    """The snapshot of this id; raises RecordNotFound."""
    return find_row(session, Snapshot, "snapshot", reference)


def list_snapshots(session: Session, project: Project, span: Span = ALL) -> Listed[Snapshot]:
    """All snapshots of a project, the newest first."""
    query = select(Snapshot).where(Snapshot.project_id == project.id)
    return list_rows(session, query, [Snapshot.id], span, descending=True)


def _freeze(session: Session, volume: Any) -> FrozenVolume | None:
    slices = {
        str(index): FrozenSlice(
            str(version.id), version.kind, version.author, version.source, version.created_at.isoformat()
        )
        for index, version in current_versions(session, volume).items()
    }
    found = latest_prediction(session, volume)
    prediction = None
    if found is not None:
        members = list_members(session, found.round)
        models = [str(member.id) for member in members]
        prediction = FrozenPrediction(found.mask_key, str(found.round_id), found.round.number, models)
    if not slices and prediction is None:
        return None
    return FrozenVolume(
        str(volume.id),
        volume.patient.code,
        volume.name,
        volume.patient.split,
        volume.original_sha256,
        slices,
        prediction,
    )

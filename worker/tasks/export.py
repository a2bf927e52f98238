"""Write a snapshot into one zip, in the format that was asked for."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Project
from app.names import ExportFormat, ExportPart
from app.services.exports import build_export
from app.services.snapshots import find_snapshot
from worker.learning.interpolate import interpolate_slices
from worker.runner import Record, Work


def run(work: Work) -> Record:
    """Build the zip; the job's result names its blob."""
    format_ = ExportFormat(work.payload["format"])
    parts = [ExportPart(part) for part in work.payload["parts"]]
    with work.database.reading() as session:
        project = session.get_one(Project, work.project_id)
        snapshot = find_snapshot(session, work.payload["snapshot_id"])
        stored = build_export(session, work.blobs, snapshot, format_, parts, interpolate_slices, work.progress)
    result = {"key": stored.key, "size_bytes": stored.size_bytes, "file_name": f"{project.slug}-{format_}.zip"}

    def record(_session: Session) -> dict[str, Any]:
        return result

    return record

"""Write a project's annotations and predictions into one zip."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Project
from app.services.exports import build_export
from worker.runner import Record, Work


def run(work: Work) -> Record:
    """Build the zip from one snapshot of the rows; the job's result names its blob."""
    with work.database.reading() as session:
        project = session.get_one(Project, work.project_id)
        stored = build_export(session, work.blobs, project, work.progress)
    result = {"key": stored.key, "size_bytes": stored.size_bytes, "file_name": f"{project.slug}.zip"}

    def record(_session: Session) -> dict[str, Any]:
        return result

    return record

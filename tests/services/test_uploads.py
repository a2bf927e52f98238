"""Uploads whose content is there already, beside those who remove it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from app.db.models import Project
from app.db.session import Database
from app.outbox import SilentBell, unit_of_work
from app.services.uploads import begin_upload, close_upload, drop_upload, find_upload
from app.storage.stores import LocalStore
from tests.rows import add_project


def test_known_content_stays_named_until_the_new_upload_names_it(postgres_url: str, tmp_path: Path) -> None:
    """Nothing is put for it: were its row removed in between, a purge would find the content old and nameless."""
    database, blobs, content = Database(postgres_url), LocalStore(tmp_path / "blobs"), b"a scan"
    digest = hashlib.sha256(content).hexdigest()
    with unit_of_work(database, SilentBell()) as session:
        project = add_project(session)
        first = begin_upload(session, blobs, project, "a.nii", len(content), 1 << 16, digest)
        assert first.blob_key is None
        close_upload(session, first, blobs.put(content))
    with unit_of_work(database, SilentBell()) as session:
        again = begin_upload(
            session, blobs, session.get_one(Project, project.id), "b.nii", len(content), 1 << 16, digest
        )
        assert again.blob_key == first.blob_key
        with unit_of_work(database, SilentBell()) as other:
            other.execute(text("SET LOCAL lock_timeout = '200ms'"))
            drop_upload(other, find_upload(other, str(first.id)))
            with pytest.raises(OperationalError, match="lock timeout"):
                other.flush()
            other.rollback()
    with unit_of_work(database, SilentBell()) as session:
        drop_upload(session, find_upload(session, str(first.id)))
    database.dispose()

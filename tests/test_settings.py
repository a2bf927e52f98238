"""What the settings know of this service's own places."""

from __future__ import annotations

from pathlib import Path

from app.settings import Settings


def test_folders_of_the_service_are_hidden_and_nothing_that_only_looks_like_them() -> None:
    knobs = Settings(home=Path("/data"), import_root=Path("/data/import"))
    assert knobs.hide_folders("no blob /data/blobs/ab") == "no blob <home>/blobs/ab"
    assert knobs.hide_folders("'/data/import/7.nii' is empty") == "'<imports>/7.nii' is empty"
    assert knobs.hide_folders("(/data)") == "(<home>)"
    for other in ("https://pacs/data/7", "/database/7", "/srv/data/7", "/data-2/7"):
        assert knobs.hide_folders(f"cannot read {other}") == f"cannot read {other}"

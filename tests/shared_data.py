"""Real data sets beside the project, which are never part of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data(name: str) -> Path:
    """The folder of a real data set under $NEXTSLICE_DATA or ../shared/data; the test skips where there is none."""
    root = os.environ.get("NEXTSLICE_DATA")
    folder = (Path(root) if root else Path(__file__).resolve().parents[2] / "shared" / "data") / name
    if not folder.is_dir():
        pytest.skip(f"the real data set {name} is not on this machine ({folder.parent.name}/{name})")
    return folder

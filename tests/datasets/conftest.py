from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Callable[[str], Path]:
    """The folder of a real data set beside the project; the test skips where there is none."""

    def folder(name: str) -> Path:
        path = Path(__file__).resolve().parents[3] / "shared" / "data" / name
        if not path.is_dir():
            pytest.skip(f"../shared/data/{name} is absent")
        return path

    return folder

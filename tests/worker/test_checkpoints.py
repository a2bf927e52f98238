"""Features and distances can be made anew: what is lost or damaged of them stops nobody."""

import uuid
from pathlib import Path

import numpy as np
import pytest

from app.storage.stores import LocalStore
from worker.checkpoints import load_cover, load_features, save_cover, save_features
from worker.learning.query.coreset import measure_cover

FEATURES = np.random.default_rng(0).standard_normal((12, 5)).astype(np.float32)
SLICES = [uuid.UUID(int=each) for each in range(12)]


def test_what_was_kept_comes_back_to_the_bit(tmp_path: Path) -> None:
    blobs = LocalStore(tmp_path)
    cover = measure_cover(FEATURES, np.arange(12) < 3)
    found = load_cover(blobs, save_cover(blobs, cover))
    assert found is not None
    assert found.fingerprint == cover.fingerprint
    for name in ("squared", "nearest", "centres"):
        assert getattr(found, name).tobytes() == getattr(cover, name).tobytes()
    features = load_features(blobs, save_features(blobs, SLICES, FEATURES), SLICES[::-1])
    assert features is not None
    assert features.tobytes() == FEATURES[::-1].tobytes()


@pytest.mark.parametrize("harm", ["lost", "cut short", "one byte changed"])
def test_what_is_lost_or_damaged_is_not_kept(tmp_path: Path, harm: str) -> None:
    blobs = LocalStore(tmp_path)
    cover = save_cover(blobs, measure_cover(FEATURES, np.arange(12) < 3))
    features = save_features(blobs, SLICES, FEATURES)
    for key in (cover, features):
        file = blobs.root / key
        content = bytearray(file.read_bytes())
        if harm == "lost":
            file.unlink()
            continue
        content[len(content) // 2] ^= 1
        file.write_bytes(content[: len(content) // 2] if harm == "cut short" else content)
    assert load_cover(blobs, cover) is None
    assert load_features(blobs, features, SLICES) is None

"""What members are judged against: the only room of the workshop that reads ground truth (an import contract)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from app.db.models import Project, Volume
from app.db.session import Database
from app.names import AnnotationKind, Split
from app.services.ground_truth import list_judged_volumes, read_ground_truth
from app.storage.blobs import BlobStore
from worker.dataset import read_planes
from worker.learning.shapes import ReferenceVolume


def list_references(database: Database, project: Project, split: Split) -> list[Volume]:
    """The volumes of a split that have a dense mask, usable without a session."""
    with database.reading() as session:
        return list_judged_volumes(session, project, split)


def iterate_references(
    database: Database, blobs: BlobStore, volumes: Iterable[Volume], size: int, how: str, channels: int
) -> Iterator[tuple[Volume, ReferenceVolume]]:
    """Each volume with its planes at `size` and its dense mask in native geometry; no transaction stays open."""
    for volume in volumes:
        with database.reading() as session:
            reference = read_ground_truth(session, blobs, volume, AnnotationKind.FULL)
        spacing = None if volume.spacing_mm is None else _triple(volume.spacing_mm)
        planes = torch.from_numpy(read_planes(blobs, volume, size, how, channels))
        yield volume, ReferenceVolume(planes, reference.copy(), spacing)


def _triple(spacing: list[Any]) -> tuple[float, float, float]:
    z, y, x = spacing
    return float(z), float(y), float(x)

"""History: what changed between two versions of a slice, and how an old one becomes the newest again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from app.db.models import Annotation, AnnotationVersion, Project, Slice
from app.errors import OtherSlice, RecordNotFound
from app.names import AnnotationKind
from app.services.annotations import read_mask_body, submit_annotation
from app.services.projects import class_values
from app.services.turns import AS_HANDED, Rights, Submission
from app.storage.blobs import BlobStore
from app.storage.masks import decode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class VersionDiff:
    """How two masks of one slice differ; Dice of a class that neither has is None."""

    changed_pixels: int
    dice: dict[int, float | None]


def diff_versions(
    session: Session, blobs: BlobStore, version: AnnotationVersion, against: AnnotationVersion
) -> VersionDiff:
    """Changed pixels and the Dice of each class; raises OtherSlice, RecordNotFound for another project's version."""
    slice_, project = slice_of(session, version)
    if version.annotation_id != against.annotation_id:
        if slice_of(session, against)[1].id != project.id:  # whoever asks may not know that there is such a version
            raise RecordNotFound("annotation version", against.id)
        raise OtherSlice(version.id, against.id)
    first, second = (version_mask(session, blobs, slice_, each) for each in (version, against))
    values = class_values(project)
    return VersionDiff(int((first != second).sum()), {value: dice(first == value, second == value) for value in values})


def restore_version(
    session: Session,
    blobs: BlobStore,
    version: AnnotationVersion,
    author: str,
    expected_version: str,
    rights: Rights = AS_HANDED,
    entered_by: str | None = None,
) -> AnnotationVersion:
    """A new version with the mask of an old one; raises what a submission raises."""
    slice_, project = slice_of(session, version)
    submission = Submission(
        AnnotationKind(version.kind),
        author,
        expected_version,
        source="restored",
        entered_by=entered_by,
        origin_id=version.id,
        rights=rights,
    )
    return submit_annotation(session, blobs, project, slice_, version_mask(session, blobs, slice_, version), submission)


def slice_of(session: Session, version: AnnotationVersion) -> tuple[Slice, Project]:
    """The slice of a version, and its project."""
    annotation = session.get_one(Annotation, version.annotation_id)
    return session.get_one(Slice, annotation.slice_id), session.get_one(Project, annotation.project_id)


def version_mask(session: Session, blobs: BlobStore, slice_: Slice, version: AnnotationVersion) -> NDArray[np.uint8]:
    """The (H, W) mask of a version of this slice."""
    shape = (slice_.volume.height, slice_.volume.width)
    return decode_mask(read_mask_body(session, blobs, version.id), shape)


def dice(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float | None:
    """2|A∩B| / (|A| + |B|) of two equally shaped masks; None when both are empty."""
    total = int(first.sum()) + int(second.sum())
    return None if total == 0 else 2 * int((first & second).sum()) / total

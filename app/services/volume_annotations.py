"""Annotations of a volume as a whole: what one person sees of them, and a mask that covers several of its slices."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import AnnotationVersion, Lease, Project, Volume
from app.errors import (
    AnnotationStale,
    EmptyBody,
    NextSliceError,
    NoSliceWritten,
    OwnWork,
    PlaneOutside,
    ReadingsComplete,
    ReadingsIncomplete,
    SliceAccepted,
    SliceExcluded,
    SliceLeasedElsewhere,
    SliceNotLeased,
    SliceNotProposed,
)
from app.names import UNLABELLED, AnnotationKind, LeaseState, Purpose, SliceOutcome
from app.services import annotations as slice_annotations, assignments
from app.services.turns import AS_HANDED, Rights, Submission
from app.services.volumes import list_slices
from app.storage.blobs import BlobStore
from app.storage.masks import decode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Why a slice may not be written now; what is wrong with a mask itself refuses the whole of it.
_NOT_NOW = (
    SliceLeasedElsewhere,
    SliceNotLeased,
    SliceNotProposed,
    SliceExcluded,
    SliceAccepted,
    ReadingsComplete,
    ReadingsIncomplete,
    OwnWork,
)


@dataclass(frozen=True)
class VolumeSubmission:
    """Who submits what kind of mask over which state.

    Slices that they lease are written. `named`: the mask's slices were chosen one by one, so that their own work is
    written without a lease too, and `anywhere` any slice that nobody else holds. `judges`: what they lease to review or
    to adjudicate is theirs as well.
    """

    kind: AnnotationKind
    author: str
    expected_tag: str
    named: bool = False
    anywhere: bool = False
    judges: bool = False
    rights: Rights = AS_HANDED
    entered_by: str | None = None
    lead_time_ms: int | None = None  # of all slices together
    prediction_id: uuid.UUID | None = None  # the prediction that was drawn over


@dataclass(frozen=True)
class SliceResult:
    """What became of one slice: its version where it was written, the reason where it was left."""

    index: int
    outcome: SliceOutcome
    version: AnnotationVersion | None = None
    refusal: NextSliceError | None = None


def visible_versions(session: Session, volume: Volume, person: str) -> dict[int, AnnotationVersion]:
    """Slice index -> the version that this person sees as the current one: their own while the slice is read blind."""
    versions = slice_annotations.current_versions(session, volume)
    project = session.get_one(Project, volume.project_id)
    indices = {each.id: each.index for each in list_slices(session, volume)}
    blind = assignments.blind_slices(session, project, list(indices))
    for slice_id in blind:
        versions.pop(indices[slice_id], None)
    if blind:
        own = assignments.own_readings(session, blind, person)
        versions |= {indices[slice_id]: version for slice_id, version in own.items()}
    return dict(sorted(versions.items()))


def tag_of(versions: dict[int, AnnotationVersion]) -> str:
    """The tag of a volume's annotations as somebody sees them: it changes with every version that they can see."""
    heads = ",".join(str(version.id) for version in versions.values())
    return hashlib.sha256(heads.encode()).hexdigest()[:32] if heads else slice_annotations.NO_VERSION


def lay_masks(session: Session, blobs: BlobStore, volume: Volume, versions: dict[int, uuid.UUID]) -> NDArray[np.uint8]:
    """The masks of these versions (slice index -> version) as one (Z, H, W) mask, 255 where nothing is labelled."""
    import numpy as np

    mask = np.full((volume.depth, volume.height, volume.width), UNLABELLED, dtype=np.uint8)
    for index, version_id in versions.items():
        body = slice_annotations.read_mask_body(session, blobs, version_id)
        mask[index] = decode_mask(body, (volume.height, volume.width))
    return mask


def cover_planes(
    mask: NDArray[np.uint8], covered: Sequence[int] | None, *, fill_background: bool
) -> dict[int, NDArray[np.uint8]]:
    """The planes (index -> (H, W)) that a (Z, H, W) mask speaks for: those named, else those with a labelled pixel.

    `fill_background`: what is unlabelled in them is background, as in a file that has no word for either. Raises
    PlaneOutside, and EmptyBody where there is no such plane.
    """
    import numpy as np

    for index in covered or ():
        if not 0 <= index < len(mask):
            raise PlaneOutside(index, len(mask))
    chosen = sorted(set(covered)) if covered else [z for z, plane in enumerate(mask) if (plane != UNLABELLED).any()]
    if not chosen:
        raise EmptyBody("a mask with at least one labelled pixel")
    if fill_background:
        return {z: np.where(mask[z] == UNLABELLED, np.uint8(0), mask[z]) for z in chosen}
    return {z: mask[z] for z in chosen}


def submit_volume(
    session: Session, blobs: BlobStore, volume: Volume, planes: dict[int, NDArray[np.uint8]], asked: VolumeSubmission
) -> list[SliceResult]:
    """Store the planes of the slices that the author holds, or held and nobody took since; say of each what became.

    Others are written only where they were named: in a mask of a whole volume, the background of a slice that nobody
    looked at is no word about it. What does not differ from what the author sees, and is not leased to them, is left as
    it is. A mask that is wrong anywhere refuses the whole (what `submit_annotation` raises); raises AnnotationStale
    where the author saw another state, NoSliceWritten where no slice could be.
    """
    seen = visible_versions(session, volume, asked.author)
    if not slice_annotations.is_expected(asked.expected_tag, tag_of(seen)):
        raise AnnotationStale(tag_of(seen))
    slices = {each.index: each for each in list_slices(session, volume)}
    project = session.get_one(Project, volume.project_id)
    held = _held_purposes(session, [slices[index].id for index in planes], asked)
    results = []
    for index, mask in planes.items():
        slice_ = slices[index]
        slice_annotations.check_mask(project, mask, asked.kind)
        base, purpose = seen.get(index), held.get(slice_.id)
        if purpose is None and base is not None and _is_same(session, blobs, base, mask, asked.kind):
            results.append(SliceResult(index, SliceOutcome.UNCHANGED, base))
            continue
        tag = slice_annotations.NO_VERSION if base is None else str(base.id)
        submission = Submission(
            asked.kind,
            asked.author,
            tag,
            purpose=purpose or Purpose.ANNOTATE,
            prediction_id=asked.prediction_id,
            rights=asked.rights,
            entered_by=asked.entered_by,
        )
        try:
            if purpose is None and not _may_write_unleased(base, asked):
                raise SliceNotLeased(slice_.id)
            version = slice_annotations.submit_annotation(session, blobs, project, slice_, mask, submission)
        except _NOT_NOW as refusal:
            results.append(SliceResult(index, SliceOutcome.LEFT, refusal=refusal))
        else:
            results.append(SliceResult(index, SliceOutcome.WRITTEN, version))
    if all(each.outcome == SliceOutcome.LEFT for each in results):
        raise NoSliceWritten([(each.index, str(each.refusal)) for each in results])
    _share_lead_time(session, results, asked.lead_time_ms)
    return results


def _share_lead_time(session: Session, results: Sequence[SliceResult], lead_time_ms: int | None) -> None:
    """Divide the time over the slices that were written, to the millisecond: only now it is known which they are."""
    written = [each.version for each in results if each.outcome == SliceOutcome.WRITTEN and each.version is not None]
    if lead_time_ms is None or not written:
        return
    share, rest = divmod(lead_time_ms, len(written))
    for place, version in enumerate(written):
        version.lead_time_ms = share + (place < rest)
    session.flush()


def _held_purposes(
    session: Session, slice_ids: Sequence[uuid.UUID], asked: VolumeSubmission
) -> dict[uuid.UUID, Purpose]:
    """Slice id -> for what its author leases it.

    A lease whose clock ran out counts until somebody takes the slice, one of an excluded slice until its submission.
    """
    allowed = tuple(Purpose) if asked.judges else (Purpose.ANNOTATE,)
    rows = session.execute(
        select(Lease.slice_id, Lease.purpose)
        .where(Lease.slice_id.in_(slice_ids), Lease.holder == asked.author, Lease.purpose.in_(allowed))
        .where(Lease.state.in_((LeaseState.ACTIVE, LeaseState.EXCLUDED)))
        .order_by(Lease.id)
    )
    return {slice_id: Purpose(purpose) for slice_id, purpose in rows}


def _may_write_unleased(base: AnnotationVersion | None, asked: VolumeSubmission) -> bool:
    return asked.named and (asked.anywhere or (base is not None and base.author == asked.author))


def _is_same(
    session: Session, blobs: BlobStore, version: AnnotationVersion, mask: NDArray[np.uint8], kind: AnnotationKind
) -> bool:
    stored = decode_mask(slice_annotations.read_mask_body(session, blobs, version.id), (mask.shape[0], mask.shape[1]))
    return version.kind == kind and bool((stored == mask).all())

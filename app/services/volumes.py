"""Volumes: a file becomes a stored original, a pack of slices, and rows.

Reading a file takes long and touches no row; `ingest_volume` does it before any transaction is open, and
`record_volume` writes the rows afterwards. A blob without a row is litter that `gc` removes; a row without its blob
would be a lie.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, BinaryIO

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session, joinedload

from app.db.models import Patient, Project, Slice, Volume
from app.db.session import WITH_DELETED, prepared
from app.errors import PatientSplitConflict, ProjectSettingRefused, StillDeleted, VolumeCutAlready, VolumeExists
from app.formats.image import Geometry, Image3D
from app.formats.nifti import load_nifti, read_nifti_mask
from app.formats.voxels import to_image
from app.names import UNLABELLED, AnnotationKind, Split
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows
from app.storage.blobs import CHUNK_BYTES, BlobStore, blob_digest
from app.storage.masks import check_mask_values, encode_mask
from app.storage.planes import PlanePack, display_window, store_planes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Only where nothing is written: a head that is read before its slice is locked may be an old one behind the lock.
_AS_SHOWN = (joinedload(Slice.annotation), joinedload(Slice.pick))
_THESE = prepared(select(Slice).where(Slice.id.in_(bindparam("slices", expanding=True))).options(*_AS_SHOWN))


@dataclass(frozen=True)
class VolumeDraft:
    """What is known of a volume besides its voxels."""

    patient: str
    split: Split
    name: str
    group: str = ""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    axis: int | None = None


@dataclass(frozen=True, eq=False)
class IngestedVolume:
    """A file that was read, checked and stored; no row points at it yet."""

    file_name: str
    original_key: str
    image: Image3D
    pack: PlanePack
    window: tuple[float, float]


@dataclass(frozen=True)
class IngestedMask:
    """A ground-truth file that was read, checked against its image and stored."""

    kind: AnnotationKind
    original_key: str
    mask_key: str


def ingest_volume(
    blobs: BlobStore,
    source: BinaryIO,
    file_name: str,
    axis: int | None = None,
    original: tuple[BinaryIO, str] | None = None,
) -> IngestedVolume:
    """Read and store a NIfTI file; raises what `load_nifti` and `to_image` raise and then has stored nothing.

    `original` (content and name) is kept in place of the file where this is only a conversion of it.
    """
    image = to_image(load_nifti(source, name=file_name), axis)
    kept, name = original or (source, file_name)
    return store_image(blobs, image, kept, name)


def store_image(blobs: BlobStore, image: Image3D, original: BinaryIO, name: str) -> IngestedVolume:
    """Store an image's slices and the file that it was read from; memory: one slice, and one chunk of the file."""
    pack = store_planes(blobs, image.array)
    window = display_window(image.array, image.slope, image.intercept)
    original.seek(0)
    key = blobs.put_stream(iter(lambda: original.read(CHUNK_BYTES), b"")).key
    return IngestedVolume(name, key, image, pack, window)


def ingest_mask(
    blobs: BlobStore,
    content: bytes,
    file_name: str,
    geometry: Geometry,
    kind: AnnotationKind,
    classes: Sequence[int],
    value_map: Mapping[int, int] | None = None,
) -> IngestedMask:
    """Read and store the ground truth of a volume; `value_map` takes the file's values to those of the schema."""
    mask = read_nifti_mask(content, geometry, name=file_name, value_map=value_map)
    check_mask_values(mask, classes)
    return IngestedMask(kind, blobs.put(content), blobs.put(encode_mask(mask)))


def store_mask(
    blobs: BlobStore, mask: NDArray[np.uint8], classes: Sequence[int], kind: AnnotationKind, original: BinaryIO
) -> IngestedMask:
    """Store a (Z, H, W) mask that was read elsewhere, and its file; raises `UnknownMaskValues`."""
    check_mask_values(mask, classes)
    key = blobs.put_stream(iter(lambda: original.read(CHUNK_BYTES), b"")).key
    return IngestedMask(kind, key, blobs.put(encode_mask(mask)))


def scribble_values(classes: Sequence[int], unlabelled_value: int | None) -> dict[int, int] | None:
    """The value map of a scribble file that calls unlabelled what is no class here (4 in ACDC)."""
    if unlabelled_value is None:
        return None
    return {value: value for value in (*classes, UNLABELLED)} | {unlabelled_value: UNLABELLED}


def record_volume(session: Session, project: Project, draft: VolumeDraft, ingested: IngestedVolume) -> Volume:
    """The volume's row with its slices. The same file again, under the same patient and name, is the same volume."""
    for what, value in (("patient", draft.patient), ("volume name", draft.name)):
        if not 1 <= len(value.strip()) <= 200 or not value.isprintable():
            raise ProjectSettingRefused(what, "1 to 200 printable characters", value)
    patient = _patient(session, project, draft)
    named = select(Volume).where(Volume.patient_id == patient.id, Volume.name == draft.name)
    present = session.scalar(named.execution_options(**WITH_DELETED))
    if present is not None:
        if present.deletion_id is not None:
            raise StillDeleted("volume", draft.name)
        if present.original_key != ingested.original_key:
            raise VolumeExists(draft.patient, draft.name)
        if present.axis != ingested.image.geometry.axis:
            raise VolumeCutAlready(draft.patient, draft.name, present.axis)
        return present
    image, pack = ingested.image, ingested.pack
    volume = Volume(
        project_id=project.id,
        patient_id=patient.id,
        name=draft.name,
        group=draft.group,
        original_name=ingested.file_name,
        original_key=ingested.original_key,
        original_sha256=blob_digest(ingested.original_key),
        axis=image.geometry.axis,
        depth=pack.depth,
        height=pack.height,
        width=pack.width,
        channels=pack.channels,
        dtype=pack.dtype,
        slope=image.slope,
        intercept=image.intercept,
        spacing_mm=None if image.geometry.spacing_mm is None else list(image.geometry.spacing_mm),
        affine=[list(row) for row in image.geometry.affine],
        window_low=ingested.window[0],
        window_high=ingested.window[1],
        pack_key=pack.key,
        pack_offsets=list(pack.offsets),
    )
    session.add(volume)
    session.flush()
    session.add_all(Slice(project_id=project.id, volume_id=volume.id, index=index) for index in range(pack.depth))
    session.flush()
    return volume


def volume_geometry(volume: Volume) -> Geometry:
    """Where the volume lies, as its file said."""
    sizes = [volume.width, volume.height]  # of the two other axes of the file, the lower runs along a row
    sizes.insert(volume.axis, volume.depth)
    spacing = volume.spacing_mm
    return Geometry(
        shape=(sizes[0], sizes[1], sizes[2]),
        axis=volume.axis,
        affine=tuple(tuple(float(entry) for entry in row) for row in volume.affine),
        spacing_mm=None if spacing is None else (spacing[0], spacing[1], spacing[2]),
    )


def volume_pack(volume: Volume) -> PlanePack:
    """Where the volume's slices lie in its pack."""
    return PlanePack(
        volume.pack_key,
        volume.dtype,
        volume.depth,
        volume.height,
        volume.width,
        volume.channels,
        tuple(volume.pack_offsets),
    )


def list_volumes(session: Session, project: Project, split: Split | None = None, span: Span = ALL) -> Listed[Volume]:
    """The project's volumes by patient code and name."""
    query = select(Volume).join(Patient).where(Patient.project_id == project.id)
    if split is not None:
        query = query.where(Patient.split == split)
    return list_rows(session, query, [Patient.code, Volume.name], span)


def find_volume(session: Session, reference: str) -> Volume:
    """The volume with this id; raises RecordNotFound."""
    return find_row(session, Volume, "volume", reference)


def find_patient(session: Session, reference: str) -> Patient:
    """The patient with this id; raises RecordNotFound."""
    return find_row(session, Patient, "patient", reference)


def find_slice(session: Session, reference: str) -> Slice:
    """The slice with this id; raises RecordNotFound."""
    return find_row(session, Slice, "slice", reference)


def list_slices(session: Session, volume: Volume, span: Span = ALL, *, to_show: bool = False) -> Listed[Slice]:
    """The slices of a volume by index; those `to_show` each with its annotation's head and its pick."""
    query = select(Slice).where(Slice.volume_id == volume.id)
    return list_rows(session, query.options(*_AS_SHOWN) if to_show else query, [Slice.index], span)


def slices_to_show(session: Session, slice_ids: Sequence[uuid.UUID]) -> list[Slice]:
    """These slices in no order, each with its annotation's head and its pick."""
    return list(session.scalars(_THESE, {"slices": slice_ids}))


def _patient(session: Session, project: Project, draft: VolumeDraft) -> Patient:
    # The project's row is locked so that two uploads for a new patient do not both make it.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())
    named = select(Patient).where(Patient.project_id == project.id, Patient.code == draft.patient)
    patient = session.scalar(named.execution_options(**WITH_DELETED))
    if patient is None:
        patient = Patient(
            project_id=project.id, code=draft.patient, split=draft.split, attributes=dict(draft.attributes)
        )
        session.add(patient)
        session.flush()
    elif patient.deletion_id is not None:
        raise StillDeleted("patient", draft.patient)
    elif patient.split != draft.split:
        raise PatientSplitConflict(draft.patient, patient.split, draft.split)
    return patient

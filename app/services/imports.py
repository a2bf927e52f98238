"""Imports: an upload or a folder of the server becomes volumes of a project, with an account of every file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.datasets.originals import keep_mask_original, keep_original
from app.datasets.records import (
    DatasetListing,
    LabelClass,
    VolumeSource,
    has_full_mask,
    read_full_mask,
    read_scribble_mask,
    read_volume_image,
)
from app.db.models import Patient, Project
from app.errors import AxisUnclear, ServerFolderRefused
from app.formats.deidentify import PROFILE, Deidentifier
from app.names import AnnotationKind, Split
from app.services.ground_truth import add_ground_truth
from app.services.volumes import (
    IngestedMask,
    IngestedVolume,
    VolumeDraft,
    record_volume,
    store_image,
    store_mask,
)
from app.storage.blobs import BlobStore

_OWN_SPLITS = frozenset({"acdc", "acdc-h5", "chaos", "davis", "mscmr"})
"""Data sets whose patients have a published split, or one of their own lists."""


@dataclass(frozen=True)
class ImportOrder:
    """What was asked for; `upload` or `path` says of what. `split` overrules any split, `mask_values` any table.

    `axis` is for all volumes, `axes` for some, by the names that they have in a report.
    """

    upload: str | None = None
    path: str | None = None
    dataset: str = "auto"
    split: str | None = None
    seed: int = 0
    axis: int | None = None
    axes: Mapping[str, int] = field(default_factory=dict)
    mask_values: Mapping[int, int] | None = None
    untouched: bool = False

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> ImportOrder:
        """The order in a job's row, where JSON made texts of the table's numbers."""
        values = payload.get("mask_values")
        table = None if values is None else {int(value): int(to) for value, to in values.items()}
        return cls(**{**payload, "mask_values": table})


@dataclass
class ImportReport:
    """What came of it: volumes taken in, files and volumes refused or left out with reasons, and what to know.

    Those of `needs_axis` are not taken in either, until somebody says along which axis their slices were taken.
    """

    dataset: str
    source: str
    volumes: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, str]] = field(default_factory=list)
    needs_axis: list[dict[str, Any]] = field(default_factory=list)
    left_out: list[dict[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    deidentified: dict[str, Any] | None = None

    def as_result(self) -> dict[str, Any]:
        """The report as plain JSON, with the counts of patients, volumes and slices of each split."""
        return {
            "dataset": self.dataset,
            "source": self.source,
            "counts": self.counts(),
            "volumes": self.volumes,
            "refused": self.refused,
            "needs_axis": self.needs_axis,
            "left_out": self.left_out,
            "remarks": self.remarks,
            "deidentified": self.deidentified,
        }

    def counts(self) -> dict[str, dict[str, int]]:
        """Patients, volumes and slices of each split that were taken in."""
        return {split.value: self._count(split) for split in Split}

    def _count(self, split: Split) -> dict[str, int]:
        mine = [volume for volume in self.volumes if volume["split"] == split]
        return {
            "patients": len({volume["patient"] for volume in mine}),
            "volumes": len(mine),
            "slices": sum(volume["slices"] for volume in mine),
        }


def server_folder(root: Path | None, path: str) -> Path:
    """The folder or file below the root that may be imported; raises `ServerFolderRefused`."""
    if root is None:
        raise ServerFolderRefused(path, "no folder of this server is open to imports (NEXTSLICE_IMPORT_ROOT)")
    try:
        top = root.resolve(strict=True)
        found = (top / path).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        raise ServerFolderRefused(path, "there is nothing of this name") from None
    if not found.is_relative_to(top):
        raise ServerFolderRefused(path, "it lies outside of the folder that is open to imports")
    return found


def schema_classes(project: Project) -> tuple[LabelClass, ...]:
    """The project's classes as importers speak of them."""
    return tuple(LabelClass(int(each["value"]), each["name"], each["color"]) for each in project.label_schema)


def settle_volume(
    session: Session, project: Project, listing: DatasetListing, order: ImportOrder, volume: VolumeSource
) -> VolumeSource:
    """The volume as it is taken into this project: split and table as ordered, a drawn split as its patient has it."""
    split = order.split or volume.split
    if order.split is None and listing.name not in _OWN_SPLITS:
        patient = select(Patient.split).where(Patient.project_id == project.id, Patient.code == volume.patient)
        split = session.scalar(patient) or split
    return replace(volume, split=split, mask_values=order.mask_values or volume.mask_values)


def ingest_source(
    blobs: BlobStore,
    volume: VolumeSource,
    classes: tuple[LabelClass, ...],
    scratch: Path,
    cleaner: Deidentifier | None,
    axis: int | None,
) -> tuple[IngestedVolume, list[IngestedMask]]:
    """Read and store a volume with its masks; raises the image and mask errors of its format, and stores no row."""
    image = read_volume_image(volume, axis)
    name, path = keep_original(volume, scratch, cleaner)
    with path.open("rb") as file:
        ingested = store_image(blobs, image, file, name)
    values = [label.value for label in classes]
    masks = []
    if has_full_mask(volume):
        mask = read_full_mask(volume, image.geometry)
        assert mask is not None
        with _mask_file(volume, scratch, path).open("rb") as file:
            masks.append(store_mask(blobs, mask, values, AnnotationKind.FULL, file))
    if volume.scribble_mask is not None:
        mask = read_scribble_mask(volume, image.geometry, classes)
        assert mask is not None
        _, beside = keep_mask_original(volume, volume.scribble_mask, scratch)
        with beside.open("rb") as file:
            masks.append(store_mask(blobs, mask, values, AnnotationKind.SCRIBBLE, file))
    return ingested, masks


def _mask_file(volume: VolumeSource, scratch: Path, image: Path) -> Path:
    """The file to keep of a dense mask; DICOM segmentations are cleaned with their series and stand in its zip."""
    return image if volume.full_mask is None else keep_mask_original(volume, volume.full_mask, scratch)[1]


def record_source(
    session: Session, project: Project, volume: VolumeSource, ingested: IngestedVolume, masks: list[IngestedMask]
) -> dict[str, Any]:
    """Write a volume's rows, and give back its line in the report; raises what `record_volume` raises."""
    draft = VolumeDraft(volume.patient, Split(volume.split), volume.name, volume.group, volume.attributes)
    row = record_volume(session, project, draft, ingested)
    for mask in masks:
        add_ground_truth(session, row, mask.kind, mask.mask_key, mask.original_key)
    return {
        "id": str(row.id),
        "patient": volume.patient,
        "name": volume.name,
        "split": volume.split,
        "slices": row.depth,
        "axis": row.axis,
        "ground_truth": [str(mask.kind) for mask in masks],
        "remarks": list(ingested.image.remarks),
    }


def name_in_report(volume: VolumeSource) -> str:
    """What a volume is called where it is refused or needs an answer."""
    return f"{volume.patient} {volume.name}"


def axis_question(volume: VolumeSource, question: AxisUnclear) -> dict[str, Any]:
    """The line of a volume that needs an axis: its grid, and what slices across each of its axes would show."""
    return {
        "name": name_in_report(volume),
        "reason": str(question),
        "shape": list(question.shape),
        "spacing_mm": None if question.spacing is None else list(question.spacing),
        "views": list(question.views),
    }


def account_of(removed: Mapping[str, int]) -> dict[str, Any]:
    """What was taken out of DICOM files, for the report."""
    return {"profile": PROFILE, "removed": dict(sorted(removed.items()))}

"""Exports: what a snapshot holds, as files that other software opens, with a manifest of where each is from."""

from __future__ import annotations

import tempfile
import uuid
import zlib
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from app.db.models import Job, Snapshot, Volume
from app.errors import ExportRefused, VolumeNotExportable
from app.exports.archive import Archive
from app.exports.records import ExportClass, ExportPlan, ExportVolume
from app.exports.writers import WRITERS
from app.names import UNLABELLED, ExportFormat, ExportPart, JobKind, Split
from app.services.jobs import queue_job
from app.services.snapshots import FrozenProject, FrozenVolume, read_snapshot
from app.services.volume_annotations import lay_masks
from app.services.volumes import volume_geometry, volume_pack
from app.storage import planes
from app.storage.blobs import CHUNK_BYTES, BlobStore, StoredBlob

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Report = Callable[[int, int, str], None]
Interpolate = Callable[["NDArray[np.uint8]", Sequence[int], Sequence[int], tuple[float, float]], "NDArray[np.uint8]"]
"""(Z, H, W) masks, fully known slices, classes, pixel (height, width) -> masks with the slices between filled in."""

_DERIVED = (ExportPart.MERGED, ExportPart.INTERPOLATED)


def request_export(
    session: Session, snapshot: Snapshot, format_: ExportFormat, parts: Sequence[ExportPart] = ()
) -> Job:
    """Queue the writing of a snapshot; without `parts` the annotations, and the predictions where a format has both.

    Raises ExportRefused for more than one part of a format that has room for one.
    """
    one_only = format_ == ExportFormat.NNUNET
    chosen = list(dict.fromkeys(parts)) or [ExportPart.ANNOTATIONS, *([] if one_only else [ExportPart.PREDICTIONS])]
    if one_only and len(chosen) > 1:
        raise ExportRefused(f"the format {format_} takes one part, and {len(chosen)} were asked for")
    payload = {"snapshot_id": str(snapshot.id), "format": format_, "parts": chosen}
    return queue_job(session, project_id=snapshot.project_id, kind=JobKind.EXPORT, payload=payload)


def build_export(
    session: Session,
    blobs: BlobStore,
    snapshot: Snapshot,
    format_: ExportFormat,
    parts: Sequence[ExportPart],
    interpolate: Interpolate,
    report: Report,
) -> StoredBlob:
    """The zip of a snapshot in a format, stored as one blob; equal in every byte whenever it is made.

    Volumes that the format cannot hold are left out and named in the manifest; raises ExportRefused where that is all
    of them. Memory: one volume's masks and, in formats that hold pixels, its pixels.
    """
    frozen = read_snapshot(blobs, snapshot)
    plan = _plan(frozen, snapshot, format_, parts, colour=_has_colour(session, frozen))
    writer, stems = WRITERS[format_](plan), _Stems()
    entries, left_out = [], []
    # Closed before its file in any case: a zip that is given up would write its end when it is collected.
    with tempfile.TemporaryFile() as file, Archive(file) as archive:
        for done, each in enumerate(frozen.volumes):
            report(done, len(frozen.volumes), f"writing {each.patient} {each.volume}")
            volume = session.get_one(Volume, uuid.UUID(each.id))
            masks, derived = _masks(session, blobs, volume, each, plan, interpolate)
            if not masks:
                continue
            stem = stems.unique(f"{each.patient}_{each.volume}")
            try:
                written = writer.add_volume(archive, _export_volume(blobs, volume, each, stem, masks))
            except VolumeNotExportable as refused:
                left_out.append({"patient": each.patient, "volume": each.volume, "reason": refused.reason})
            else:
                entries.append(_entry(each, plan, written, derived))
        if not entries:
            reason = left_out[0]["reason"] if left_out else f"nothing in it has {' or '.join(plan.parts)}"
            raise ExportRefused(f"no volume of the snapshot can be written as {format_}: {reason}")
        writer.finish(archive)
        archive.add_json("manifest.json", _manifest(frozen, snapshot, format_, plan, archive, entries, left_out))
        archive.close()
        file.seek(0)
        return blobs.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""))


def predicted_volume(blobs: BlobStore, volume: Volume, mask_key: str) -> NDArray[np.uint8]:
    """A stored prediction as a (Z, H, W) mask."""
    import numpy as np

    content = zlib.decompress(blobs.get(mask_key), 31)
    return np.frombuffer(content, dtype=np.uint8).reshape(volume.depth, volume.height, volume.width)


def _masks(
    session: Session,
    blobs: BlobStore,
    volume: Volume,
    frozen: FrozenVolume,
    plan: ExportPlan,
    interpolate: Interpolate,
) -> tuple[dict[ExportPart, NDArray[np.uint8]], dict[str, dict[str, str]]]:
    """The masks of the parts that the volume has, and for derived ones what each slice was made from."""
    import numpy as np

    drawn = {int(index): uuid.UUID(each.version) for index, each in frozen.slices.items()}
    annotated = lay_masks(session, blobs, volume, drawn) if drawn else None
    predicted = None if frozen.prediction is None else predicted_volume(blobs, volume, frozen.prediction.mask_key)
    masks: dict[ExportPart, NDArray[np.uint8]] = {}
    derived: dict[str, dict[str, str]] = {}
    for part in plan.parts:
        if part == ExportPart.ANNOTATIONS and annotated is not None:
            masks[part] = annotated
        elif part == ExportPart.PREDICTIONS and predicted is not None:
            masks[part] = predicted
        elif part == ExportPart.MERGED and predicted is not None:
            masks[part] = predicted if annotated is None else np.where(annotated == UNLABELLED, predicted, annotated)
            full = set() if annotated is None else _full_slices(annotated)
            derived[part] = {
                str(z): "annotated" if z in full else "annotated and predicted" if z in drawn else "predicted"
                for z in range(volume.depth)
            }
        elif part == ExportPart.INTERPOLATED and annotated is not None and _full_slices(annotated):
            known = sorted(_full_slices(annotated))
            spacing = (1.0, 1.0) if volume.spacing_mm is None else (volume.spacing_mm[1], volume.spacing_mm[2])
            kept = np.full_like(annotated, UNLABELLED)
            kept[known] = annotated[known]
            masks[part] = interpolate(kept, known, [each.value for each in plan.classes], spacing)
            derived[part] = {
                str(z): "annotated" if z in known else "interpolated" for z in range(known[0], known[-1] + 1)
            }
    return masks, derived


def _full_slices(annotated: NDArray[np.uint8]) -> set[int]:
    return {z for z, plane in enumerate(annotated) if not (plane == UNLABELLED).any()}


def _export_volume(
    blobs: BlobStore,
    volume: Volume,
    frozen: FrozenVolume,
    stem: str,
    masks: dict[ExportPart, NDArray[np.uint8]],
) -> ExportVolume:
    pack = volume_pack(volume)

    def read_grey(index: int) -> NDArray[np.uint8]:
        plane = planes.read_plane(blobs, pack, index)
        return planes.window_plane(plane, volume.window_low, volume.window_high, volume.slope, volume.intercept)

    return ExportVolume(
        patient=frozen.patient,
        name=frozen.volume,
        split=Split(frozen.split),
        stem=stem,
        geometry=volume_geometry(volume),
        masks=masks,
        model_version="" if frozen.prediction is None else str(frozen.prediction.round_number),
        slope=volume.slope,
        intercept=volume.intercept,
        original_name=volume.original_name,
        read_image=lambda: planes.read_volume(blobs, pack),
        read_grey=read_grey,
        read_original=lambda: blobs.get(volume.original_key),
    )


def _has_colour(session: Session, frozen: FrozenProject) -> bool:
    labelled = [uuid.UUID(each.id) for each in frozen.volumes if each.slices or each.prediction]
    return any(session.get_one(Volume, volume).channels == 3 for volume in labelled)


def _plan(
    frozen: FrozenProject, snapshot: Snapshot, format_: ExportFormat, parts: Sequence[ExportPart], *, colour: bool
) -> ExportPlan:
    classes = sorted(
        (
            ExportClass(int(each["value"]), str(each["name"]), _colour(str(each["color"])))
            for each in frozen.label_schema
        ),
        key=lambda each: each.value,
    )
    seal = f"{snapshot.id}/{format_}"
    return ExportPlan(frozen.project, tuple(classes), tuple(parts), snapshot.created_at.isoformat(), seal, colour)


def _colour(text: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def _entry(
    frozen: FrozenVolume, plan: ExportPlan, written: dict[str, Any], derived: dict[str, dict[str, str]]
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "patient": frozen.patient,
        "volume": frozen.volume,
        "split": frozen.split,
        "original_sha256": frozen.original_sha256,
        "written": written,
    }
    if frozen.slices:
        entry["annotated_slices"] = {
            index: vars(each) for index, each in sorted(frozen.slices.items(), key=lambda item: int(item[0]))
        }
    if frozen.prediction is not None and set(plan.parts) & {ExportPart.PREDICTIONS, ExportPart.MERGED}:
        prediction = frozen.prediction
        entry["prediction"] = {
            "round": prediction.round,
            "round_number": prediction.round_number,
            "models": prediction.models,
        }
    if derived:
        entry["derived"] = derived
    return entry


def _manifest(
    frozen: FrozenProject,
    snapshot: Snapshot,
    format_: ExportFormat,
    plan: ExportPlan,
    archive: Archive,
    entries: list[dict[str, Any]],
    left_out: list[dict[str, str]],
) -> dict[str, Any]:
    return {
        "project": frozen.project,
        "snapshot": {"id": str(snapshot.id), "name": snapshot.name, "taken_at": plan.taken_at},
        "format": format_,
        "parts": list(plan.parts),
        "derived_parts": [part for part in plan.parts if part in _DERIVED],
        "label_schema": frozen.label_schema,
        "unlabelled_value": UNLABELLED,
        "software": f"nextslice {version_of('nextslice')}",
        "volumes": entries,
        "left_out": left_out,
        "sha256": dict(sorted(archive.checksums.items())),
    }


class _Stems:
    """File names made from patients and volumes, which are free text: none climbs out of its folder, none twice."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def unique(self, text: str) -> str:
        stem = "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in text)
        # Compared without case: on some disks two names that differ in it alone are one file.
        for candidate in _numbered(stem):
            if candidate.casefold() not in self._used:
                self._used.add(candidate.casefold())
                return candidate
        raise AssertionError("unreachable")


def _numbered(stem: str) -> Iterator[str]:
    yield stem
    number = 2
    while True:
        yield f"{stem}_{number}"
        number += 1

"""Exports: annotations and predictions as NIfTI in the original geometry, with a manifest of where each is from."""

from __future__ import annotations

import hashlib
import json
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from sqlalchemy.orm import Session

from app.db.models import Project, Round, Volume
from app.formats.nifti import write_nifti
from app.names import UNLABELLED
from app.services.annotations import current_versions, read_mask_body
from app.services.predictions import latest_prediction
from app.services.volumes import list_volumes, volume_geometry
from app.storage.blobs import CHUNK_BYTES, BlobStore, StoredBlob
from app.storage.masks import decode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Report = Callable[[int, int, str], None]


def build_export(session: Session, blobs: BlobStore, project: Project, report: Report) -> StoredBlob:
    """A zip of `annotations/PATIENT_VOLUME.nii.gz`, `predictions/...` and `manifest.json`, stored as one blob.

    The session must be one transaction, so that the export is a snapshot. Memory: one volume's masks.
    """
    volumes = list_volumes(session, project)
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            entries = []
            for done, volume in enumerate(volumes):
                report(done, len(volumes), f"writing {volume.patient.code} {volume.name}")
                entries.append(_add_volume(session, blobs, archive, volume))
            manifest = {
                "project": project.slug,
                "label_schema": project.label_schema,
                "unlabelled_value": UNLABELLED,
                "volumes": entries,
            }
            archive.writestr("manifest.json", json.dumps(manifest, indent=2, sort_keys=True))
        file.seek(0)
        return blobs.put_stream(iter(lambda: file.read(CHUNK_BYTES), b""))


def annotated_volume(session: Session, blobs: BlobStore, volume: Volume) -> NDArray[np.uint8]:
    """The current annotations of a volume as one (Z, H, W) mask, 255 where nothing is labelled."""
    import numpy as np

    mask = np.full((volume.depth, volume.height, volume.width), UNLABELLED, dtype=np.uint8)
    for index, version in current_versions(session, volume).items():
        mask[index] = decode_mask(read_mask_body(session, blobs, version.id), (volume.height, volume.width))
    return mask


def predicted_volume(blobs: BlobStore, volume: Volume, mask_key: str) -> NDArray[np.uint8]:
    """A stored prediction as a (Z, H, W) mask."""
    import numpy as np

    content = zlib.decompress(blobs.get(mask_key), 31)
    return np.frombuffer(content, dtype=np.uint8).reshape(volume.depth, volume.height, volume.width)


def _add_volume(session: Session, blobs: BlobStore, archive: zipfile.ZipFile, volume: Volume) -> dict[str, Any]:
    stem = _file_stem(f"{volume.patient.code}_{volume.name}")
    entry: dict[str, Any] = {
        "patient": volume.patient.code,
        "volume": volume.name,
        "split": volume.patient.split,
        "original_sha256": volume.original_sha256,
    }
    versions = current_versions(session, volume)
    if versions:
        entry["annotations"] = {
            "slices": {
                str(index): {
                    "version": str(version.id),
                    "kind": version.kind,
                    "author": version.author,
                    "source": version.source,
                    "at": version.created_at.isoformat(),
                }
                for index, version in versions.items()
            },
            **_write_member(archive, f"annotations/{stem}.nii.gz", annotated_volume(session, blobs, volume), volume),
        }
    prediction = latest_prediction(session, volume)
    if prediction is not None:
        mask = predicted_volume(blobs, volume, prediction.mask_key)
        entry["prediction"] = {
            "round": str(prediction.round_id),
            "model_version": session.get_one(Round, prediction.round_id).number,
            **_write_member(archive, f"predictions/{stem}.nii.gz", mask, volume),
        }
    return entry


def _write_member(archive: zipfile.ZipFile, name: str, mask: NDArray[np.uint8], volume: Volume) -> dict[str, str]:
    content = write_nifti(mask, volume_geometry(volume))
    archive.writestr(name, content)
    return {"file": name, "sha256": hashlib.sha256(content).hexdigest()}


def _file_stem(text: str) -> str:
    # Patient codes are free text; a name in an archive must not climb out of the folder it is unpacked into.
    return "".join(character if character.isalnum() or character in "-_" else "_" for character in text)

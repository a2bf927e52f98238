"""NIfTI in the original geometry: one file a volume and part, 255 where nothing is labelled."""

from __future__ import annotations

from typing import Any

from app.exports.archive import Archive
from app.exports.records import ExportPlan, ExportVolume
from app.formats.nifti import write_nifti


class NiftiWriter:
    """`annotations/PATIENT_VOLUME.nii.gz`, `predictions/...` and so on."""

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """One file a part."""
        return {
            part.value: archive.add(f"{part}/{volume.stem}.nii.gz", write_nifti(mask, volume.geometry))
            for part, mask in volume.masks.items()
        }

    def finish(self, archive: Archive) -> None:
        """Nothing describes the whole but the manifest."""

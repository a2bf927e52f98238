"""The table of export formats."""

from __future__ import annotations

from collections.abc import Callable

from app.exports.dicom_seg import DicomSegWriter
from app.exports.nifti import NiftiWriter
from app.exports.nnunet import NnUNetWriter
from app.exports.pictures import CocoWriter, LabelStudioWriter, PngWriter
from app.exports.records import ExportPlan, Writer
from app.names import ExportFormat

WRITERS: dict[ExportFormat, Callable[[ExportPlan], Writer]] = {
    ExportFormat.NIFTI: NiftiWriter,
    ExportFormat.DICOM_SEG: DicomSegWriter,
    ExportFormat.NNUNET: NnUNetWriter,
    ExportFormat.PNG: PngWriter,
    ExportFormat.COCO: CocoWriter,
    ExportFormat.LABEL_STUDIO: LabelStudioWriter,
}

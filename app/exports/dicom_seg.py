"""DICOM segmentations that open beside the series that they label."""

from __future__ import annotations

import io
import warnings
import zipfile
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from app.errors import MissingExtra, NotAnImage, VolumeNotExportable
from app.exports.archive import Archive
from app.exports.records import ExportPlan, ExportVolume
from app.formats.dicom import DicomVolume, find_dicom_volumes, load_dicom_volume
from app.formats.image import from_stack
from app.names import ExportPart

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SERIES_NUMBER = 700  # far above what scanners count to; a part adds its place


class DicomSegWriter:
    """`PART/PATIENT_VOLUME.dcm` for every volume that was read from DICOM: binary, one segment a class but background.

    It refers to the series as it is kept here, de-identified unless the project keeps it untouched. Pixels that nobody
    labelled are in no segment, as background is: the standard has no word for them. Planes without a segment are left
    out. Segments are numbered 1, 2, 3 ... in the order of the classes and bear their names.
    """

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._values = [each.value for each in plan.classes if each.value]

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """One file a part; raises `VolumeNotExportable` for a volume that is of another format."""
        if not volume.original_name.endswith(".zip"):
            raise VolumeNotExportable(volume.patient, volume.name, "it was not read from a DICOM series")
        with TemporaryDirectory(prefix="nextslice-") as folder:
            series = _find_series(volume, Path(folder))
            return {
                part.value: archive.add(f"{part}/{volume.stem}.dcm", self._encode(volume, series, part, mask))
                for part, mask in volume.masks.items()
            }

    def finish(self, archive: Archive) -> None:
        """Segments describe themselves."""

    def _encode(self, volume: ExportVolume, series: DicomVolume, part: ExportPart, mask: NDArray[np.uint8]) -> bytes:
        try:
            from highdicom.seg import Segmentation
            from pydicom.uid import generate_uid
        except ImportError:
            raise MissingExtra("DICOM segmentations", "dicom") from None
        seed = [self._plan.seal, volume.original_name, volume.patient, volume.name, part.value]
        sources, frames = self._frames(series, mask, volume)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of attributes that scanners write and the standard does not want
                segmentation = Segmentation(
                    source_images=sources,
                    pixel_array=frames,
                    segmentation_type="BINARY",
                    segment_descriptions=list(self._describe_segments(part)),
                    series_instance_uid=generate_uid(entropy_srcs=[*seed, "series"]),
                    series_number=_SERIES_NUMBER + list(ExportPart).index(part),
                    sop_instance_uid=generate_uid(entropy_srcs=[*seed, "instance"]),
                    instance_number=1,
                    manufacturer="NextSlice",
                    manufacturer_model_name="NextSlice",
                    software_versions=version("nextslice"),
                    device_serial_number="0",
                    series_description=f"{self._plan.project}: {part}"[:64],
                    content_label="SEGMENTATION",
                    omit_empty_frames=True,
                )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"its series cannot be referred to: {error}"
            raise VolumeNotExportable(volume.patient, volume.name, reason) from None
        _date(segmentation, self._plan.taken_at)
        _name_dimensions(segmentation, generate_uid(entropy_srcs=[*seed, "dimensions"]))
        out = io.BytesIO()
        segmentation.save_as(out)
        return out.getvalue()

    def _frames(
        self, series: DicomVolume, mask: NDArray[np.uint8], volume: ExportVolume
    ) -> tuple[list[Any], NDArray[np.uint8]]:
        """The source files, and for each of their frames the (rows, columns) plane of segment numbers."""
        import numpy as np
        from pydicom import dcmread

        table = np.zeros(256, dtype=np.uint8)
        for number, value in enumerate(self._values, start=1):
            table[value] = number
        voxels = from_stack(table[mask], volume.geometry.axis)  # (columns, rows, pictures)
        paths = list(dict.fromkeys(picture.path for picture in series.pictures))
        sources = [dcmread(path) for path in paths]
        if len(paths) == len(series.pictures):
            return sources, np.ascontiguousarray(voxels.transpose(2, 1, 0))
        if len(paths) > 1:
            raise VolumeNotExportable(volume.patient, volume.name, "its series is made of several multi-frame files")
        frames = np.zeros((int(sources[0].NumberOfFrames), *voxels.shape[1::-1]), dtype=np.uint8)
        for index, picture in enumerate(series.pictures):
            frames[picture.frame] = voxels[:, :, index].T
        return sources, frames

    def _describe_segments(self, part: ExportPart) -> Iterable[Any]:
        from highdicom.content import AlgorithmIdentificationSequence
        from highdicom.seg import SegmentDescription
        from pydicom.sr.codedict import codes

        drawn = part == ExportPart.ANNOTATIONS
        name_of = {each.value: each.name for each in self._plan.classes}
        for number, value in enumerate(self._values, start=1):
            yield SegmentDescription(
                segment_number=number,
                segment_label=name_of[value][:64],
                segmented_property_category=codes.SCT.AnatomicalStructure,
                segmented_property_type=codes.SCT.Tissue,  # what a class is called is the project's own word
                algorithm_type="MANUAL" if drawn else "SEMIAUTOMATIC",
                algorithm_identification=None
                if drawn
                else AlgorithmIdentificationSequence(
                    name=f"NextSlice {part}",
                    family=codes.DCM.ArtificialIntelligence,
                    version=version("nextslice"),
                ),
            )


def _find_series(volume: ExportVolume, folder: Path) -> DicomVolume:
    """The series that a volume was read from, unpacked from what is kept of it."""
    import numpy as np

    try:
        with zipfile.ZipFile(io.BytesIO(volume.read_original())) as archive:
            for number, member in enumerate(archive.infolist()):
                (folder / f"{number:06d}.dcm").write_bytes(archive.read(member))
    except zipfile.BadZipFile:
        raise VolumeNotExportable(volume.patient, volume.name, "it was not read from a DICOM series") from None
    try:
        found, _ = find_dicom_volumes(folder)
    except NotAnImage:
        found = ()
    columns, rows, pictures = volume.geometry.shape
    alike = [
        each for each in found if (each.group.columns, each.group.rows, len(each.pictures)) == (columns, rows, pictures)
    ]
    if len(alike) > 1:  # one multi-frame file of several b-values: only the pixels tell which was taken
        stored = from_stack(volume.read_image(), volume.geometry.axis)
        alike = [each for each in alike if np.array_equal(load_dicom_volume(each).voxels, stored)]
    if len(alike) != 1:
        raise VolumeNotExportable(volume.patient, volume.name, "it was not read from a DICOM series")
    return alike[0]


def _date(segmentation: Any, taken_at: str) -> None:
    """The snapshot's moment in place of this one: the same snapshot gives the same bytes."""
    day, clock = taken_at[:10].replace("-", ""), taken_at[11:19].replace(":", "")
    for element in segmentation.iterall():
        if element.keyword in {"ContentDate", "InstanceCreationDate", "SeriesDate"}:
            element.value = day
        elif element.keyword in {"ContentTime", "InstanceCreationTime", "SeriesTime"}:
            element.value = clock
        elif element.keyword == "ContributionDateTime":
            element.value = day + clock


def _name_dimensions(segmentation: Any, uid: str) -> None:
    for element in segmentation.iterall():
        if element.keyword == "DimensionOrganizationUID":
            element.value = uid

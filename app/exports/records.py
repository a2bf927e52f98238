"""What a format is given to write: one volume at a time, with its masks and the way to its pixels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from app.exports.archive import Archive
from app.formats.image import Geometry
from app.names import ExportPart, Split

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class ExportClass:
    """One class of the label schema; the colour is (red, green, blue), 0 to 255."""

    value: int
    name: str
    colour: tuple[int, int, int]


@dataclass(frozen=True)
class ExportPlan:
    """What holds for the whole of an export. `seal` is unique to it and made from what it holds, for ids in files.

    `colour` says whether any volume of it has three channels.
    """

    project: str
    classes: tuple[ExportClass, ...]  # background first
    parts: tuple[ExportPart, ...]
    taken_at: str  # of the snapshot; UTC, RFC 3339
    seal: str
    colour: bool = False


@dataclass(frozen=True, eq=False)
class ExportVolume:
    """One volume: `masks` has a uint8 (Z, H, W) mask of each part that it has, 255 where nothing is known.

    `stem` is a safe file name, unique in the export. `read_image` gives the stored voxels, (Z, H, W) or (Z, H, W, 3);
    `read_grey` a slice as uint8 in the volume's window; `read_original` the file as it was taken in.
    """

    patient: str
    name: str
    split: Split
    stem: str
    geometry: Geometry
    masks: Mapping[ExportPart, NDArray[np.uint8]]
    model_version: str  # of the predictions; "" where there is none
    slope: float
    intercept: float
    original_name: str
    read_image: Callable[[], NDArray[Any]]
    read_grey: Callable[[int], NDArray[np.uint8]]
    read_original: Callable[[], bytes]


class Writer(Protocol):
    """Writes the volumes of one export in one format.

    `add_volume` gives facts about what it wrote for the manifest and raises `VolumeNotExportable`; `finish` writes
    what describes the whole.
    """

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """Write one volume."""
        ...

    def finish(self, archive: Archive) -> None:
        """Write what comes last."""
        ...

"""Phantom hearts: small generated scans with the group structure of real ones, free to show and to share.

Patients differ in size, place, tissue brightness, texture and coil shading; a patient's two volumes (ED and ES) show
the same heart relaxed and contracted; neighbouring slices resemble each other while the shape shrinks from base to
apex. Classes: a crescent (RV), a ring (Myo) and the blood pool within (LV). Everything follows from the seed.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.datasets.acdc import CLASSES, SCRIBBLE_UNLABELLED, list_acdc
from app.datasets.records import SPLITS, DatasetListing
from app.datasets.splits import FRACTIONS, draw_splits
from app.errors import DatasetUnreadable
from app.formats.image import Geometry
from app.formats.nifti import write_nifti
from app.storage.masks import UNLABELLED

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SPACING_MM = (10.0, 1.5, 1.5)  # (z, y, x), as in cine MR
_KINDS = ("normal", "dilated", "thick")
_FRAMES = {"ED": 1, "ES": 9}
_RECIPE = "phantom.json"
_BACKGROUND, _RV, _MYO, _LV = (label.value for label in CLASSES)


@dataclass(frozen=True)
class PhantomConfig:
    """How many patients, and volumes of which size; lengths in pixels."""

    patients: int = 12
    slices: int = 8
    height: int = 64
    width: int = 64
    noise: float = 0.05  # standard deviation, as a share of the brightest tissue
    seed: int = 0
    fractions: tuple[float, float, float] = FRACTIONS


@dataclass(frozen=True, eq=False)
class PhantomVolume:
    """One volume: image int16, mask and scribble uint8 (255 = unlabelled), all (Z, H, W)."""

    image: NDArray[np.int16]
    mask: NDArray[np.uint8]
    scribble: NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class _Heart:
    """What makes a patient; lengths as shares of the smaller side of the slice."""

    kind: str
    centre: tuple[float, float]  # (row, column), 0-1
    radius: float  # of the relaxed blood pool at the base
    wall: float
    rv_angle: float  # radians; where the right ventricle sits around the left
    drift: tuple[float, float]  # of the centre from base to apex
    tissue: dict[int, float]
    body: float
    waves: NDArray[np.float64]  # (wave, [amplitude, row frequency, column frequency, phase])
    bias: NDArray[np.float64]  # (3,) shading along row, column and their product


def list_phantoms(path: Path, *, seed: int = 0, config: PhantomConfig | None = None) -> DatasetListing:
    """The phantoms in a folder, written there first if it is empty or absent.

    Raises `DatasetUnreadable` where the folder holds anything but the phantoms of this recipe.
    """
    write_phantoms(path, config or PhantomConfig(seed=seed))
    return list_acdc(path, name="phantom")


def write_phantoms(path: Path, config: PhantomConfig) -> None:
    """Write the phantoms in ACDC's layout; nothing is done where these very phantoms are complete already."""
    recipe = json.dumps(asdict(config), sort_keys=True)
    if (path / _RECIPE).is_file():
        if (path / _RECIPE).read_text(encoding="utf-8") == recipe:
            return
        raise DatasetUnreadable("phantom", str(path), "it holds phantoms of another recipe; choose an empty folder")
    if path.is_dir() and any(path.iterdir()) and not (path / "training").is_dir():
        raise DatasetUnreadable("phantom", str(path), "it holds something else; choose an empty folder")
    names = [f"patient{number:03d}" for number in range(1, config.patients + 1)]
    for number, name in enumerate(names):
        _write_patient(path / "training" / name, config, number)
    split_of = draw_splits(names, config.seed, config.fractions)
    for file_name, split in zip(("train.txt", "val.txt", "test.txt"), SPLITS, strict=True):
        members = [name for name in names if split_of[name] == split]
        (path / file_name).write_text("".join(f"{name}\n" for name in members), encoding="utf-8")
    # Last, so that a folder left half written is written again.
    (path / _RECIPE).write_text(recipe, encoding="utf-8")


def make_phantom(config: PhantomConfig, patient: int, phase: str) -> PhantomVolume:
    """The volume of patient number `patient` (from 0) in phase "ED" or "ES"; equal arguments give equal voxels."""
    import numpy as np

    heart = _make_heart(np.random.default_rng([config.seed, patient]), patient)
    # The phase has a stream of its own, so that a patient's texture is the same in both and its noise is not.
    generator = np.random.default_rng([config.seed, patient, 1 + list(_FRAMES).index(phase)])
    shape = (config.slices, config.height, config.width)
    image, mask = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    scribble = np.full(shape, UNLABELLED, np.uint8)
    for z in range(config.slices):
        depth = z / max(config.slices - 1, 1)
        plane = _Plane(config, heart, depth, contracted=phase == "ES")
        mask[z] = plane.draw_mask()
        image[z] = plane.draw_image(mask[z], generator)
        plane.draw_scribbles(mask[z], scribble[z], generator)
    return PhantomVolume(image, mask, scribble)


def _write_patient(folder: Path, config: PhantomConfig, patient: int) -> None:
    import numpy as np

    folder.mkdir(parents=True, exist_ok=True)
    shape = (config.width, config.height, config.slices)
    affine = tuple(tuple(row) for row in np.diag([-_SPACING_MM[2], -_SPACING_MM[1], _SPACING_MM[0], 1.0]).tolist())
    geometry = Geometry(shape, 2, affine, _SPACING_MM)
    for phase, frame in _FRAMES.items():
        volume = make_phantom(config, patient, phase)
        scribble = np.where(volume.scribble == UNLABELLED, np.uint8(SCRIBBLE_UNLABELLED), volume.scribble)
        for suffix, stack in (("", volume.image), ("_gt", volume.mask), ("_scribble", scribble)):
            path = folder / f"{folder.name}_frame{frame:02d}{suffix}.nii.gz"
            path.write_bytes(write_nifti(stack, geometry))
    info = {phase: str(frame) for phase, frame in _FRAMES.items()} | {"Group": _KINDS[patient % len(_KINDS)]}
    (folder / "Info.cfg").write_text("".join(f"{k}: {v}\n" for k, v in info.items()), encoding="utf-8")


def _make_heart(generator: np.random.Generator, patient: int) -> _Heart:
    import numpy as np

    kind = _KINDS[patient % len(_KINDS)]
    uniform = generator.uniform
    return _Heart(
        kind=kind,
        centre=(uniform(0.46, 0.56), uniform(0.50, 0.60)),
        radius=uniform(0.10, 0.13) * (1.35 if kind == "dilated" else 1.0),
        wall=uniform(0.045, 0.060) * (1.5 if kind == "thick" else 1.0),
        rv_angle=np.pi + uniform(-0.5, 0.5),
        drift=(uniform(-0.05, 0.05), uniform(-0.05, 0.05)),
        tissue={
            _BACKGROUND: uniform(0.15, 0.40),
            _RV: uniform(0.75, 0.90),
            _MYO: uniform(0.30, 0.50),
            _LV: uniform(0.80, 1.00),
        },
        body=uniform(0.40, 0.47),
        waves=np.stack([uniform(0.02, 0.05, 6), *uniform(-9, 9, (2, 6)), uniform(0, 2 * np.pi, 6)], axis=1),
        bias=uniform(-0.3, 0.3, 3),
    )


class _Plane:
    """One slice of a heart: its outlines, and how it is drawn. `depth` runs from 0 (base) to 1 (apex)."""

    def __init__(self, config: PhantomConfig, heart: _Heart, depth: float, *, contracted: bool) -> None:
        import numpy as np

        self._config, self._heart, self._depth = config, heart, depth
        self._side = min(config.height, config.width)
        taper = 1.0 - 0.65 * depth**1.5
        pool = heart.radius * taper * (0.68 if contracted else 1.0)
        wall = heart.wall * (0.6 + 0.4 * taper) * (1.35 if contracted else 1.0)
        self._pool, self._outer = pool * self._side, (pool + wall) * self._side
        self._row = (heart.centre[0] + heart.drift[0] * depth) * config.height
        self._column = (heart.centre[1] + heart.drift[1] * depth) * config.width
        # The crescent ends above the apex, as a right ventricle does.
        self._rv = max(0.0, 1.0 - depth / 0.85) ** 0.5 * (0.85 if contracted else 1.0)
        rows, columns = np.mgrid[: config.height, : config.width].astype(np.float64)
        self._rows, self._columns = rows, columns
        self._distance = np.hypot(rows - self._row, columns - self._column)

    def draw_mask(self) -> NDArray[np.uint8]:
        """The (H, W) classes."""
        import numpy as np

        mask = np.full(self._distance.shape, _BACKGROUND, np.uint8)
        if self._rv > 0:
            row, column, long, short = self._rv_ellipse()
            along, across = np.sin(self._heart.rv_angle), np.cos(self._heart.rv_angle)
            u = (self._rows - row) * across - (self._columns - column) * along
            v = (self._rows - row) * along + (self._columns - column) * across
            mask[(u / long) ** 2 + (v / short) ** 2 <= 1] = _RV
        mask[self._distance <= self._outer] = _MYO
        mask[self._distance <= self._pool] = _LV
        return mask

    def draw_image(self, mask: NDArray[np.uint8], generator: np.random.Generator) -> NDArray[np.int16]:
        """The (H, W) image of a mask: tissue, texture, soft edges, shading, noise."""
        import numpy as np

        config, heart = self._config, self._heart
        tissue = np.array([heart.tissue[value] for value in range(len(CLASSES))])[mask]
        y, x = self._rows / config.height - 0.5, self._columns / config.width - 0.5
        outside = np.hypot(y, x * 0.9) > heart.body
        tissue[outside & (mask == _BACKGROUND)] = 0.03
        for amplitude, row_frequency, column_frequency, phase in heart.waves:
            turn = row_frequency * y + column_frequency * x + self._depth
            tissue += amplitude * np.sin(2 * np.pi * turn + phase) * ~outside
        soft = (_shifted_sum(tissue, 0) + _shifted_sum(tissue, 1)) / 6
        shaded = soft * (1 + heart.bias[0] * y + heart.bias[1] * x + heart.bias[2] * 4 * y * x)
        # The length of a complex signal with noise in both parts, as in magnitude MR.
        noise = generator.normal(0.0, config.noise, (2, *shaded.shape))
        magnitude = np.hypot(shaded + noise[0], noise[1])
        rounded: NDArray[np.int16] = np.rint(magnitude * 600).astype(np.int16)
        return rounded

    def draw_scribbles(
        self, mask: NDArray[np.uint8], scribble: NDArray[np.uint8], generator: np.random.Generator
    ) -> None:
        """Draw one thin curve inside each class of the mask and a loop around the heart; the rest stays unlabelled."""
        import numpy as np

        whole, start = 2 * np.pi, generator.uniform(0, 2 * np.pi)
        middle = (self._pool + self._outer) / 2
        _, _, long, short = self._rv_ellipse()
        reach = self._outer + 2.2 * short * (self._rv > 0)
        span = 0.6 * long / max(self._outer, 1.0)
        self._arc(mask, scribble, _LV, 0.5 * self._pool, start, start + generator.uniform(0.5, 0.9) * whole)
        self._arc(mask, scribble, _MYO, middle, start, start + generator.uniform(0.5, 0.9) * whole)
        angle = self._heart.rv_angle
        self._arc(mask, scribble, _RV, self._outer + 0.45 * short, angle - span, angle + span)
        self._arc(mask, scribble, _BACKGROUND, reach + 0.06 * self._side, 0.0, whole)
        for value in np.setdiff1d(np.unique(mask), np.unique(scribble)):
            here = np.argwhere(mask == value)
            row, column = here[np.abs(here - here.mean(axis=0)).sum(axis=1).argmin()]
            scribble[row, column] = value

    def _rv_ellipse(self) -> tuple[float, float, float, float]:
        """Row and column of its centre, half its length along the septum and half its width, in pixels."""
        import numpy as np

        long = max(self._rv * 1.15 * self._outer, 1.0)
        short = max(self._rv * 0.55 * self._outer, 0.5)
        away = self._outer + 0.25 * short
        row = self._row + away * np.sin(self._heart.rv_angle)
        column = self._column + away * np.cos(self._heart.rv_angle)
        return float(row), float(column), float(long), float(short)

    def _arc(
        self, mask: NDArray[np.uint8], scribble: NDArray[np.uint8], value: int, radius: float, start: float, end: float
    ) -> None:
        import numpy as np

        angles = np.linspace(start, end, max(int(abs(end - start) * radius * 2), 2))
        rows = np.rint(self._row + radius * np.sin(angles)).astype(int)
        columns = np.rint(self._column + radius * np.cos(angles)).astype(int)
        inside = (rows >= 0) & (rows < mask.shape[0]) & (columns >= 0) & (columns < mask.shape[1])
        rows, columns = rows[inside], columns[inside]
        own = mask[rows, columns] == value
        scribble[rows[own], columns[own]] = value


def _shifted_sum(plane: NDArray[np.float64], axis: int) -> NDArray[Any]:
    import numpy as np

    padded = np.pad(plane, [(1, 1) if a == axis else (0, 0) for a in (0, 1)], mode="edge")
    before, after = (np.take(padded, range(s, s + plane.shape[axis]), axis=axis) for s in (0, 2))
    total: NDArray[Any] = before + plane + after
    return total

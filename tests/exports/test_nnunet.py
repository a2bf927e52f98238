"""The names of nnU-Net's labels: two of them are its own."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np
import pytest

from app.exports.archive import Archive
from app.exports.nnunet import NnUNetWriter
from app.exports.records import ExportClass, ExportPlan, ExportVolume
from app.formats.image import Geometry
from app.names import UNLABELLED, ExportPart, Split

_AFFINE = tuple(tuple(row) for row in np.diag([-1.0, -1.0, 1.0, 1.0]).tolist())
_GEOMETRY = Geometry((2, 2, 1), 2, _AFFINE, (1.0, 1.0, 1.0))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("nothing", "first", "second"), {"background": 0, "first": 1, "second": 2, "ignore": 3}),
        (("background", "ignore"), {"background": 0, "ignore 20": 1, "ignore": 2}),
        (("nothing", "background"), {"background": 0, "background 20": 1, "ignore": 2}),
        (("nothing", "ignore", "ignore 20"), {"background": 0, "ignore 20'": 1, "ignore 20": 2, "ignore": 3}),
    ],
)
def test_no_class_is_lost_to_a_name_of_nnunets_own(names: tuple[str, ...], expected: dict[str, int]) -> None:
    classes = tuple(ExportClass(20 * number, name, (0, 0, 0)) for number, name in enumerate(names))
    mask = np.array([[[0, 20], [20, UNLABELLED]]], np.uint8)
    volume = ExportVolume(
        patient="Müller",
        name="v",
        split=Split.TRAIN,
        stem="p_v",
        geometry=_GEOMETRY,
        masks={ExportPart.ANNOTATIONS: mask},
        model_version="",
        slope=1.0,
        intercept=0.0,
        original_name="v.nii",
        read_image=lambda: np.zeros((1, 2, 2), np.int16),
        read_grey=lambda _: np.zeros((2, 2), np.uint8),
        read_original=lambda: b"",
    )
    writer = NnUNetWriter(ExportPlan("p", classes, (ExportPart.ANNOTATIONS,), "2026-01-01T00:00:00Z", "s"))
    file = io.BytesIO()
    archive = Archive(file)
    writer.add_volume(archive, volume)
    writer.finish(archive)
    archive.close()
    description = json.loads(zipfile.ZipFile(file).read("Dataset001_p/dataset.json"))
    assert description["labels"] == expected
    assert sorted(expected.values()) == list(range(len(names) + 1))

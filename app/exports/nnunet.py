"""A raw data set of nnU-Net version 2: consecutive labels, and an ignore label where nobody labelled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.exports.archive import Archive
from app.exports.records import ExportClass, ExportPlan, ExportVolume
from app.formats.nifti import write_nifti
from app.names import UNLABELLED, Split


class NnUNetWriter:
    """`Dataset001_NAME` with `imagesTr`, `labelsTr` (test patients: `imagesTs`, `labelsTs`) and its two JSON files.

    nnU-Net wants labels 0, 1, 2 ... without gaps and the ignore label above them, so classes are numbered in rising
    order; it is declared only where it occurs. The one fold of the splits is the project's train and validation.
    """

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._part = plan.parts[0]
        self._root = f"Dataset001_{plan.project}"
        self._ignores = False
        self._cases: dict[Split, list[str]] = {split: [] for split in Split}

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """The image, one file a channel, and its labels."""
        import numpy as np

        mask = volume.masks[self._part]
        table = np.zeros(256, dtype=np.uint8)
        for label, each in enumerate(self._plan.classes):
            table[each.value] = label
        table[UNLABELLED] = len(self._plan.classes)
        labels = table[mask]
        self._ignores |= bool((mask == UNLABELLED).any())
        place = "Ts" if volume.split == Split.TEST else "Tr"
        image = volume.read_image()
        # nnU-Net takes one number of channels: beside pictures in colour a grey one is red, green and blue alike.
        count = 3 if self._plan.colour else 1
        channels = [image if image.ndim == 3 else image[..., channel] for channel in range(count)]
        files = []
        for number, channel in enumerate(channels):
            content = write_nifti(channel, volume.geometry, slope=volume.slope, intercept=volume.intercept)
            files.append(archive.add(f"{self._root}/images{place}/{volume.stem}_{number:04d}.nii.gz", content))
        labels_file = f"{self._root}/labels{place}/{volume.stem}.nii.gz"
        archive.add(labels_file, write_nifti(labels, volume.geometry))
        self._cases[volume.split].append(volume.stem)
        return {"images": files, "labels": labels_file}

    def finish(self, archive: Archive) -> None:
        """The description of the data set and its split."""
        labels = _name_labels(self._plan.classes, ignores=self._ignores)
        names = ["red", "green", "blue"] if self._plan.colour else ["image"]
        train, validation = self._cases[Split.TRAIN], self._cases[Split.VALIDATION]
        archive.add_json(
            f"{self._root}/dataset.json",
            {
                "channel_names": {str(number): name for number, name in enumerate(names)},
                "labels": labels,
                "numTraining": len(train) + len(validation),
                "file_ending": ".nii.gz",
                "name": self._plan.project,
            },
        )
        archive.add_json(f"{self._root}/splits_final.json", [{"train": train, "val": validation}])


def _name_labels(classes: Sequence[ExportClass], *, ignores: bool) -> dict[str, int]:
    """The labels as nnU-Net names them; a class that bears a name of nnU-Net's own is told apart by its value.

    nnU-Net reads meaning from "background" and "ignore", and a JSON object would lose one of two equal names.
    """
    labels = {"background": 0}
    taken = {"background", "ignore"} | {each.name for each in classes[1:]}
    for label, each in enumerate(classes[1:], start=1):
        name = each.name
        if name in {"background", "ignore"}:
            name = f"{name} {each.value}"
            while name in taken:
                name += "'"
            taken.add(name)
        labels[name] = label
    if ignores:
        labels["ignore"] = len(classes)
    return labels

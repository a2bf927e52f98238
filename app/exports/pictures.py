"""Pictures of single slices with what is drawn on them: indexed PNG + JSON, COCO and Label Studio."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from app.exports.archive import Archive
from app.exports.records import ExportPlan, ExportVolume
from app.exports.run_lengths import encode_brush, encode_coco
from app.names import UNLABELLED, ExportPart
from app.storage.masks import mask_to_png
from app.storage.planes import grey_to_png

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def add_picture(archive: Archive, volume: ExportVolume, index: int) -> str:
    """The slice as an 8-bit PNG in the volume's window; it is put in once, however many parts it has."""
    name = f"images/{volume.stem}/{index:04d}.png"
    if name not in archive.checksums:
        archive.add(name, grey_to_png(volume.read_grey(index)))
    return name


def labelled_slices(volume: ExportVolume) -> Iterator[tuple[ExportPart, int, NDArray[np.uint8]]]:
    """(part, slice index, (H, W) mask) of all slices on which a part says anything."""
    for part, mask in volume.masks.items():
        for index, plane in enumerate(mask):
            if (plane != UNLABELLED).any():
                yield part, index, plane


class PngWriter:
    """`images/VOLUME/0007.png`, `annotations/VOLUME/0007.png` (index = class, 255 = unlabelled) and `slices.json`."""

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._slices: list[dict[str, Any]] = []

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """Every slice on which something is labelled."""
        palette = {each.value: each.colour for each in self._plan.classes}
        before = len(self._slices)
        for part, index, plane in labelled_slices(volume):
            image = add_picture(archive, volume, index)
            mask = archive.add(f"{part}/{volume.stem}/{index:04d}.png", mask_to_png(plane, palette))
            self._slices.append(
                {
                    "patient": volume.patient,
                    "volume": volume.name,
                    "split": volume.split,
                    "slice": index,
                    "part": part,
                    "image": image,
                    "mask": mask,
                    "spacing_mm": None if volume.geometry.spacing_mm is None else volume.geometry.spacing_mm[1:],
                }
            )
        return {"slices": len(self._slices) - before}

    def finish(self, archive: Archive) -> None:
        """The list of all slices and the classes."""
        classes = [{"value": each.value, "name": each.name, "color": each.colour} for each in self._plan.classes]
        archive.add_json("slices.json", {"classes": classes, "unlabelled": UNLABELLED, "slices": self._slices})


class CocoWriter:
    """`images/VOLUME/0007.png` and one `PART.json` a part, with one run-length mask a class and slice.

    COCO has no word for "nobody labelled this": `labelled` of an image says whether all its pixels are known, and
    scribbled images carry the unlabelled region as a category of its own, `unlabelled`.
    """

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._of: dict[ExportPart, dict[str, list[dict[str, Any]]]] = {
            part: {"images": [], "annotations": []} for part in plan.parts
        }

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """One image a labelled slice, one annotation a class on it."""
        written = 0
        for part, index, plane in labelled_slices(volume):
            of = self._of[part]
            image_id = len(of["images"]) + 1
            of["images"].append(
                {
                    "id": image_id,
                    "file_name": add_picture(archive, volume, index),
                    "height": plane.shape[0],
                    "width": plane.shape[1],
                    "patient": volume.patient,
                    "volume": volume.name,
                    "slice": index,
                    "split": volume.split,
                    "labelled": bool((plane != UNLABELLED).all()),
                }
            )
            for value in [each.value for each in self._plan.classes if each.value] + [UNLABELLED]:
                region = plane == value
                if region.any():
                    of["annotations"].append(_coco_region(region, len(of["annotations"]) + 1, image_id, value))
            written += 1
        return {"slices": written}

    def finish(self, archive: Archive) -> None:
        """One file a part."""
        categories = [{"id": each.value, "name": each.name} for each in self._plan.classes if each.value]
        categories.append({"id": UNLABELLED, "name": "unlabelled"})
        for part, of in self._of.items():
            info = {"description": f"{self._plan.project}: {part}", "date_created": self._plan.taken_at}
            archive.add_json(f"{part}.json", {"info": info, "categories": categories, **of})


def _coco_region(region: NDArray[np.bool_], number: int, image_id: int, value: int) -> dict[str, Any]:
    import numpy as np

    rows, columns = np.flatnonzero(region.any(axis=1)), np.flatnonzero(region.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return {
        "id": number,
        "image_id": image_id,
        "category_id": value,
        "iscrowd": 1,  # what COCO calls a mask that is given by its run lengths
        "area": int(region.sum()),
        "bbox": [left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1],
        "segmentation": {"size": list(region.shape), "counts": encode_coco(region)},
    }


class LabelStudioWriter:
    """`tasks.json` and `label_config.xml` for an import into Label Studio, and the pictures that they name.

    Annotations, merged and interpolated masks are its annotations; predictions are its predictions, with the model's
    version. What nobody labelled has no region there, and background has one, so that the two stay apart.
    """

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._tasks: dict[str, dict[str, Any]] = {}

    def add_volume(self, archive: Archive, volume: ExportVolume) -> dict[str, Any]:
        """One task a slice on which something is labelled."""
        written = set()
        for part, index, plane in labelled_slices(volume):
            image = add_picture(archive, volume, index)
            facts = {"image": image, "patient": volume.patient, "volume": volume.name, "slice": index}
            task = self._tasks.setdefault(image, {"data": facts, "annotations": [], "predictions": []})
            result = [
                self._region(plane, each.value, each.name, f"{image}/{part}")
                for each in self._plan.classes
                if (plane == each.value).any()
            ]
            if part == ExportPart.PREDICTIONS:
                task["predictions"].append({"model_version": volume.model_version, "result": result})
            else:
                task["annotations"].append({"result": result, "ground_truth": False, "was_cancelled": False})
            written.add(image)
        return {"slices": len(written)}

    def finish(self, archive: Archive) -> None:
        """The tasks and the labelling interface that shows them."""
        from xml.sax.saxutils import quoteattr

        labels = "".join(
            f'    <Label value={quoteattr(each.name)} background="#{bytes(each.colour).hex()}"/>\n'
            for each in self._plan.classes
        )
        config = (
            '<View>\n  <Image name="image" value="$image" zoom="true"/>\n'
            f'  <BrushLabels name="tag" toName="image">\n{labels}  </BrushLabels>\n</View>\n'
        )
        archive.add("label_config.xml", config.encode())
        archive.add_json("tasks.json", list(self._tasks.values()))

    def _region(self, plane: NDArray[np.uint8], value: int, name: str, place: str) -> dict[str, Any]:
        seal = uuid.uuid5(uuid.NAMESPACE_URL, f"{self._plan.seal}/{place}/{value}")
        return {
            "id": seal.hex[:10],
            "type": "brushlabels",
            "from_name": "tag",
            "to_name": "image",
            "original_width": plane.shape[1],
            "original_height": plane.shape[0],
            "image_rotation": 0,
            "value": {"format": "rle", "rle": encode_brush(plane == value), "brushlabels": [name]},
        }

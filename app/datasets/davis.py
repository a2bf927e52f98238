"""DAVIS-2016 video sequences (Perazzi et al., CVPR 2016): a sequence is a volume, a frame is a slice.

`JPEGImages/480p/<sequence>/*.jpg` with `Annotations/480p/<sequence>/*.png`. Masks are binarised: the annotations of
DAVIS-2017, which number the objects, serve as well.
"""

from __future__ import annotations

from pathlib import Path

from app.datasets.records import TEST, TRAIN, VALIDATION, DatasetListing, Problem, VolumeSource, suggest_class
from app.datasets.splits import read_split_lists
from app.errors import DatasetUnreadable

CLASSES = tuple(suggest_class(value, name) for value, name in enumerate(("background", "object")))

_MASK_VALUES = {0: 0} | dict.fromkeys(range(1, 256), 1)
_RESOLUTIONS = ("480p", "1080p", "Full-Resolution")
# The official training sequences train; the official validation sequences are divided as Vepa et al. did.
_TRAIN = [
    "bear",
    "bmx-bumps",
    "boat",
    "breakdance-flare",
    "bus",
    "car-turn",
    "dance-jump",
    "dog-agility",
    "drift-turn",
    "elephant",
    "flamingo",
    "hike",
    "hockey",
    "horsejump-low",
    "kite-walk",
    "lucia",
    "mallard-fly",
    "mallard-water",
    "motocross-bumps",
    "motorbike",
    "paragliding",
    "rhino",
    "rollerblade",
    "scooter-gray",
    "soccerball",
    "stroller",
    "surf",
    "swing",
    "tennis",
    "train",
]
_VALIDATION = ["camel", "cows", "drift-straight", "motocross-jump", "soapbox"]
_TEST = [
    "blackswan",
    "bmx-trees",
    "breakdance",
    "car-roundabout",
    "car-shadow",
    "dance-twirl",
    "dog",
    "drift-chicane",
    "goat",
    "horsejump-high",
    "kite-surf",
    "libby",
    "paragliding-launch",
    "parkour",
    "scooter-black",
]
_PUBLISHED = dict.fromkeys(_TRAIN, TRAIN) | dict.fromkeys(_VALIDATION, VALIDATION) | dict.fromkeys(_TEST, TEST)


def list_davis(path: Path) -> DatasetListing:
    """The sequences of a DAVIS folder, at 480p where there is that; lists in the folder win over the published split.

    Raises `DatasetUnreadable` where there is no `JPEGImages/<resolution>`.
    """
    resolution = next((name for name in _RESOLUTIONS if (path / "JPEGImages" / name).is_dir()), None)
    if resolution is None:
        raise DatasetUnreadable("davis", str(path), f"it has no folder JPEGImages/{' or '.join(_RESOLUTIONS)}")
    split_of = read_split_lists("davis", path) or _PUBLISHED
    volumes, problems = [], []
    for frames in sorted(folder for folder in (path / "JPEGImages" / resolution).iterdir() if folder.is_dir()):
        masks = path / "Annotations" / resolution / frames.name
        if frames.name not in split_of:
            problems.append(Problem(frames.name, "it stands in no split list"))
            continue
        volumes.append(
            VolumeSource(
                patient=frames.name,
                name=frames.name,
                group="",
                split=split_of[frames.name],
                image=frames,
                full_mask=masks if masks.is_dir() else None,
                mask_values=_MASK_VALUES,
            )
        )
    return DatasetListing("davis", CLASSES, tuple(volumes), tuple(problems))

"""What the papers say of their data: patients, volumes and slices of each split, to be compared with what was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from app.datasets.records import SPLITS, TEST, TRAIN, VALIDATION


@dataclass(frozen=True)
class Published:
    """Counts of one split; None where nothing is published."""

    patients: int
    volumes: int
    slices: int | None = None


# Counted in the lists and files that Vepa et al. (NeurIPS 2024) and the data sets' authors published; the paper's own
# text says 1448 train slices of ACDC and 20 test patients of MS-CMR, of which there are 1454 and 15.
PUBLISHED: Mapping[str, Mapping[str, Published]] = {
    "acdc": {TRAIN: Published(80, 160, 1454), VALIDATION: Published(20, 40, 448), TEST: Published(50, 100)},
    "acdc-h5": {TRAIN: Published(80, 160, 1454), VALIDATION: Published(20, 40, 448), TEST: Published(50, 100)},
    "chaos": {TRAIN: Published(15, 15, 2351), VALIDATION: Published(2, 2), TEST: Published(3, 3)},
    "davis": {TRAIN: Published(30, 30, 2079), VALIDATION: Published(5, 5), TEST: Published(15, 15)},
    "mscmr": {TRAIN: Published(25, 25, 382), VALIDATION: Published(5, 5, 75), TEST: Published(15, 15, 229)},
}


def differences(name: str, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """A sentence for each split whose counts (patients, volumes, slices) are not the published ones.

    Nothing is said of a count that is not published or not among `counts`, nor of data sets without published counts.
    """
    found = []
    for split in SPLITS:
        published = PUBLISHED.get(name, {}).get(split)
        if published is None or split not in counts:
            continue
        expected = {"patients": published.patients, "volumes": published.volumes, "slices": published.slices}
        off = [
            f"{counts[split][what]} {what} instead of {number}"
            for what, number in expected.items()
            if number is not None and what in counts[split] and counts[split][what] != number
        ]
        if off:
            found.append(f"{split} is not the published one: {', '.join(off)}")
    return found

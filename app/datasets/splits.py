"""Which patient belongs to which split: lists in the data set's folder, else a draw by patient."""

from __future__ import annotations

import hashlib
import random
import re
from collections.abc import Iterable
from pathlib import Path

from app.datasets.records import SPLITS, TEST, TRAIN, VALIDATION, DatasetListing
from app.errors import DatasetUnreadable

FRACTIONS = (0.7, 0.1, 0.2)

_LISTS = {"train.txt": TRAIN, "val.txt": VALIDATION, "validation.txt": VALIDATION, "test.txt": TEST}


def read_split_lists(dataset: str, folder: Path, pattern: str = r".+") -> dict[str, str] | None:
    """Patient -> split from train.txt, val.txt and test.txt in the folder, or None where there is no train.txt.

    The patient is what `pattern` finds in a line, so that lists of files serve as well. Raises `DatasetUnreadable`
    when a patient stands in two lists or a line names none.
    """
    if not (folder / "train.txt").is_file():
        return None
    splits: dict[str, str] = {}
    for file_name, split in _LISTS.items():
        path = folder / file_name
        if not path.is_file():
            continue
        for line in filter(None, map(str.strip, path.read_text(encoding="utf-8").splitlines())):
            match = re.search(pattern, line)
            if match is None:
                raise DatasetUnreadable(dataset, str(folder), f"{file_name} holds the line {line!r}")
            if splits.setdefault(match[0], split) != split:
                raise DatasetUnreadable(dataset, str(folder), f"{match[0]} stands in two split lists")
    return splits


def draw_splits(
    patients: Iterable[str], seed: int, fractions: tuple[float, float, float] = FRACTIONS
) -> dict[str, str]:
    """Patient -> split, drawn by patient; the same seed and patients give the same splits, in any order.

    Validation and test get their rounded share and at least one patient each where there are three or more; the rest
    trains. Raises ValueError unless the fractions are shares of 1 with something left to train on.
    """
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-6 or fractions[0] == 0:
        raise ValueError(f"the fractions {fractions} are not shares of 1 for {', '.join(SPLITS)}")
    order = sorted(set(patients))
    random.Random(seed).shuffle(order)
    sizes = [_share(fraction, len(order)) for fraction in fractions[1:]]
    while sum(sizes) >= len(order) and sum(sizes) > 0:
        sizes[sizes.index(max(sizes))] -= 1
    validation, test = order[: sizes[0]], order[sizes[0] : sum(sizes)]
    return dict.fromkeys(order, TRAIN) | dict.fromkeys(validation, VALIDATION) | dict.fromkeys(test, TEST)


def split_checksum(listing: DatasetListing) -> str:
    """SHA-256 of which volumes of which patients train, validate and test; wherever the data set lies, in any order."""
    lines = sorted(f"{volume.split}\t{volume.patient}\t{volume.name}\n" for volume in listing.volumes)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _share(fraction: float, count: int) -> int:
    return max(round(fraction * count), 1 if fraction > 0 and count >= 3 else 0)

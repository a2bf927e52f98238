"""DICOM without the person in it: the basic profile of the standard (PS3.15, annex E), which nothing here repeats.

Which attribute is removed, emptied or replaced stands in table E.1-1 as the package `dicom-anonymizer` keeps it; the
walk through nested sequences, the keyed new names and the account of what was done are ours. Names are made with a key
that lies in no database: the same person or series gets the same new name each time, and the name leads back to nobody.
"""

from __future__ import annotations

import base64
import hmac
import io
import warnings
from collections import Counter
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from app.errors import MissingExtra, NotAnImage
from app.formats.dicom_headers import damage_errors, first_line, read_dataset

PROFILE = "DICOM PS3.15 basic application level confidentiality profile"

_TABLE = "dicomfields_2026c"
_PROFILE_CODE = ("113100", "DCM", "Basic Application Confidentiality Profile")
# The profile lets these be emptied or have their references renamed; renamed, a segmentation still finds its series.
_REFERENCES = frozenset({"ReferencedImageSequence", "SourceImageSequence", "ReferencedInstanceSequence"})

Action = Any  # of the package: a function of (data set, (group, element)) that changes the data set


class Deidentifier:
    """Cleans data sets under one key and counts what it did: `removed` is attribute -> times."""

    def __init__(self, key: bytes) -> None:
        if find_spec("dicomanonymizer") is None:
            raise MissingExtra("DICOM with its de-identification", "dicom")
        self._key = key
        self.removed: Counter[str] = Counter()

    def clean_file(self, path: Path) -> bytes:
        """The file without the person in it; raises `NotAnImage` where it cannot be read, or not be written again."""
        from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

        dataset = read_dataset(path, pixels=True)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # old files break small rules, which pydicom mentions and mends
                implicit, little = dataset.original_encoding
                if "TransferSyntaxUID" not in dataset.file_meta:
                    explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
                    dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit
                self.clean(dataset)
                out = io.BytesIO()
                dataset.save_as(out, enforce_file_format=True)
        except damage_errors() as error:
            raise NotAnImage(path.name, f"it cannot be written de-identified ({first_line(error)})") from None
        return out.getvalue()

    def clean(self, dataset: Any) -> None:
        """Take the person out of a data set in place, nested sequences, private elements and file header included."""
        from pydicom.dataset import Dataset, FileMetaDataset

        name = pseudonym(str(dataset.get("PatientID", "") or dataset.get("PatientName", "")), self._key)
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        self._clean_items(dataset)
        dataset.PatientName = dataset.PatientID = name
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = PROFILE[:64]
        code = Dataset()
        code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = _PROFILE_CODE
        dataset.DeidentificationMethodCodeSequence = [code]
        dataset.LongitudinalTemporalInformationModified = "REMOVED"
        if not dataset.get("SOPInstanceUID"):
            dataset.SOPInstanceUID = new_uid(name, self._key)
        # The file's own header names the machine and the program that wrote it: nothing of it is taken over.
        meta.MediaStorageSOPClassUID = dataset.get("SOPClassUID") or "1.2.840.10008.5.1.4.1.1.7"
        meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.file_meta = meta
        dataset.preamble = b"\0" * 128

    def _clean_items(self, dataset: Any) -> None:
        actions, repeating = profile_actions()
        for tag in list(dataset.keys()):
            if tag.is_private:
                del dataset[tag]
                self.removed["private elements"] += 1
                continue
            if tag.group == 0x0002 or tag.element == 0x0000:
                del dataset[tag]
                continue
            here = (tag.group, tag.element)
            action = actions.get(here) or next(
                (act for (group, element, mask, part), act in repeating if _falls(here, group, element, mask, part)),
                None,
            )
            element = dataset[tag]
            if action is not None and element.keyword not in _REFERENCES:
                self._act(dataset, element, action)
            if tag in dataset and dataset[tag].VR == "SQ":
                for item in dataset[tag].value or ():
                    self._clean_items(item)

    def _act(self, dataset: Any, element: Any, action: Action) -> None:
        word = element.keyword or str(element.name)
        if element.VR == "UI":
            values = [element.value] if isinstance(element.value, str) else list(element.value or ())
            element.value = [new_uid(str(uid), self._key) for uid in values if uid] or ""
            self.removed["unique identifiers renamed"] += 1
            return
        if not element.is_empty:
            self.removed[word] += 1
        here = (element.tag.group, element.tag.element)
        try:
            action(dataset, here)
        except damage_errors():
            del dataset[element.tag]  # no stand-in of its type is known: gone is always allowed to be
        left = dataset.get(here)
        # The package leaves the first day of the year 1 where the profile lets a date be gone or empty.
        if left is not None and left.VR in ("DA", "TM", "DT"):
            if action.__name__ == "delete":
                del dataset[element.tag]
            elif action.__name__ in ("empty", "delete_or_empty"):
                left.value = ""


def pseudonym(identity: str, key: bytes) -> str:
    """A code for a person: 50 bits of a keyed hash, so that nobody without the key can try names until one fits."""
    return "p-" + _keyed(key, "patient", identity)


def removed_words(removed: Counter[str]) -> str:
    """What was taken out, for people: every attribute with how often it was met."""
    return ", ".join(f"{word} {count}" for word, count in sorted(removed.items())) or "nothing was there to take out"


def new_uid(uid: str, key: bytes) -> str:
    """The unique identifier that stands for another: one of a UUID (PS3.5, annex B.2), always the same under a key."""
    digest = hmac.digest(key, b"uid\0" + uid.encode("utf-8", "surrogateescape"), "sha256")
    return f"2.25.{int.from_bytes(digest[:16])}"


def series_code(series: str, part: str, key: bytes) -> str:
    """A short code for a series, or one of the volumes in it."""
    return _keyed(key, "series", f"{series}\0{part}")[:6]


@lru_cache(maxsize=1)
def profile_actions() -> tuple[dict[tuple[int, int], Action], list[tuple[tuple[int, int, int, int], Action]]]:
    """What the profile does by (group, element), and by (group, element, and masks of both) for repeating ones."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    table: dict[tuple[int, ...], Action] = initialize_actions(_TABLE)
    single = {(tag[0], tag[1]): action for tag, action in table.items() if len(tag) == 2}
    repeating = [((tag[0], tag[1], tag[2], tag[3]), action) for tag, action in table.items() if len(tag) == 4]
    return single, repeating


def _falls(tag: tuple[int, int], group: int, element: int, group_mask: int, element_mask: int) -> bool:
    return tag[0] & group_mask == group & group_mask and tag[1] & element_mask == element & element_mask


def _keyed(key: bytes, what: str, text: str) -> str:
    digest = hmac.digest(key, f"{what}\0{text}".encode("utf-8", "surrogateescape"), "sha256")
    return base64.b32encode(digest).decode("ascii")[:10].lower()

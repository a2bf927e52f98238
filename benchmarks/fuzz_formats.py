"""Mutated files of every format, taken in as an upload is: read, or refused with a reason, and never anything else.

    python benchmarks/fuzz_formats.py --count 500 --seed 1

For each format small sound files are made and damaged: bytes flipped, blocks removed, doubled or zeroed, ends cut off,
numbers in headers replaced by extreme ones. Each is written into a folder of its own and goes the way of an import:
unpacked where it is a zip, found, read, stored as blobs in a scratch store. What counts as a failure: an exception that
is none of this house's refusals, more than 10 seconds, a refusal without a sentence, a file left outside of the
folders that were given. The exit status is the number of failures, at most 100.
"""

from __future__ import annotations

import argparse
import io
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.datasets.mixed import list_mixed, only_folder
from app.datasets.records import suggest_class
from app.errors import NextSliceError
from app.formats.archives import is_zip, unpack_zip
from app.formats.deidentify import Deidentifier
from app.formats.image import Geometry
from app.formats.nifti import write_nifti
from app.services.imports import ingest_source
from app.storage.stores import LocalStore

MOST_SECONDS = 10
Tree = dict[str, bytes]

_CLASSES = tuple(suggest_class(value, f"class {value}") for value in range(4))
_EXTREMES = (
    b"\xff\xff\xff\xff",
    b"\x00\x00\x00\x00",
    b"\xff\xff\xff\x7f",
    b"\x00\x00\x00\x80",
    b"99999999",
    b"-1",
    b"nan",
)


class Hang(BaseException):
    """More than the seconds allowed; no `except Exception` swallows it."""


@dataclass
class Outcome:
    """What came of the mutants of one format."""

    read: int = 0
    refused: int = 0
    slowest_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)


def fuzz(name: str, count: int, seed: int, keep: Path | None = None) -> Outcome:
    """Take in `count` mutants of a format; the same seed makes the same mutants."""
    generator = random.Random(f"{seed} {name}")
    outcome = Outcome()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        root = Path(place)
        seeds = SEEDS[name](root / "seeds")
        store = LocalStore(root / "blobs")
        for number in range(count):
            tree = mutate(generator.choice(seeds), generator)
            before = {path.name for path in root.iterdir()}
            _one(tree, root, store, outcome, f"{name} {number} of seed {seed}")
            left = {path.name for path in root.iterdir()} - before
            if left or any((root / "blobs" / "unfinished").iterdir()):
                outcome.failures.append(f"{name} {number}: files are left behind: {sorted(left)}")
            if keep is not None and outcome.failures and not (keep / f"{name}-{number}").exists():
                _write(tree, keep / f"{name}-{number}")
                keep = None  # the first one of a format is enough to look at
    return outcome


def mutate(tree: Tree, generator: random.Random) -> Tree:
    """The tree with one file of it damaged."""
    victim = generator.choice(sorted(tree))
    content = bytearray(tree[victim])
    for _ in range(generator.randint(1, 6)):
        _damage(content, generator)
    return tree | {victim: bytes(content)}


def _damage(content: bytearray, generator: random.Random) -> None:
    if not content:
        return
    # Half of the damage goes where headers are.
    end = min(len(content), 600) if generator.random() < 0.5 else len(content)
    at = generator.randrange(end)
    kind = generator.randrange(7)
    length = generator.randint(1, max(1, min(200, len(content) // 4)))
    if kind in (0, 1):
        content[at] = generator.randrange(256)
    elif kind == 2:
        extreme = generator.choice(_EXTREMES)
        content[at : at + len(extreme)] = extreme
    elif kind == 3:
        del content[at : at + length]
    elif kind == 4:
        content[at:at] = content[at : at + length]
    elif kind == 5:
        content[at : at + length] = bytes(length)
    else:
        del content[at:]


def _one(tree: Tree, root: Path, store: LocalStore, outcome: Outcome, label: str) -> None:
    work = root / "work"
    started = time.perf_counter()
    try:
        with _limited(), warnings.catch_warnings():
            warnings.simplefilter("error")
            reasons = _take_in(tree, work, store)
    except NextSliceError as refusal:
        _note(outcome, str(refusal), label)
    except Hang:
        outcome.failures.append(f"{label}: more than {MOST_SECONDS} s")
    except BaseException:  # noqa: BLE001 - whatever else comes is what is looked for here
        outcome.failures.append(f"{label}: {traceback.format_exc(limit=-3)}")
    else:
        outcome.read += not reasons
        for reason in reasons:
            _note(outcome, reason, label)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    outcome.slowest_s = max(outcome.slowest_s, time.perf_counter() - started)


def _note(outcome: Outcome, reason: str, label: str) -> None:
    outcome.refused += 1
    outcome.reasons[" ".join(reason.split()[1:6])] += 1
    if len(reason) < 10:
        outcome.failures.append(f"{label}: refused without a sentence: {reason!r}")


def _take_in(tree: Tree, work: Path, store: LocalStore) -> list[str]:
    """The reasons for all that was left out or refused on the way that an import goes."""
    _write(tree, work / "in")
    files = list((work / "in").iterdir())
    reasons = []
    folder = work / "in"
    if len(files) == 1 and is_zip(files[0]):
        folder = work / "out"
        folder.mkdir()
        reasons = [bad.reason for bad in unpack_zip(files[0], folder)]
        folder = only_folder(folder)
    listing = list_mixed(folder, key=b"key")
    reasons += [problem.reason for problem in listing.problems]
    cleaner = Deidentifier(b"key")
    for volume in listing.volumes:
        scratch = work / "scratch"
        scratch.mkdir()
        try:
            ingest_source(store, volume, _CLASSES, scratch, cleaner, None)
        except NextSliceError as refusal:
            reasons.append(str(refusal))
        shutil.rmtree(scratch)
    return reasons


def _write(tree: Tree, folder: Path) -> None:
    for name, content in tree.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@contextmanager
def _limited() -> Iterator[None]:
    def stop(_signal: int, _frame: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


# --- sound files ------------------------------------------------------------------------------------------------------

_GEOMETRY = Geometry((9, 8, 5), 2, ((1, 0, 0, 3), (0, 2, 0, 4), (0, 0, 5, 6), (0, 0, 0, 1)), (5.0, 2.0, 1.0))
_STACK = np.random.default_rng(0).integers(0, 900, (5, 8, 9)).astype(np.int16)
_MASK = (_STACK % 4).astype(np.uint8)


def _nifti(_place: Path) -> list[Tree]:
    pair = {"a.nii.gz": write_nifti(_STACK, _GEOMETRY), "a_seg.nii.gz": write_nifti(_MASK, _GEOMETRY)}
    plain = {"b.nii": write_nifti(_STACK.astype(np.float32), _GEOMETRY, compress=False)}
    return [pair, plain, {"c.nii": write_nifti(_STACK, _GEOMETRY, compress=False)}]


def _nrrd(_place: Path) -> list[Tree]:
    import bz2
    import gzip

    head = (
        "NRRD0005\ntype: {kind}\ndimension: 3\nspace: left-posterior-superior\nsizes: 9 8 5\n"
        "space directions: (1,0,0) (0,2,0) (0,0,5)\nkinds: domain domain domain\nendian: little\n"
        "encoding: {encoding}\nspace origin: (1,2,3)\n{more}\n"
    )

    def header(encoding: str, more: str = "", kind: str = "int16") -> bytes:
        return head.format(encoding=encoding, more=more, kind=kind).encode()

    raw = _STACK.tobytes()
    text = " ".join(map(str, _STACK.reshape(-1).tolist())).encode()
    return [
        {"a.nrrd": header("raw") + raw, "a_label.nrrd": header("gzip", kind="uint8") + gzip.compress(_MASK.tobytes())},
        {"b.nrrd": header("bzip2") + bz2.compress(raw)},
        {"c.nhdr": header("raw", "data file: c.raw\n"), "c.raw": raw},
        {"d.nrrd": header("ascii") + text},
    ]


def _metaimage(_place: Path) -> list[Tree]:
    import zlib

    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\nCompressedData = {packed}\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\nOffset = 1 2 3\nElementSpacing = 1 2 5\nDimSize = 9 8 5\n"
        "ElementType = {kind}\nElementDataFile = {file}\n"
    )
    raw = _STACK.tobytes()
    return [
        {"a.mha": head.format(packed="False", kind="MET_SHORT", file="LOCAL").encode() + raw},
        {"b.mha": head.format(packed="True", kind="MET_SHORT", file="LOCAL").encode() + zlib.compress(raw)},
        {"c.mhd": head.format(packed="False", kind="MET_SHORT", file="c.raw").encode(), "c.raw": raw},
    ]


def _dicom(place: Path) -> list[Tree]:
    from pydicom.data import get_testdata_file

    from tests.formats.dicoms import write_series

    write_series(place, 3)
    series = {path.name: path.read_bytes() for path in place.iterdir()}
    names = ("MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "CT_small.dcm")
    names += ("emri_small.dcm", "liver_1frame.dcm", "SC_rgb_small_odd.dcm")
    found = [get_testdata_file(name, download=False) for name in names]
    singles = [Path(str(path)) for path in found if path]
    return [series, *({"x.dcm": path.read_bytes()} for path in singles if path.stat().st_size < 300_000)]


def _dicom_seg(place: Path) -> list[Tree]:
    from tests.formats.test_dicom_seg import _mask, _study, _write_seg

    trees = []
    for kind in ("BINARY", "FRACTIONAL"):
        folder = place / kind
        _write_seg(
            folder / "seg.dcm" if folder.mkdir(parents=True) is None else folder,
            _study(folder / "ct", 5),
            _mask(),
            ["a", "b"],
            kind,
        )
        trees.append({path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.dcm")})
    return trees


def _pictures(suffix: str) -> Callable[[Path], list[Tree]]:
    def make(_place: Path) -> list[Tree]:
        from PIL import Image

        def written(plane: np.ndarray) -> bytes:
            out = io.BytesIO()
            Image.fromarray(plane).save(out, format={"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()))
            return out.getvalue()

        grey = (_STACK // 4).astype(np.uint8)
        stack = {f"images/{z}.{suffix}": written(grey[z]) for z in range(3)}
        masks = {f"masks/{z}.png": _png(_MASK[z]) for z in range(3)}
        colour = {f"film/{z}.{suffix}": written(np.stack([grey[z]] * 3, axis=-1)) for z in range(2)}
        return [stack | masks, colour]

    return make


def _png(plane: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(plane).save(out, format="PNG")
    return out.getvalue()


def _hdf5(place: Path) -> list[Tree]:
    import h5py

    place.mkdir(parents=True)
    trees = []
    for name, options in (("plain", {}), ("packed", {"compression": "gzip", "chunks": (1, 8, 9)})):
        with h5py.File(place / f"{name}.h5", "w") as file:
            file.create_dataset("image", data=_STACK.astype(np.float32), **options)
            file.create_dataset("label", data=_MASK, **options)
        trees.append({f"{name}.h5": (place / f"{name}.h5").read_bytes()})
    return trees


def _zip(place: Path) -> list[Tree]:
    trees = [*_nifti(place), *_pictures("png")(place)]
    made = []
    for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        for tree in trees:
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w", kind) as archive:
                for name, content in tree.items():
                    archive.writestr(f"scans/{name}", content)
            made.append({"x.zip": out.getvalue()})
    return made


SEEDS: dict[str, Callable[[Path], list[Tree]]] = {
    "nifti": _nifti,
    "nrrd": _nrrd,
    "metaimage": _metaimage,
    "dicom": _dicom,
    "dicom-seg": _dicom_seg,
    "png": _pictures("png"),
    "jpeg": _pictures("jpg"),
    "tiff": _pictures("tif"),
    "hdf5": _hdf5,
    "zip": _zip,
}


def main() -> int:
    """Fuzz every format and print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--formats", default=",".join(SEEDS))
    parser.add_argument("--keep", type=Path, default=None, help="folder for the first failing file of each format")
    asked = parser.parse_args()
    failures = 0
    print("format      mutants   read  refused  slowest  failures")
    for name in asked.formats.split(","):
        outcome = fuzz(name, asked.count, asked.seed, asked.keep)
        failures += len(outcome.failures)
        counts = f"{name:11s} {asked.count:7d} {outcome.read:6d} {outcome.refused:8d}"
        print(f"{counts} {outcome.slowest_s:6.2f} s {len(outcome.failures):9d}", flush=True)
        for failure in outcome.failures[:5]:
            print(f"    {failure}")
    return min(failures, 100)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.exit(main())

"""A file, a zip or a folder, as the folder that importers read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from app.datasets.mixed import only_folder, recognise_layout
from app.datasets.records import Problem
from app.formats.archives import is_zip, unpack_zip


@contextmanager
def input_folder(path: Path) -> Iterator[tuple[Path, list[Problem]]]:
    """The folder to read and the members of a zip that were left out; what was unpacked lives as long as the `with`.

    Raises `ArchiveRefused`. A path at which there is nothing is given back as it is, for the importer to refuse.
    """
    if not path.is_file():
        yield path, []
        return
    with TemporaryDirectory(prefix="nextslice-") as place:
        target = Path(place)
        if is_zip(path):
            problems = [Problem(str(bad.path), bad.reason) for bad in unpack_zip(path, target)]
            yield only_folder(target), problems
        else:
            (target / path.name).symlink_to(path.resolve())
            yield target, []


def layout_of(name: str, folder: Path) -> str:
    """The importer that is meant: the one named, or for "auto" the one that the folder is laid out for."""
    return recognise_layout(folder) if name == "auto" and folder.is_dir() else name

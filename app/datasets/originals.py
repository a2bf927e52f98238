"""What is kept of a volume as it was taken in, its own file or one zip where a format keeps a volume in several; and
what is read from it again."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from app.datasets.records import VolumeSource, find_dicom
from app.errors import ArchiveRefused, ImageRefused, ImageTooLarge, NotAnImage
from app.formats.archives import is_zip, unpack_zip
from app.formats.deidentify import Deidentifier
from app.formats.dicom import find_dicom_volumes, load_dicom_volume
from app.formats.files import FIRST_FRAME, companion_files, image_stem, read_image
from app.formats.frames import list_frames, natural_key
from app.formats.image import Image3D
from app.formats.voxels import to_image

_NO_DATE = (1980, 1, 1, 0, 0, 0)  # equal files give equal bytes, which are stored once
_PART_BYTES = 1024 * 1024


def keep_original(volume: VolumeSource, scratch: Path, cleaner: Deidentifier | None) -> tuple[str, Path]:
    """The name and place of a file that holds what the image was read from; what must be written goes into `scratch`.

    Of a DICOM series it is a zip of its files, segmentations last, as `cleaner` leaves them: numbered in the order of
    their names, because names of files tell names of people. Without a cleaner they are untouched. Raises `NotAnImage`.
    """
    dicom = find_dicom(volume)
    if dicom is not None:
        paths = sorted({picture.path for picture in dicom.pictures}, key=lambda path: natural_key(path.name))
        paths += [source.header.path for source in volume.segmentations]
        target = scratch / "series.zip"
        if cleaner is None:
            _zip(target, ((path.name, _reader(path)) for path in paths))
        else:
            _zip(target, ((f"{number:06d}.dcm", _cleaned(path, cleaner)) for number, path in enumerate(paths, start=1)))
        return f"{_file_stem(volume)}.zip", target
    return _keep(volume.image, scratch / "image.zip", _file_stem(volume))


def keep_mask_original(volume: VolumeSource, path: Path, scratch: Path) -> tuple[str, Path]:
    """The same for a mask of a volume, whose file or folder is `path`."""
    return _keep(path, scratch / "mask.zip", f"{_file_stem(volume)}_mask")


def read_kept(kept: Path, name: str, axis: int, scratch: Path) -> Iterator[Image3D]:
    """The images that a kept file called `name` may stand for, cut along `axis`, unpacked into `scratch`.

    It does not say which of several volumes of one DICOM file or frames of one NIfTI file was taken, so each is given;
    what cannot be read is passed over.
    """
    folder = scratch / "unpacked"
    folder.mkdir()
    if not is_zip(kept):
        file = kept.rename(folder / Path(name).name)
        for part in ("", FIRST_FRAME) if image_stem(file) is not None and ".nii" in file.name.lower() else ("",):
            with suppress(ImageRefused, ImageTooLarge):
                yield read_image(file, axis=axis, part=part)
        return
    with suppress(ArchiveRefused):
        unpack_zip(kept, folder)
    headers = [file for file in sorted(folder.iterdir()) if image_stem(file) is not None]
    if headers or list_frames(folder):
        with suppress(ImageRefused, ImageTooLarge):
            yield read_image(headers[0] if headers else folder, axis=axis)
        return
    for volume in find_dicom_volumes(folder)[0]:
        with suppress(ImageRefused, ImageTooLarge):
            yield to_image(load_dicom_volume(volume), axis)


def _keep(path: Path, target: Path, stem: str) -> tuple[str, Path]:
    files = list_frames(path) if path.is_dir() else [path, *companion_files(path)]
    if files == [path]:
        return path.name, path
    _zip(target, ((file.name, _reader(file)) for file in files))
    return f"{stem}.zip", target


def _zip(target: Path, members: Iterable[tuple[str, Callable[[], Iterable[bytes]]]]) -> None:
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
            for name, chunks in members:
                with archive.open(zipfile.ZipInfo(name, _NO_DATE), "w", force_zip64=True) as member:
                    for chunk in chunks():
                        member.write(chunk)
    except OSError as error:
        raise NotAnImage(target.name, error.strerror or str(error)) from None


def _reader(path: Path) -> Callable[[], Iterable[bytes]]:
    def chunks() -> Iterable[bytes]:
        with path.open("rb") as file:
            while chunk := file.read(_PART_BYTES):
                yield chunk

    return chunks


def _cleaned(path: Path, cleaner: Deidentifier) -> Callable[[], Iterable[bytes]]:
    return lambda: [cleaner.clean_file(path)]


def _file_stem(volume: VolumeSource) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in volume.name) or "volume"

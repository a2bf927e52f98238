"""Take an upload, or a folder of the server, into a project: every volume in it, and a reason for every other file."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from app.datasets.mixed import only_folder, recognise_layout
from app.datasets.published import differences
from app.datasets.records import DatasetListing, LabelClass, VolumeSource
from app.datasets.registry import list_dataset
from app.datasets.upload import Privacy
from app.db.models import Project
from app.errors import AxisUnclear, Conflict, InvalidInput, NextSliceError, TooLarge
from app.formats.archives import is_zip, unpack_zip
from app.services import imports, uploads
from app.services.imports import ImportOrder, ImportReport
from app.storage.secret_key import pseudonym_key
from worker.runner import Record, Work

_SCRATCH = "scratch"


def run(work: Work) -> Record:
    """Each volume is stored as soon as it is read, so that a job taken up again goes on; the result is the report."""
    order = ImportOrder.from_payload(work.payload)
    # One folder a job: what a killed attempt left behind is swept away by the next one.
    scratch = work.settings.home.resolve() / _SCRATCH / str(work.job_id)
    shutil.rmtree(scratch, ignore_errors=True)
    (scratch / "in").mkdir(parents=True)
    try:
        report = _import(work, order, scratch)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)

    def record(_session: Session) -> dict[str, Any]:
        return report.as_result()

    return record


def _import(work: Work, order: ImportOrder, scratch: Path) -> ImportReport:
    with work.database.reading() as session:
        project = session.get_one(Project, work.project_id)
        slug, classes = project.slug, imports.schema_classes(project)
    work.progress(0, 0, "unpacking")
    report = ImportReport(order.dataset, "")
    folder = _fetch(work, order, scratch / "in", report)
    key = pseudonym_key(work.settings, slug)
    name = recognise_layout(folder) if order.dataset == "auto" else order.dataset
    listing = list_dataset(name, folder, seed=order.seed, key=key)
    report.dataset = listing.name
    report.left_out += [asdict(problem) for problem in listing.problems]
    report.remarks += listing.remarks
    privacy = Privacy(key, order.untouched)
    for done, volume in enumerate(listing.volumes):
        work.progress(done, len(listing.volumes), f"importing {volume.patient} {volume.name}")
        place = scratch / "volume"
        place.mkdir()
        try:
            _take(work, order, listing, volume, classes, place, privacy, report)
        except AxisUnclear as question:
            report.needs_axis.append(imports.axis_question(volume, question))
        except (InvalidInput, TooLarge, Conflict) as refusal:
            _raise_if_lost(refusal)
            report.refused.append({"name": imports.name_in_report(volume), "reason": str(refusal)})
        shutil.rmtree(place)
    report.remarks += differences(listing.name, report.counts())
    if privacy.removed:
        report.deidentified = imports.account_of(privacy.removed)
    return report


def _raise_if_lost(refusal: NextSliceError) -> None:
    if refusal.code.startswith("job-"):
        raise refusal


def _fetch(work: Work, order: ImportOrder, target: Path, report: ImportReport) -> Path:
    """The folder with what shall be imported."""
    if order.path is not None:
        report.source = order.path
        found = imports.server_folder(work.settings.import_root, order.path)
        if found.is_dir():
            return found
        if not is_zip(found):
            (target / found.name).symlink_to(found)
            return target
    else:
        with work.database.reading() as session:
            upload = uploads.find_upload(session, order.upload or "")
            key, report.source = upload.blob_key or "", upload.file_name
        found = target.parent / "upload"
        with found.open("wb") as file:
            for chunk in work.blobs.stream(key):
                file.write(chunk)
        if not is_zip(found):
            found.rename(target / report.source)
            return target
    report.left_out += [{"name": str(bad.path), "reason": bad.reason} for bad in unpack_zip(found, target)]
    return only_folder(target)


def _take(
    work: Work,
    order: ImportOrder,
    listing: DatasetListing,
    volume: VolumeSource,
    classes: tuple[LabelClass, ...],
    scratch: Path,
    privacy: Privacy,
    report: ImportReport,
) -> None:
    with work.database.reading() as session:
        project = session.get_one(Project, work.project_id)
        volume = imports.settle_volume(session, project, listing, order, volume)
    axis = order.axes.get(imports.name_in_report(volume), order.axis)
    cleaner = privacy.cleaner if volume.image.is_dir() else None
    ingested, masks = imports.ingest_source(work.blobs, volume, classes, scratch, cleaner, axis)
    line: dict[str, Any] = {}

    def write(session: Session) -> None:
        line.update(imports.record_source(session, session.get_one(Project, work.project_id), volume, ingested, masks))

    work.keep(write)
    report.volumes.append(line)

"""Snapshots stay what they were; downloads go on; derived masks are marked; what cannot be exported is refused."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from typing import Any
from uuid import UUID

import numpy as np
from sqlalchemy import delete

from app.db.models import Annotation, AnnotationVersion, Job, Slice, Volume
from app.formats.nifti import read_nifti
from app.names import AnnotationKind
from app.outbox import SilentBell, unit_of_work
from app.services import annotations as slice_annotations
from app.services.projects import find_project
from app.services.turns import Submission
from app.storage.stores import open_store
from tests.api.conftest import Service, on_sqlite
from tests.exports.conftest import read_manifest, volumes_of


def annotate(service: Service, slice_id: str, mask: Any) -> None:
    """A new version of a slice's mask, by somebody."""
    with unit_of_work(service.database, SilentBell()) as session:
        slice_ = session.get_one(Slice, UUID(slice_id))
        project = find_project(session, "everything")
        base = slice_annotations.visible_version(session, project, slice_, "someone")
        head = slice_annotations.NO_VERSION if base is None else str(base.id)
        submission = Submission(AnnotationKind.FULL, "someone", expected_version=head, source="annotator")
        slice_annotations.submit_annotation(session, open_store(service.knobs), project, slice_, mask, submission)


def export_bytes(service: Service, format_: str, snapshot: str | None) -> bytes:
    job = service.client.post("/v1/projects/everything/exports", {"format": format_, "snapshot_id": snapshot})
    service.work_off()
    return service.http.get(f"/v1/exports/{job['id']}/file").content


def test_a_snapshot_gives_the_same_bytes_after_everything_has_changed(service: Service, project: str) -> None:
    client = service.client
    snapshot = client.post("/v1/projects/everything/snapshots", {"name": "first reading"})
    assert snapshot["counts"]["slices"] > 20
    first = {name: export_bytes(service, name, snapshot["id"]) for name in ("nifti", "dicom-seg", "label-studio")}
    for volume in client.items("/v1/projects/everything/volumes"):
        for one in client.items(f"/v1/volumes/{volume['id']}/slices"):
            annotate(service, one["id"], np.ones(one["shape"], np.uint8))
    for name, content in first.items():
        assert export_bytes(service, name, snapshot["id"]) == content, name
    assert export_bytes(service, "nifti", None) != first["nifti"]
    held = client.get(f"/v1/snapshots/{snapshot['id']}")["volumes"]
    assert {each["author"] for volume in held for each in volume["slices"].values()} == {"oracle"}
    assert [each["name"] for each in client.items("/v1/projects/everything/snapshots")][-1] == "first reading"


@on_sqlite
def test_a_download_goes_on_where_it_stopped(service: Service, project: str) -> None:
    job = service.client.post("/v1/projects/everything/exports")
    service.work_off()
    path = f"/v1/exports/{job['id']}/file"
    whole = service.http.get(path)
    size = len(whole.content)
    part = service.http.get(path, headers={"Range": "bytes=100-"})
    assert (part.status_code, part.headers["content-range"]) == (206, f"bytes 100-{size - 1}/{size}")
    assert part.content == whole.content[100:]
    assert service.http.get(path, headers={"Range": "bytes=-7"}).content == whole.content[-7:]
    assert service.http.get(path, headers={"Range": "bytes=3-5"}).content == whole.content[3:6]
    assert service.http.get(path, headers={"Range": "bytes=0-1,3-4"}).content == whole.content
    assert service.http.get(path, headers={"If-None-Match": whole.headers["etag"]}).status_code == 304
    assert service.refusal("GET", path, headers={"Range": f"bytes={size}-"}) == (416, "range-not-satisfiable")


@on_sqlite
def test_derived_masks_are_marked_and_no_annotation_is_made_of_them(
    service: Service, project: str, export: Callable[..., zipfile.ZipFile]
) -> None:
    volumes = list(service.client.items("/v1/projects/everything/volumes"))
    volume = next(each for each in volumes if each["name"] == "oblique.nii.gz")
    slices = list(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    height, width = slices[0]["shape"]
    with unit_of_work(service.database, SilentBell()) as session:  # as if only the first and the last were annotated
        for one in slices[1:-1]:
            head = slice_annotations.find_annotation(session, session.get_one(Slice, _uuid(one["id"])))
            session.execute(delete(AnnotationVersion).where(AnnotationVersion.annotation_id == head.id))
            session.execute(delete(Annotation).where(Annotation.id == head.id))
    for one, columns in ((slices[0], 1), (slices[-1], 5)):
        mask = np.zeros((height, width), np.uint8)
        mask[:, :columns] = 1
        annotate(service, one["id"], mask)
    archive = export(parts=["interpolated", "annotations"])
    entry = volumes_of(archive)["oblique.nii.gz"]
    assert entry["derived"]["interpolated"] == {
        "0": "annotated",
        "1": "interpolated",
        "2": "interpolated",
        "3": "interpolated",
        "4": "annotated",
    }
    filled = read_nifti(archive.read(entry["written"]["interpolated"])).array
    assert [int(plane[0].sum()) for plane in filled] == [1, 2, 3, 4, 5]
    drawn = read_nifti(archive.read(entry["written"]["annotations"])).array
    assert set(np.unique(drawn[1:-1])) == {255}
    assert read_manifest(archive)["derived_parts"] == ["interpolated"]
    with service.database.reading() as session:
        row = session.get_one(Volume, _uuid(volume["id"]))
        assert sorted(slice_annotations.current_versions(session, row)) == [0, 4]


def _uuid(text: str) -> Any:
    return UUID(text)


@on_sqlite
def test_what_cannot_be_exported_is_refused(service: Service, make_project: Callable[..., Any]) -> None:
    make_project()
    path = "/v1/projects/hearts/exports"
    assert service.refusal("POST", path) == (409, "nothing-to-export")
    assert service.refusal("POST", path, json={"format": "docx"}) == (422, "invalid-request")
    assert service.refusal("POST", path, json={"snapshot_id": "0" * 32}) == (404, "record-not-found")
    service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    both = {"format": "nnunet", "parts": ["annotations", "predictions"]}
    assert service.refusal("POST", path, json=both) == (422, "export-refused")
    job = service.client.post(path, {"format": "dicom-seg", "parts": ["annotations"]})
    other = service.client.post(path, {"parts": ["predictions"]})
    with unit_of_work(service.database, SilentBell()) as session:  # the training that waits is not what is looked at
        session.execute(delete(Job).where(Job.kind == "train_segmentation"))
    service.work_off()
    for each, reason in ((job, "not read from a DICOM series"), (other, "nothing in it has predictions")):
        failed = service.client.get(f"/v1/jobs/{each['id']}")
        assert failed["state"] == "failed"
        assert reason in failed["error"]["detail"]

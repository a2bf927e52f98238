import hashlib
import io
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from PIL import Image

from app.datasets.phantom import PhantomConfig, list_phantoms
from app.embedded import running_service
from app.formats.image import Geometry
from app.formats.nifti import read_nifti, write_nifti
from tests.api.conftest import Service, on_sqlite
from tests.formats.dicoms import write_series

SCHEMA = [
    {"value": 0, "name": "background", "color": "#000000"},
    {"value": 1, "name": "one", "color": "#ff0000"},
    {"value": 2, "name": "two", "color": "#00ff00"},
]
GEOMETRY = Geometry((6, 5, 4), 2, ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 3, 0), (0, 0, 0, 1)), (3.0, 1.0, 1.0))
STACK = np.random.default_rng(0).integers(0, 900, (4, 5, 6)).astype(np.int16)
MASK = (STACK % 3).astype(np.uint8)


@pytest.fixture
def project(service: Service) -> str:
    """An empty project of three classes."""
    draft = {"slug": "scans", "name": "Scans", "label_schema": SCHEMA, "supervision": "full"}
    more = {"strategy": "random", "budgets": [10, 20], "preset": "tiny"}
    service.client.post("/v1/projects", draft | more)
    return "scans"


@pytest.fixture
def send(service: Service, project: str) -> Callable[..., dict[str, Any]]:
    """Uploads a file in parts, imports it, and gives back the report."""

    def upload_and_import(name: str, content: bytes, **order: Any) -> dict[str, Any]:
        upload = upload_parts(service, project, name, content)
        job = service.client.post(f"/v1/projects/{project}/imports", {"upload": upload["id"], **order})
        service.work_off()
        finished = service.client.get(f"/v1/jobs/{job['id']}")
        assert finished["state"] == "succeeded", finished["error"]
        report: dict[str, Any] = service.client.get(f"/v1/imports/{job['id']}")
        assert not list((service.knobs.home / "scratch").iterdir())
        return report

    return upload_and_import


def upload_parts(service: Service, project: str, name: str, content: bytes, part_bytes: int = 1 << 16) -> Any:
    """A complete upload."""
    draft = {"file_name": name, "size_bytes": len(content), "part_bytes": part_bytes}
    upload = service.client.post(f"/v1/projects/{project}/uploads", draft)
    for number in upload["missing"]:
        part = content[number * part_bytes : (number + 1) * part_bytes]
        put_part(service, upload, number, part)
    return service.client.post(f"/v1/uploads/{upload['id']}/complete")


def put_part(service: Service, upload: Any, number: int, part: bytes, digest: str = "") -> None:
    headers = {"X-Content-SHA256": digest or hashlib.sha256(part).hexdigest()}
    service.http.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=part, headers=headers).raise_for_status()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def png(plane: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(plane).save(out, format="PNG")
    return out.getvalue()


def test_an_upload_goes_on_where_the_line_broke_and_is_stored_once(service: Service, project: str) -> None:
    content = random.Random(0).randbytes(200_000)
    digest = hashlib.sha256(content).hexdigest()
    draft = {"file_name": "a/b\\big.bin", "size_bytes": 200_000, "part_bytes": 1 << 16, "sha256": digest}
    upload = service.client.post(f"/v1/projects/{project}/uploads", draft)
    assert (upload["file_name"], upload["parts"], upload["missing"]) == ("big.bin", 4, [0, 1, 2, 3])
    for number in (3, 1, 1):
        put_part(service, upload, number, content[number << 16 : (number + 1) << 16])
    path = f"/v1/uploads/{upload['id']}"
    assert service.client.get(path)["missing"] == [0, 2]
    assert service.refusal("POST", f"{path}/complete") == (409, "upload-incomplete")
    assert service.refusal("PUT", f"{path}/parts/0", content=b"short") == (422, "upload-refused")
    assert service.refusal("PUT", f"{path}/parts/4", content=b"short") == (422, "upload-refused")
    wrong = {"X-Content-SHA256": "0" * 64}
    assert service.refusal("PUT", f"{path}/parts/0", content=content[: 1 << 16], headers=wrong)[1] == "upload-refused"
    put_part(service, upload, 0, bytes(1 << 16))  # not what was announced: found when the parts are joined
    put_part(service, upload, 2, content[2 << 16 : 3 << 16])
    assert service.refusal("POST", f"{path}/complete") == (422, "upload-refused")
    put_part(service, upload, 0, content[: 1 << 16])
    assert service.client.post(f"{path}/complete")["complete"]
    assert service.client.post(f"{path}/complete")["complete"]
    again = service.client.post(f"/v1/projects/{project}/uploads", draft)
    assert (again["complete"], again["missing"]) == (True, [])
    for each in (upload, again):
        service.http.delete(f"/v1/uploads/{each['id']}").raise_for_status()
        assert service.refusal("GET", f"/v1/uploads/{each['id']}")[0] == 404


@on_sqlite
@pytest.mark.parametrize(
    "changes",
    [{"file_name": ""}, {"size_bytes": 0}, {"size_bytes": 1 << 50}, {"part_bytes": 1}, {"sha256": "x"}, {"name": "a"}],
)
def test_an_upload_that_makes_no_sense_is_refused(service: Service, project: str, changes: dict[str, Any]) -> None:
    draft = {"file_name": "x", "size_bytes": 5} | changes
    assert service.refusal("POST", f"/v1/projects/{project}/uploads", json=draft)[0] == 422


def test_a_zip_of_anything_is_taken_in_and_every_other_file_is_named(
    send: Any, service: Service, tmp_path: Path
) -> None:
    voxels = write_series(tmp_path / "ct")
    files = {
        "all/three d/café scan.nii.gz": write_nifti(STACK, GEOMETRY),
        "all/three d/café scan_seg.nii.gz": write_nifti(MASK, GEOMETRY),
        "all/three d/._café scan.nii.gz": b"left by a desktop",
        "all/broken.nii.gz": b"\x1f\x8bnothing",
        "all/lonely_label.nii.gz": write_nifti(MASK, GEOMETRY),
        "all/film.mp4": b"x",
        "all/letter.docx": b"x",
        "../outside.nii": write_nifti(STACK, GEOMETRY),
        **{f"all/stack/images/{z}.png": png((STACK[z] // 4).astype(np.uint8)) for z in range(4)},
        **{f"all/stack/masks/{z}.png": png(MASK[z]) for z in range(4)},
        **{f"all/dicom/{path.stem}": path.read_bytes() for path in (tmp_path / "ct").iterdir()},
    }
    report = send("scans.zip", zipped(files), split="train")
    assert (report["dataset"], report["source"]) == ("mixed", "scans.zip")
    lines = {line["name"].split("/")[-1].split()[0]: line for line in report["volumes"]}
    assert set(lines) == {"café", "stack", "CT"}
    assert report["counts"]["train"] == {"patients": 3, "volumes": 3, "slices": 13}
    assert [line["name"] for line in report["refused"]] == ["broken broken"]
    named = {Path(line["name"]).name for line in report["left_out"]}
    assert named == {"lonely_label.nii.gz", "film.mp4", "letter.docx", "outside.nii"}
    assert "1 hidden files were passed over" in report["remarks"]
    assert report["deidentified"]["removed"]["PatientID"] == 5
    assert lines["café"]["ground_truth"] == lines["stack"]["ground_truth"] == ["full"]
    slices = service.client.get(f"/v1/volumes/{lines['CT']['id']}/slices")["items"]
    raw = service.http.get(f"/v1/slices/{slices[2]['id']}/image?format=raw").content
    assert np.array_equal(np.frombuffer(raw, "<i2").reshape(4, 6), voxels[2])
    kept = service.http.get(f"/v1/volumes/{lines['CT']['id']}/file")
    assert kept.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(kept.content)) as archive:
        assert archive.namelist() == [f"{number:06d}.dcm" for number in range(1, 6)]
        assert pydicom.dcmread(io.BytesIO(archive.read("000001.dcm"))).PatientID == lines["CT"]["patient"]
    assert b"Somebody" not in kept.content
    own = service.http.get(f"/v1/volumes/{lines['café']['id']}/file").content
    assert np.array_equal(read_nifti(own).array, STACK)
    # The same again is the same volumes, not more of them.
    assert len(send("again.zip", zipped(files), split="train")["volumes"]) == 3
    assert len(service.client.get("/v1/projects/scans/volumes")["items"]) == 3


@on_sqlite
def test_the_untouched_series_is_kept_only_where_that_is_asked_for(send: Any, service: Service, tmp_path: Path) -> None:
    write_series(tmp_path)
    content = zipped({path.name: path.read_bytes() for path in tmp_path.glob("*.dcm")})
    report = send("ct.zip", content, untouched=True)
    assert report["deidentified"] is None
    (line,) = report["volumes"]
    assert b"Somebody" in service.http.get(f"/v1/volumes/{line['id']}/file").content
    assert line["patient"].startswith("p-")


@on_sqlite
def test_a_data_set_is_known_by_its_layout_and_keeps_its_splits(send: Any, tmp_path: Path) -> None:
    list_phantoms(tmp_path / "acdc", config=PhantomConfig(patients=4, slices=2, height=16, width=16))
    files = {str(path.relative_to(tmp_path)): path.read_bytes() for path in tmp_path.rglob("acdc/**/*.*")}
    report = send("hearts.zip", zipped(files))
    assert report["dataset"] == "acdc"
    # Its masks have a class that the project does not: each volume is refused by name, with the values.
    assert len(report["refused"]) == 8
    assert "3" in report["refused"][0]["reason"]
    mapped = send("hearts.zip", zipped(files), mask_values={"0": 0, "1": 1, "2": 2, "3": 2})
    assert mapped["refused"] == []
    assert mapped["counts"]["train"]["patients"] == 2
    assert {*mapped["volumes"][0]["ground_truth"]} == {"full", "scribble"}


@on_sqlite
@pytest.mark.parametrize(("name", "axis", "shape"), [("one.nii.gz", None, 4), ("one.nii", 0, 6), ("ONE.NII.GZ", 1, 5)])
def test_a_single_file_is_imported_along_the_axis_asked_for(send: Any, name: str, axis: int | None, shape: int) -> None:
    content = write_nifti(STACK, GEOMETRY, compress=name.lower().endswith(".gz"))
    (line,) = send(name, content, axis=axis)["volumes"]
    assert (line["slices"], line["axis"]) == (shape, 2 if axis is None else axis)


@on_sqlite
def test_a_volume_that_tells_no_axis_waits_until_one_is_said_for_it(service: Service, send: Any) -> None:
    cube = Geometry((6, 5, 4), 2, ((0, 0, 1, 0), (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 0, 1)), (1.0, 1.0, 1.0))
    files = {
        **{f"a/{name}.nii": write_nifti(STACK, cube, compress=False) for name in ("cube", "head")},
        "a/cube_seg.nii": write_nifti(MASK, cube, compress=False),
        "a/thick.nii": write_nifti(STACK, GEOMETRY, compress=False),
    }
    report = send("scans.zip", zipped(files), split="train")
    assert [line["name"] for line in report["volumes"]] == ["thick"]
    assert report["refused"] == []
    waiting = {line["name"]: line for line in report["needs_axis"]}
    assert set(waiting) == {"cube cube", "head head"}
    assert waiting["cube cube"]["views"] == ["coronal", "axial", "sagittal"]
    assert (waiting["cube cube"]["shape"], waiting["cube cube"]["spacing_mm"]) == ([6, 5, 4], [1.0, 1.0, 1.0])
    answered = send("scans.zip", zipped(files), split="train", axes={"cube cube": 1})
    lines = {line["name"]: line for line in answered["volumes"]}
    assert {name: (line["axis"], line["slices"]) for name, line in lines.items()} == {"cube": (1, 5), "thick": (2, 4)}
    assert lines["cube"]["ground_truth"] == ["full"]
    assert [line["name"] for line in answered["needs_axis"]] == ["head head"]
    # An axis for all does not turn what is there already, whose masks and annotations lie as it was cut.
    turned = send("scans.zip", zipped(files), split="train", axis=0)
    assert [line["name"] for line in turned["volumes"]] == ["head"]
    assert {line["reason"].split(",")[-1] for line in turned["refused"]} == {" cut along axis 1.", " cut along axis 2."}
    path = "/v1/projects/scans/volumes"
    files_ = {"image": ("other.nii", write_nifti(STACK, cube, compress=False))}
    refused = service.refusal("POST", path, data={"patient": "p", "name": "v"}, files=files_)
    assert refused == (422, "axis-unclear")
    assert service.refusal("POST", "/v1/projects/scans/imports", json={"path": "x", "axes": {"a b": 3}})[0] == 422


@on_sqlite
def test_what_holds_no_image_at_all_fails_with_every_name(service: Service, project: str) -> None:
    upload = upload_parts(service, project, "x.zip", zipped({"a.txt": b"x", "b.docx": b"x"}))
    job = service.client.post(f"/v1/projects/{project}/imports", {"upload": upload["id"]})
    service.work_off()
    failed = service.client.get(f"/v1/jobs/{job['id']}")
    assert failed["state"] == "failed"
    assert "a.txt" in failed["error"]["detail"]
    assert "b.docx" in failed["error"]["detail"]
    assert service.refusal("GET", f"/v1/imports/{job['id']}")[0] == 404


@on_sqlite
def test_an_import_needs_one_complete_source(service: Service, project: str) -> None:
    path = f"/v1/projects/{project}/imports"
    draft = {"file_name": "x", "size_bytes": 5}
    open_upload = service.client.post(f"/v1/projects/{project}/uploads", draft)["id"]
    assert service.refusal("POST", path, json={}) == (422, "project-setting-refused")
    assert service.refusal("POST", path, json={"upload": open_upload, "path": "x"})[0] == 422
    assert service.refusal("POST", path, json={"upload": open_upload}) == (409, "upload-incomplete")
    assert service.refusal("POST", path, json={"path": "x"}) == (422, "server-folder-refused")
    assert service.refusal("POST", path, json={"path": "x", "dataset": "imagenet"}) == (422, "unknown-dataset")


@on_sqlite
def test_a_folder_of_the_server_is_open_only_below_its_root(database_url: str, tmp_path: Path) -> None:
    import httpx

    from app.client import Client
    from app.db.session import Database
    from app.settings import Settings

    root = tmp_path / "root"
    (root / "set").mkdir(parents=True)
    (root / "set" / "a.nii.gz").write_bytes(write_nifti(STACK, GEOMETRY))
    (tmp_path / "secret").mkdir()
    (root / "link").symlink_to(tmp_path / "secret")
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database_url, import_root=root)
    with running_service(knobs, queues=()) as url, Client(url) as client, httpx.Client(base_url=url) as http:
        service = Service(url, http, client, knobs, Database(knobs.database))
        draft = {"slug": "scans", "name": "Scans", "label_schema": SCHEMA, "supervision": "full", "budgets": [10]}
        client.post("/v1/projects", draft | {"strategy": "random", "preset": "tiny"})
        for bad in ("../secret", "link", "/etc", "absent", "set/\0"):
            answer = service.refusal("POST", "/v1/projects/scans/imports", json={"path": bad})
            assert answer == (422, "invalid-request" if "\0" in bad else "server-folder-refused"), bad
        for good in ("set", "set/a.nii.gz"):
            job = client.post("/v1/projects/scans/imports", {"path": good})
            service.work_off()
            assert client.get(f"/v1/imports/{job['id']}")["volumes"][0]["slices"] == 4
        service.database.dispose()

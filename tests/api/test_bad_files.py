"""Files, headers and numbers that nobody should send, on every route that takes them; nothing of them is stored."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from app.db.models import Project
from app.db.session import Database
from app.embedded import running_service
from app.names import Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.settings import Settings
from tests.api.garbage import GARBAGE, LIMIT_BYTES, nifti
from tests.api.populated import SIDE, add_full_project
from tests.api.test_foreign_ids import counted

NAMES = (
    "scan.nii",
    "scan.nii.gz",
    "scan.nrrd",
    "scan.png",
    "../../../evil.nii",
    "C:\\evil.nii",
    "scan",
    "a\u202eiin.nii",
)


@pytest.fixture(scope="module")
def ward(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """An owner's client, the rows of their project, the database, and the folder around the service's home."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'data.db'}")
    with unit_of_work(database, SilentBell()) as session:
        rows = add_full_project(session, "hearts", "owner")
        account = people.create_account(session, "owner", None)
        project = session.get_one(Project, members.project_of(session, "project", "hearts"))
        members.set_member(session, project, account.id, Role.OWNER)
        _, secret = people.create_token(session, account, "test", Scope.ADMIN, 1)
    knobs = Settings(
        home=folder / "home", port=0, database_url=database.url, sign_in="accounts", max_upload_bytes=LIMIT_BYTES
    )
    with running_service(knobs, queues=()) as url, httpx.Client(base_url=url, timeout=30) as http:
        http.headers["Authorization"] = f"Bearer {secret}"
        yield http, rows, database, folder
    database.dispose()


@pytest.fixture(autouse=True)
def nothing_is_stored(ward: Any) -> Iterator[None]:
    """No row more or less, and nothing written but in the service's home."""
    _, _, database, folder = ward
    before = counted(database)
    yield
    assert counted(database) == before
    assert {each.name.split("-")[0] for each in folder.iterdir()} <= {"home", "data.db"}
    assert not list(folder.rglob("*evil*"))


def refused(answer: httpx.Response) -> None:
    """A refusal in words, with no path of the server in it."""
    assert 400 <= answer.status_code < 500, (answer.request.url, answer.status_code, answer.text[:500])
    assert answer.headers["content-type"] == "application/problem+json"
    assert "Traceback" not in answer.text
    assert "root:" not in answer.text


@pytest.mark.parametrize("name", GARBAGE)
def test_files_that_are_no_scan_and_no_mask(ward: Any, name: str) -> None:
    http, rows, _, _ = ward
    content = GARBAGE[name]
    if not name.startswith(("zip", "nrrd, no sizes")):
        form = {"patient": "p9", "name": "v9"}
        for file_name in NAMES[: 2 if "bomb" in name else None]:
            refused(http.post("/v1/projects/hearts/volumes", data=form, files={"image": (file_name, content)}))
    params = {"kind": "full"}
    slice_ = f"/v1/slices/{rows['slice_']}"
    for media_type in ("application/octet-stream", "application/gzip", "image/png", "text/plain"):
        headers = {"Content-Type": media_type, "If-Match": f'"{rows["version"]}"'}
        refused(http.post(f"{slice_}/annotations", params=params, content=content, headers=headers))
        refused(http.put(f"{slice_}/draft", params=params, content=content, headers={"Content-Type": media_type}))
    path = f"/v1/volumes/{rows['volume']}/annotation"
    tag = {"If-Match": '"0"'}
    refused(http.put(path, params=params, content=content, headers=tag))


@pytest.mark.parametrize("field", ["full_mask", "scribble_mask"])
@pytest.mark.parametrize("name", [name for name in GARBAGE if "bomb" not in name])
def test_masks_beside_a_scan_that_are_none(ward: Any, name: str, field: str) -> None:
    http, _, _, _ = ward
    files = {"image": ("scan.nii", nifti()), field: ("mask.nii", GARBAGE[name])}
    refused(http.post("/v1/projects/hearts/volumes", data={"patient": "p9", "name": "v9"}, files=files))


FORMS: tuple[dict[str, str], ...] = (
    *({"patient": each} for each in ("", " ", "\0", "a\nb", "\u202e", "x" * 300, "../..", "a/b")),
    *({"name": each} for each in ("", " ", "\0", "a\nb", "\u200b", "x" * 300, "../..", "a/b")),
    *({"split": each} for each in ("", "all", "TRAIN", "\0")),
    *({"group": each} for each in ("x" * 65,)),
    *({"attributes": each} for each in ("", "[]", "{", "null", "[" * 5000, '"x"')),
    *({"axis": each} for each in ("-1", "3", "x", "1.5", "9" * 40)),
    *({"mask_values": each} for each in ("x", "[]", '{"a": 1}', '{"1": 999}', '{"1": -1}', '{"1": null}')),
)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: repr(form)[:40])
def test_facts_about_a_scan_that_cannot_be(ward: Any, form: dict[str, str]) -> None:
    http, _, _, _ = ward
    asked = {"patient": "p9", "name": "v9"} | form
    files = {"image": ("scan.nii", nifti()), "full_mask": ("mask.nii", nifti(dtype=np.uint8))}
    refused(http.post("/v1/projects/hearts/volumes", data=asked, files=files))


TAGS = ('"0"', "", "*", 'W/"0"', "0" * 5000, "' OR 1=1 --", '"00000000-0000-7000-8000-000000000000"', '"a", "b"')


@pytest.mark.parametrize("tag", TAGS, ids=lambda tag: repr(tag[:24]))
def test_stale_and_forged_versions(ward: Any, tag: str) -> None:
    http, rows, _, _ = ward
    options: dict[str, Any] = {"params": {"kind": "full"}, "content": bytes(SIDE * SIDE), "headers": {"If-Match": tag}}
    answer = http.post(f"/v1/slices/{rows['slice_']}/annotations", **options)
    refused(answer)
    assert answer.status_code == 412
    assert answer.headers["etag"] == f'"{rows["version"]}"'
    refused(http.post(f"/v1/annotation-versions/{rows['version']}/restore", headers={"If-Match": tag}))


QUERIES = (
    *(("POST", "/v1/slices/S/annotations", query) for query in (
        "", "kind=", "kind=none", "kind=full&kind=x", "kind=full&lead_time_ms=-1", "kind=full&lead_time_ms=2147483648",
        "kind=full&lead_time_ms=NaN", "kind=full&lead_time_ms=1e9", "kind=full&lead_time_ms=" + "9" * 400,
        "kind=full&purpose=none", "kind=full&annotator=", "kind=full&annotator=" + "x" * 201, "kind=full&prediction=x",
        "kind=full&prediction=%00", "kind=%ff",
    )),
    *(("GET", "/v1/slices/S/image", query) for query in (
        "format=exe", "window=0", "window=-1", "window=x", "window=nan", "level=x", "format=raw%00",
    )),
    *(("GET", "/v1/slices/S/annotation", query) for query in ("format=exe", "annotator=")),
    *(("GET", "/v1/projects/hearts/volumes", query) for query in (
        "split=none", "limit=0", "limit=501", "limit=1e3", "limit=" + "9" * 400, "cursor=x", "cursor=%00", "cursor=%ff",
    )),
    *(("GET", "/v1/projects/hearts/agreement", query) for query in ("slices=0", "slices=1001", "slices=x")),
    *(("GET", "/v1/projects/hearts/audit", query) for query in ("format=exe", "since=x", "until=" + "9" * 99)),
    *(("GET", "/v1/annotation-versions/V/diff", query) for query in ("against=x", "against=%00", "against=")),
)  # fmt: skip


@pytest.mark.parametrize(("method", "path", "query"), QUERIES, ids=lambda text: text[:40])
def test_queries_that_ask_for_what_there_is_not(ward: Any, method: str, path: str, query: str) -> None:
    http, rows, _, _ = ward
    path = path.replace("/S/", f"/{rows['slice_']}/").replace("/V/", f"/{rows['version']}/")
    content = bytes(SIDE * SIDE) if method == "POST" else None
    headers = {"If-Match": f'"{rows["version"]}"'}
    refused(http.request(method, f"{path}?{query}", content=content, headers=headers))


NUMBERS = ("NaN", "Infinity", "-1", "0", "1e400", "9" * 4000, '"1"', "null", "[]", "{}", "1.5")


def put(template: str, value: str) -> str:
    """A body with this value in it."""
    return template.replace("@", value)


BODIES = (
    *(("projects/hearts/leases", put('{"n": @}', each)) for each in NUMBERS if each not in ("null", '"1"')),
    *(("projects/hearts/leases", body) for body in ('{"x": 1}', "[]", "7", '{"purpose": "none"}', '{"annotator": ""}')),
    *(("projects/hearts/rounds", put('{"budget_percent": @}', each)) for each in (*NUMBERS[:6], "[]", '"x"')),
    *(("projects/hearts/promotions", put('{"version": @}', each)) for each in (*NUMBERS[:6], "[]", "1.5")),
    *(("projects/hearts/predictions", put('{"split": @}', each)) for each in NUMBERS if each != "null"),
    *(("annotation-versions/V/reviews", put('{"verdict": "accept", "x": @}', each)) for each in ("NaN", "-1", "[]")),
    *(("annotation-versions/V/reviews", body) for body in ("{}", '{"verdict": "fix"}', '{"verdict": "\\ud800"}')),
    *(("leases/L/skip", body) for body in ("{}", '{"reason": "none"}', '{"reason": "unsure", "note": 7}')),
    *(("leases/L/takeover", put('{"force": @}', each)) for each in ("7", "null", "[]")),
    *(("projects/hearts/uploads", put('{"file_name": "a", "size_bytes": @}', each)) for each in NUMBERS[:6]),
    *(("projects/hearts/uploads", put('{"file_name": "@", "size_bytes": 1}', each)) for each in ("", "/", "..")),
    *(("projects/hearts/imports", put('{"path": "@"}', each)) for each in ("/etc", "../..", "", "~", "\\u0000")),
    ("projects/hearts/imports", "{}"),
    ("projects/hearts/imports", '{"path": "x", "dataset": "../acdc"}'),
    *(
        ("projects/hearts/webhooks", put('{"url": "@", "events": ["round.closed"]}', each))
        for each in (
            "", "x", "file:///etc/passwd", "gopher://example.org/", "http://127.0.0.1/", "http://[::1]/",
            "http://169.254.169.254/latest", "http://10.0.0.1/", "http://0/", "http://[::ffff:127.0.0.1]/",
            "http://user:secret@127.0.0.1/", "http://127.0.0.1:99999/", "http://exa mple/", "http://a\\u0000/",
        )
    ),
    *(("projects/hearts/exports", put('{"format": @}', each)) for each in ('"exe"', "7", '"../zip"')),
)  # fmt: skip


@pytest.mark.parametrize(("path", "body"), BODIES, ids=lambda text: text[:48])
def test_numbers_and_words_that_cannot_be(ward: Any, path: str, body: str) -> None:
    http, rows, _, _ = ward
    path = path.replace("/V/", f"/{rows['version']}/").replace("L/", f"{rows['lease']}/")
    refused(http.post(f"/v1/{path}", content=body.encode(), headers={"Content-Type": "application/json"}))


HEADERS = (
    {"Idempotency-Key": ""},
    {"Idempotency-Key": "a b"},
    {"Idempotency-Key": "x" * 201},
    {"Idempotency-Key": "é".encode()},
    {"Content-Type": "text/plain"},
    {"Content-Type": "multipart/form-data"},
    {"Content-Type": "application/xml"},
    {"Cookie": "nextslice_session=forged", "Authorization": ""},
    {"Cookie": "nextslice_session=" + "x" * 5000, "Authorization": ""},
    {"Cookie": "nextslice_session=' OR 1=1", "Authorization": ""},
    {"Sec-Fetch-Site": "cross-site", "Authorization": "Basic eA=="},
)


@pytest.mark.parametrize("headers", HEADERS, ids=lambda headers: str(headers)[:48])
def test_headers_that_are_not_believed(ward: Any, headers: dict[str, Any]) -> None:
    http, _, _, _ = ward
    given = {"Content-Type": "application/json"} | headers
    refused(http.post("/v1/projects/hearts/uploads", content=b'{"file_name": 7}', headers=given))


def test_parts_of_an_upload_that_are_none(ward: Any) -> None:
    http, rows, _, _ = ward
    path = f"/v1/uploads/{rows['upload']}/parts"
    for number in ("-1", "2", "x", "1e1", "9" * 40, "%00", "../0"):
        refused(http.put(f"{path}/{number}", content=bytes(65_536)))
    for content in (b"", bytes(1), bytes(65_537), bytes(LIMIT_BYTES + 1)):
        refused(http.put(f"{path}/0", content=content))
    for digest in ("x", "0" * 64, "../../evil"):
        refused(http.put(f"{path}/0", content=bytes(65_536), headers={"X-Content-Sha256": digest}))
    refused(http.post(f"/v1/uploads/{rows['upload']}/complete"))


def test_a_body_that_hides_its_length_is_cut_off(ward: Any) -> None:
    http, rows, _, _ = ward

    def endless() -> Iterator[bytes]:
        for _ in range(LIMIT_BYTES // 65_536 + 2):
            yield bytes(65_536)

    answer = http.put(f"/v1/uploads/{rows['upload']}/parts/0", content=endless())
    refused(answer)
    assert answer.status_code == 413

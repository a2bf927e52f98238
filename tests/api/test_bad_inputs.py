"""Bad inputs: of every one of them three facts are checked, and they are counted.

No answer is a 5xx; nothing is written but in the data folder, and no row; nothing of another's project is shown.
`pytest -s tests/api/test_bad_inputs.py` prints how many distinct inputs of each category were sent, and in how many
requests.
"""

from __future__ import annotations

import os
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from app.db.models import ApiToken, Patient, Project, SignIn, Webhook
from app.db.session import Database, database_now
from app.embedded import running_service
from app.names import JobKind, JobState, Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.jobs import queue_job
from app.settings import Settings
from tests.api.garbage import LIMIT_BYTES
from tests.api.hostile import Case, Place, list_cases
from tests.api.hostile_words import RAW
from tests.api.populated import add_full_project
from tests.api.test_foreign_ids import counted

AT_LEAST = 200
ATTEMPTS = {"sign_in_attempts", "audit_events"}
"""Tables that a refused sign-in writes to: it counts."""

_watched: list[tuple[Path, list[str]]] = []


def _note_write(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watched:
        return
    allowed, found = _watched[-1]
    writes = event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if (writes or event in {"os.mkdir", "os.rename", "os.link", "os.symlink"}) and isinstance(
        arguments[0], (str, bytes)
    ):
        path = Path(os.fsdecode(arguments[0])).absolute()
        if not path.is_relative_to(allowed) and not path.is_relative_to("/dev") and "__pycache__" not in path.parts:
            found.append(f"{event} {path}")


sys.addaudithook(_note_write)  # it cannot be taken off again, so that it looks only where a folder is watched


@contextmanager
def watched_writes(allowed: Path) -> Iterator[list[str]]:
    """Every file that this process, the service in it included, opens for writing outside of the folder."""
    found: list[str] = []
    _watched.append((allowed, found))
    try:
        yield found
    finally:
        _watched.pop()


@pytest.fixture
def town(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Place, Path]]:
    """A service with accounts over two projects; its home, where alone it may write."""
    home = tmp_path / "home"
    monkeypatch.setattr(tempfile, "tempdir", str(home / "spool"))
    (home / "spool").mkdir(parents=True)
    with unit_of_work(database, SilentBell()) as session:
        own, foreign = add_full_project(session, "hearts", "manager"), add_full_project(session, "livers", "stranger")
        for table, column in ((Patient, "code"), (Webhook, "url")):
            named = update(table).where(table.project_id == members.project_of(session, "project", "livers"))
            session.execute(named.values({column: "https://secret-of-the-livers/"}))
        done = queue_job(session, project_id=members.project_of(session, "project", "hearts"), kind=JobKind.EXPORT)
        done.state, done.result = JobState.SUCCEEDED, {"key": "", "size_bytes": 10, "file_name": "hearts.zip"}
        own["export"] = str(done.id)
        secrets = _make_people(session, own, foreign)
    knobs = Settings(home=home, port=0, database_url=database.url, sign_in="accounts", max_upload_bytes=LIMIT_BYTES)
    with running_service(knobs, queues=()) as url:
        yield url, Place(own, foreign, secrets), home


def _make_people(session: Any, own: dict[str, str], foreign: dict[str, str]) -> dict[str, str]:
    secrets: dict[str, str] = {}
    roles = {"manager": Role.MANAGER, "viewer": Role.VIEWER, "reader": Role.OWNER, "disabled": Role.OWNER}
    for name in ("admin", "stranger", "expired", "revoked", *roles):
        account = people.create_account(session, name, None, administrator=name == "admin")
        scope = Scope.READ if name == "reader" else Scope.ADMIN
        token, secrets[name] = people.create_token(session, account, "test", scope, 1)
        project = session.get_one(
            Project, members.project_of(session, "project", "livers" if name == "stranger" else "hearts")
        )
        members.set_member(session, project, account.id, roles.get(name, Role.OWNER))
        if name == "stranger":
            foreign |= {"token": str(token.id), "account": str(account.id)}
        if name == "revoked":
            session.delete(token)
        for kind in ("session", "expired session", "disabled session"):
            if name == {"session": "manager", "expired session": "expired", "disabled session": "disabled"}[kind]:
                secrets[kind] = people.open_session(session, account, 3600.0)
        if name == "disabled":
            account.disabled = True
        if name == "expired":
            session.flush()
            past = database_now(session) - timedelta(seconds=1)
            for table in (ApiToken, SignIn):
                session.execute(update(table).where(table.account_id == account.id).values(until=past))
    return secrets


def find_fault(case: Case, answer: httpx.Response, foreign: dict[str, str]) -> str | None:
    """What is wrong with the answer to a case; None: nothing."""
    if answer.status_code >= 500 or (answer.status_code < 400) != case.taken:
        return f"answered {answer.status_code}"
    if not case.taken and answer.headers["content-type"] != "application/problem+json":
        return f"refused as {answer.headers['content-type']}"
    told = answer.text + "".join(f"\n{name}: {value}" for name, value in answer.headers.items())
    asked = f"{answer.request.url} {case.options}".lower()
    secret = [word for word in ("livers", "stranger", *foreign.values()) if word in told and word not in asked]
    if secret:
        return f"shows {secret}"
    shown = [word for word in ("Traceback", "root:", "secret-of-the-livers", "sqlalchemy", "psycopg") if word in told]
    return f"shows {shown}" if shown or "x-evil" in answer.headers else None


def send(http: httpx.Client, case: Case, secrets: dict[str, str]) -> httpx.Response:
    """The answer to a case."""
    options = {key: value() if callable(value) else value for key, value in case.options.items()}
    headers = dict(options.pop("headers", None) or {})
    if case.sender is not None:
        headers["Authorization"] = f"Bearer {secrets[case.sender]}"
    # Who refuses a long body before the end of it closes the line, and its sender may learn of that before the answer.
    for _ in range(4):
        with suppress(httpx.ReadError, httpx.WriteError):
            return http.request(case.method, case.path, headers=headers, **options)
    return http.request(case.method, case.path, headers=headers, **options)


@pytest.mark.timeout(600)
def test_no_bad_input_does_or_shows_anything(town: tuple[str, Place, Path], database: Database) -> None:
    url, place, home = town
    cases, faults = list_cases(place), []
    before, files = counted(database), sorted(each.name for each in home.parent.iterdir())
    with watched_writes(home.parent) as written, httpx.Client(base_url=url, timeout=60) as http:
        for case in cases:
            answer = send(http, case, place.secrets)
            fault = find_fault(case, answer, place.foreign)
            if fault is None and sorted(each.name for each in home.parent.iterdir()) != files:
                fault = "wrote beside the data folder"
            if fault is None and written:
                fault = f"wrote {written}"
            if fault is not None:
                faults.append(
                    f"{case.category}, {case.input[:80]}, {case.method} {case.path[:80]}: {fault} {answer.text[:200]}"
                )
    after = counted(database)
    changed = {table for table, rows in before.items() if rows != after[table]} - ATTEMPTS
    assert not faults, "\n".join(faults)
    assert not changed
    assert not list(home.rglob("*evil*"))
    assert not list((home / "spool").iterdir())
    _print_counts(database, cases)


def _print_counts(database: Database, cases: list[Case]) -> None:
    """What was sent, by category; distinct inputs are those that differ in what is wrong, not in where it was sent."""
    inputs: dict[str, set[str]] = {}
    for case in cases:
        inputs.setdefault(case.category, set()).add(case.input)
    total = sum(map(len, inputs.values()))
    print(f"\nbad inputs on {'SQLite' if database.is_sqlite else 'PostgreSQL'}  # distinct, requests")  # noqa: T201
    for category, found in sorted(inputs.items()):
        requests = sum(case.category == category for case in cases)
        print(f"  {category:22}{len(found):6}{requests:8}")  # noqa: T201
    print(f"  {'all':22}{total:6}{len(cases):8}  no 5xx, nothing written, nothing of others shown")  # noqa: T201
    assert total >= AT_LEAST


def test_the_watch_sees_what_is_written_beside_the_folder(tmp_path: Path) -> None:
    with watched_writes(tmp_path / "home") as written:
        (tmp_path / "evil").write_text("x", encoding="utf-8")
        (tmp_path / "home").mkdir()
        (tmp_path / "home" / "kept").write_text("x", encoding="utf-8")
    assert [each.rsplit("/", 1)[-1] for each in written] == ["evil"]


@pytest.mark.parametrize("content", RAW, ids=lambda content: repr(content[:40]))
def test_bytes_that_are_no_request(raw_place: tuple[str, int], content: bytes) -> None:
    with socket.create_connection(raw_place, timeout=10) as line:
        line.sendall(content)
        line.shutdown(socket.SHUT_WR)
        answer = b"".join(iter(lambda: line.recv(65_536), b""))
    assert not answer or answer.split(b" ", 2)[1][:1] == b"4", answer[:300]
    assert b"root:" not in answer


@pytest.fixture(scope="module")
def raw_place(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """The address of a service with accounts."""
    folder = tmp_path_factory.mktemp("raw")
    (folder / "data.db").write_bytes(sqlite_template.read_bytes())
    knobs = Settings(home=folder, port=0, database_url=f"sqlite:///{folder / 'data.db'}", sign_in="accounts")
    with running_service(knobs, queues=()) as url:
        host, _, port = url.removeprefix("http://").partition(":")
        yield host, int(port)

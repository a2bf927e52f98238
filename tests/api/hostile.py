"""Requests that nobody should send: each a case with its category and the input that is wrong about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from app.api.access import RULES
from tests.api.garbage import GARBAGE, LIMIT_BYTES, nifti, png
from tests.api.hostile_words import (
    BODIES,
    DRAFT,
    DRAFTS,
    FILE_NAMES,
    FORMS,
    NAMES,
    PATH_NAMES,
    QUERIES,
    SQL,
    TAGS,
    USERS,
    WORDS,
)
from tests.api.populated import SIDE

NOBODYS = "00000000-0000-7000-8000-000000000000"
THINGS = ("projects", "volumes", "slices", "rounds", "jobs", "leases", "models", "webhooks", "annotation-versions")
THINGS += ("uploads", "snapshots", "deletions")
JSON = {"Content-Type": "application/json"}
MASK = bytes(SIDE * SIDE)


@dataclass(frozen=True)
class Place:
    """The ids of the sender's project, those of one that they may not know of, and what people sign in with."""

    own: dict[str, str]
    foreign: dict[str, str]
    secrets: dict[str, str]


@dataclass(frozen=True)
class Case:
    """One request. `taken`: it is answered, for what is odd about it is only text; it reads and writes nothing."""

    category: str
    input: str
    method: str
    path: str
    options: dict[str, Any] = field(default_factory=dict)
    sender: str | None = "manager"
    taken: bool = False


def list_cases(place: Place) -> list[Case]:
    """Every case there is."""
    makers: tuple[Callable[[Place], Iterable[Case]], ...] = (
        _names,
        _garbage,
        _masks_beside_scans,
        _wrong_words,
        _oversize,
        _stale,
        _signed_by_nobody,
        _foreign_ids,
        _headers,
    )
    return [case for make in makers for case in make(place)]


def _names(place: Place) -> Iterator[Case]:
    for category, names in (("path tricks", NAMES), ("SQL tricks", SQL)):
        for name in names:
            for thing in THINGS:
                yield Case(category, name, "GET", f"/v1/{thing}/{name}")
            yield Case(category, name, "POST", f"/v1/projects/{name}/rounds")
            yield Case(category, name, "DELETE", f"/v1/leases/{name}")
    for word in SQL:
        for query in ("actor", "action", "object"):
            yield Case("SQL tricks", f"{query}={word}", "GET", f"/v1/projects/hearts/audit?{query}={word}", taken=True)
        yield Case("SQL tricks", f"cursor={word}", "GET", f"/v1/projects/hearts/volumes?cursor={word}")
        login = {"json": {"name": word, "password": word}}
        yield Case("SQL tricks", f"login {word}", "POST", "/v1/auth/login", login, sender=None)
    for file_name in PATH_NAMES:
        files = {"image": (file_name, GARBAGE["text"])}
        options = {"data": {"patient": "p9", "name": "v9"}, "files": files}
        yield Case("path tricks", f"file {file_name!r}", "POST", "/v1/projects/hearts/volumes", options)
    upload = f"/v1/uploads/{place.own['upload']}/parts"
    for number in ("-1", "2", "x", "1e1", "9" * 40, "%00", "..%2f0"):
        yield Case("path tricks", f"part {number}", "PUT", f"{upload}/{number}", {"content": bytes(65_536)})


def _garbage(place: Place) -> Iterator[Case]:
    slice_, volume = f"/v1/slices/{place.own['slice_']}", f"/v1/volumes/{place.own['volume']}"
    over, params = {"If-Match": f'"{place.own["version"]}"'}, {"kind": "full"}
    for name, content in GARBAGE.items():
        category = _kind_of_garbage(name)
        if not name.startswith(("zip", "nrrd, no sizes")):
            for file_name in FILE_NAMES[: 2 if "bomb" in name else None]:
                options = {"data": {"patient": "p9", "name": "v9"}, "files": {"image": (file_name, content)}}
                yield Case(category, name, "POST", "/v1/projects/hearts/volumes", options)
        for media in ("application/octet-stream", "application/gzip", "image/png", "text/plain"):
            sent = {"params": params, "content": content, "headers": {"Content-Type": media} | over}
            yield Case(category, name, "POST", f"{slice_}/annotations", sent)
            draft = {"params": params, "content": content, "headers": {"Content-Type": media}}
            yield Case(category, name, "PUT", f"{slice_}/draft", draft)
        whole = {"params": params, "content": content, "headers": {"If-Match": '"0"'}}
        yield Case(category, name, "PUT", f"{volume}/annotation", whole)


def _kind_of_garbage(name: str) -> str:
    if "bomb" in name:
        return "bombs"
    if any(word in name for word in ("truncated", "only", "half", "short", "no data", "no pixels")):
        return "truncated"
    if "other file" in name or "path" in name or "absolute" in name:
        return "path tricks"
    return "oversize" if "over" in name else "garbage"


def _masks_beside_scans(_place: Place) -> Iterator[Case]:
    for name, content in GARBAGE.items():
        if "bomb" in name:
            continue
        for which in ("full_mask", "scribble_mask"):
            files = {"image": ("scan.nii", nifti()), which: ("mask.nii", content)}
            options = {"data": {"patient": "p9", "name": "v9"}, "files": files}
            yield Case(_kind_of_garbage(name), name, "POST", "/v1/projects/hearts/volumes", options)


def _wrong_words(place: Place) -> Iterator[Case]:
    for change in DRAFTS:
        options = {"json": DRAFT | change}
        yield Case("wrong type or value", f"project {change}", "POST", "/v1/projects", options, sender="admin")
    for body in BODIES:
        for path in ("/v1/projects", "/v1/auth/login", "/v1/tokens", "/v1/users"):
            options = {"content": body, "headers": JSON}
            yield Case("wrong type or value", f"body {body[:24]!r}", "POST", path, options, sender="admin")
    for form in FORMS:
        files = {"image": ("scan.nii", nifti()), "full_mask": ("mask.nii", nifti(dtype=np.uint8))}
        options = {"data": {"patient": "p9", "name": "v9"} | form, "files": files}
        yield Case("wrong type or value", f"form {form}", "POST", "/v1/projects/hearts/volumes", options)
    over = {"If-Match": f'"{place.own["version"]}"'}
    for method, path, query in QUERIES:
        content = MASK if method == "POST" else nifti((SIDE, SIDE, 3), np.uint8) if method == "PUT" else None
        headers = over if method == "POST" else {"If-Match": '"0"'} if method == "PUT" else {}
        target = f"{path.format(**place.own)}?{query}"
        yield Case("wrong type or value", f"{path}?{query}", method, target, {"content": content, "headers": headers})
    for path, body in WORDS:
        options = {"content": body.encode(), "headers": JSON}
        category = "path tricks" if "imports" in path or "webhooks" in path else "wrong type or value"
        yield Case(category, f"{path} {body[:80]}{len(body)}", "POST", path.format(**place.own), options)
    for body in USERS:
        options = {"content": body.encode(), "headers": JSON}
        yield Case("wrong type or value", f"user {body[:80]}{len(body)}", "POST", "/v1/users", options, sender="admin")


def _oversize(place: Place) -> Iterator[Case]:
    part, much = f"/v1/uploads/{place.own['upload']}/parts/0", bytes(LIMIT_BYTES + 1)

    def endless() -> Iterator[bytes]:
        for _ in range(LIMIT_BYTES // 65_536 + 2):
            yield bytes(65_536)

    for content in (b"", bytes(1), bytes(65_537), much):
        yield Case("oversize", f"a part of {len(content)} bytes", "PUT", part, {"content": content})
    yield Case("oversize", "a part that hides its length", "PUT", part, {"content": endless})
    for method, path in (
        ("POST", "/v1/projects"),
        ("POST", "/v1/auth/login"),
        ("POST", "/v1/projects/hearts/leases"),
        ("PUT", f"/v1/volumes/{place.own['volume']}/annotation?kind=full"),
        ("POST", f"/v1/slices/{place.own['slice_']}/annotations?kind=full"),
    ):
        options = {"content": much, "headers": JSON | {"If-Match": '"0"'}}
        yield Case("oversize", f"{path} with a long body", method, path, options)
        hidden = options | {"content": endless}
        yield Case("oversize", f"{path} with a body without end", method, path, hidden)
    yield Case("oversize", "a long query", "GET", "/v1/projects?cursor=" + "x" * 60_000)
    yield Case("oversize", "many values of one query", "GET", "/v1/projects?" + "limit=0&" * 5000)
    fields = {f"field{number}": "x" for number in range(1200)}
    options = {"data": fields, "files": {"image": ("a.nii", b"x")}}
    yield Case("oversize", "a thousand fields of a form", "POST", "/v1/projects/hearts/volumes", options)
    for side in (1000, 4000):
        sent = {"params": {"kind": "full"}, "headers": {"Content-Type": "image/png", "If-Match": '"0"'}}
        picture = {"content": png(side, side, bytes(side * (side + 1)))}
        path = f"/v1/slices/{place.own['slice_']}/annotations"
        yield Case("oversize", f"a mask of {side} x {side} pixels", "POST", path, sent | picture)


def _stale(place: Place) -> Iterator[Case]:
    slice_, version = f"/v1/slices/{place.own['slice_']}", f"/v1/annotation-versions/{place.own['version']}"
    mask = {"params": {"kind": "full"}, "content": MASK}
    whole = {"params": {"kind": "full"}, "content": nifti((SIDE, SIDE, 3), np.uint8)}
    for tag in TAGS:
        headers = {"headers": {"If-Match": tag}}
        yield Case("stale versions", tag, "POST", f"{slice_}/annotations", mask | headers)
        yield Case("stale versions", tag, "POST", f"{version}/restore", headers)
        yield Case("stale versions", tag, "POST", f"{version}/adjudicate", headers)
        yield Case("stale versions", tag, "PUT", f"/v1/volumes/{place.own['volume']}/annotation", whole | headers)
        if tag.strip('"') not in ("0", ""):
            yield Case("stale versions", tag, "PUT", f"{slice_}/draft", mask | headers)
    for path, options in ((f"{slice_}/annotations", mask), (f"{version}/restore", {}), (f"{version}/adjudicate", {})):
        yield Case("stale versions", f"none for {path.rsplit('/', 1)[-1]}", "POST", path, options)


def _signed_by_nobody(place: Place) -> Iterator[Case]:
    reads = ("/v1/me", "/v1/projects", "/v1/projects/hearts", f"/v1/slices/{place.own['slice_']}/annotation")
    forged = (
        "Bearer", "Bearer x", "Bearer nxs_forged", "Bearer null", "Bearer ' OR '1'='1", "Basic YWRtaW46YWRtaW4=",
        "bearer", "Token x", "Bearer " + "x" * 5000, "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZG1pbiJ9.",
        f"Bearer {place.secrets['manager'][:-1]}", f"Bearer {place.secrets['manager']}x",
        f"Basic {place.secrets['manager']}", f"Bearer {place.secrets['manager'].upper()}",
    )  # fmt: skip
    for number, header in enumerate(forged):
        for path in reads:
            options = {"headers": {"Authorization": header}}
            yield Case("forged tokens", f"{number} {header[:24]}", "GET", path, options, sender=None)
    for sender in ("expired", "revoked", "disabled"):
        for path in reads:
            yield Case("expired tokens", f"{sender} token", "GET", path, sender=sender)
        yield Case("expired tokens", f"{sender} token", "POST", "/v1/projects/hearts/leases", sender=sender)
    for name in ("expired session", "disabled session"):
        for path in reads:
            options = {"headers": {"Cookie": f"nextslice_session={place.secrets[name]}"}}
            yield Case("expired tokens", name, "GET", path, options, sender=None)
    for sender, method, path in (
        ("reader", "POST", "/v1/projects/hearts/leases"),
        ("reader", "DELETE", f"/v1/leases/{place.own['lease']}"),
        ("reader", "POST", "/v1/tokens"),
        ("reader", "GET", "/v1/tokens"),
        ("viewer", "POST", "/v1/projects/hearts/leases"),
        ("viewer", "GET", f"/v1/models/{place.own['model']}/weights"),
        ("manager", "POST", "/v1/users"),
        ("manager", "GET", "/metrics"),
        ("manager", "DELETE", "/v1/projects/hearts"),
        ("manager", "PUT", "/v1/projects/hearts/members/manager"),
    ):
        yield Case("forged tokens", f"{sender} for {method} {path.split('/')[-1]}", method, path, sender=sender)


def _foreign_ids(place: Place) -> Iterator[Case]:
    for name in RULES:
        method, template = name.split()
        if "{" not in template or "{account}" in template or "{token}" in template:
            continue
        path = "/".join(place.foreign.get(part[1:-1], "0") if part[:1] == "{" else part for part in template.split("/"))
        yield Case("other people's ids", name, method, path)
    version, over = place.own["version"], {"If-Match": f'"{place.own["version"]}"'}
    slice_ = f"/v1/slices/{place.own['slice_']}"
    theirs = place.foreign
    for label, method, path, options in (
        ("diff", "GET", f"/v1/annotation-versions/{version}/diff?against={theirs['version']}", {}),
        ("prediction", "POST", f"{slice_}/annotations?kind=full&prediction={theirs['version']}", {"content": MASK}),
        ("upload", "POST", "/v1/projects/hearts/imports", {"json": {"upload": theirs["upload"]}}),
        ("snapshot", "POST", "/v1/projects/hearts/exports", {"json": {"snapshot_id": theirs["snapshot"]}}),
        ("token", "DELETE", f"/v1/tokens/{theirs['token']}", {}),
        ("account", "PATCH", f"/v1/users/{theirs['account']}", {"json": {"disabled": True}}),
        ("account", "PATCH", "/v1/users/stranger", {"json": {"administrator": True}}),
        ("name", "POST", "/v1/auth/login", {"json": {"name": "stranger", "password": "stranger"}}),
        ("slug", "GET", "/v1/projects/livers", {}),
        ("slug", "POST", "/v1/projects/livers/leases", {}),
    ):
        yield Case("other people's ids", f"{label} in {method} {path.split('?')[0]}", method, path, {
            "headers": over} | options)  # fmt: skip


def _headers(place: Place) -> Iterator[Case]:
    body = {"content": b'{"file_name": 7}'}
    for headers in (
        {"Idempotency-Key": ""},
        {"Idempotency-Key": "a b"},
        {"Idempotency-Key": "x" * 201},
        {"Idempotency-Key": "é".encode()},
        {"Idempotency-Key": "a\tb"},
        {"Content-Type": "text/plain"},
        {"Content-Type": "multipart/form-data"},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/json; charset=utf-16"},
        {"Content-Encoding": "gzip"},
    ):
        yield Case("header tricks", str(headers)[:60], "POST", "/v1/projects/hearts/uploads", body | {
            "headers": JSON | headers})  # fmt: skip
    for headers in (
        {"Cookie": "nextslice_session=forged"},
        {"Cookie": "nextslice_session=" + "x" * 5000},
        {"Cookie": "nextslice_session=' OR 1=1"},
        {"Cookie": f"nextslice_session={place.secrets['session']}"},
        {"Cookie": f"nextslice_session={place.secrets['session']}", "Sec-Fetch-Site": "cross-site"},
        {"Cookie": f"nextslice_session={place.secrets['session']}", "Origin": "https://evil.example"},
        {"Cookie": f"nextslice_session={place.secrets['session']}", "Origin": "null"},
        {"X-Forwarded-User": "admin"},
        {"X-Original-URL": "/v1/users"},
        {"X-Remote-User": "admin", "X-Forwarded-For": "127.0.0.1"},
        {"X-HTTP-Method-Override": "GET"},
    ):
        options = {"json": {"file_name": "a", "size_bytes": 1}, "headers": headers}
        shown = str(headers).replace(place.secrets["session"], "<session>")[:90]
        yield Case("header tricks", shown, "POST", "/v1/projects/hearts/uploads", options, sender=None)
    part = f"/v1/uploads/{place.own['upload']}/parts/0"
    for digest in ("x", "0" * 64, "../../evil"):
        options = {"content": bytes(65_536), "headers": {"X-Content-Sha256": digest}}
        yield Case("header tricks", f"X-Content-Sha256: {digest}", "PUT", part, options)
    for range_ in ("bytes=20-", "bytes=9-2", "bytes=-0", "bytes=" + "9" * 18 + "-"):
        path = f"/v1/exports/{place.own['export']}/file"
        yield Case("header tricks", f"Range: {range_[:24]}", "GET", path, {"headers": {"Range": range_}})
    for seen in ("x", "0x10", "1e9", "' OR 1=1"):
        path, headers = f"/v1/jobs/{place.own['export']}/events", {"Last-Event-ID": seen}
        yield Case("header tricks", f"Last-Event-ID: {seen}", "GET", path, {"headers": headers})
    for method in ("TRACE", "PATCH", "PUT", "PROPFIND"):
        yield Case("header tricks", f"method {method}", method, "/v1/projects/hearts/leases")
    for headers in (
        {"X-Request-Id": "<script>alert(1)</script>"},
        {"X-Request-Id": "a" * 5000},
        {"X-Forwarded-For": "' OR 1=1 --"},
        {"X-Forwarded-Host": "evil.example"},
        {"Accept": "../../etc/passwd"},
        {"Accept-Language": "${jndi:ldap://x}"},
        {"User-Agent": "() { :; }; touch evil"},
        {"Referer": "javascript:alert(1)"},
        {"If-None-Match": "' OR 1=1"},
    ):
        yield Case("header tricks", str(headers)[:60], "GET", "/v1/projects/hearts", {"headers": headers}, taken=True)

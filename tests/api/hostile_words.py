"""Words, numbers and names that nobody should send, by where they are sent; no request stands here."""

from __future__ import annotations

import gzip
from typing import Any

NAMES = (
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e%2f%2e%2e%2fsecret",
    "..%5c..%5csecret",
    "%2fetc%2fpasswd",
    "..;%2fadmin",
    "%252e%252e%252fetc",
    "file:%2f%2f%2fetc%2fpasswd",
    "%5c%5chost%5cshare",
    "hearts%00",
    "hearts%00.json",
    "{{7*7}}",
    "%24%7bjndi:ldap:x%7d",
    "%ff%fe",
    "a" * 4000,
    "-1",
    "0",
    "null",
    "00000000-0000-0000-0000-000000000000",
    "00000000000070008000000000000000",
    "LIVERS",
    "%F0%9F%92%80",
)
"""Tricks in a path, for every kind of thing that a path names."""

SQL = (
    "'%20OR%201=1--",
    "1;DROP%20TABLE%20projects",
    "%27%20UNION%20SELECT%20*%20FROM%20accounts--",
    "1'%3BSELECT%20pg_sleep(9)--",
    '"%20OR%20""="',
    "hearts'/**/AND/**/'1'='1",
    "%25",
    "_______",
)

FILE_NAMES = ("scan.nii", "scan.nii.gz", "scan.nrrd", "scan.png", "scan")
PATH_NAMES = (
    "../../../evil.nii",
    "C:\\evil.nii",
    "/tmp/evil.nii",
    "..\\..\\evil.nii",
    "a\u202eiin.nii",
    "evil\x00.nii",
    "CON.nii",
    "~/evil.nii",
    "evil/../../evil.nii",
    "|touch evil",
    "$(touch evil).nii",
)

DRAFT: dict[str, Any] = {
    "slug": "new",
    "name": "New",
    "label_schema": [
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "heart", "color": "#ff0000"},
    ],
    "supervision": "scribble",
    "strategy": "random",
    "budgets": [10],
    "preset": "tiny",
}
SCHEMA = DRAFT["label_schema"]
DRAFTS: tuple[dict[str, Any], ...] = (
    *({"slug": each} for each in ("", "../x", "a/b", "A", "x" * 101, "nul\0", "a b", None, 7, [], {})),
    *({"name": each} for each in ("", " ", "line\nbreak", "nul\0", None, 7, [])),
    *({"budgets": each} for each in ([], [0], [-1], [101], [2, 1], [5, 5], "5", None, ["x"], [None])),
    *({"seed": each} for each in (-1, 2**31, 2**70, "x", 1.5, None)),
    *({"strategy": each} for each in ("", "none", "../random", None, 7)),
    *({"label_schema": each} for each in ([], None, "x", [{}], [SCHEMA[1]], SCHEMA[:1])),
    *({"label_schema": [SCHEMA[0], SCHEMA[1] | each]} for each in ({"value": 255}, {"value": 0}, {"color": "red"})),
    *({"supervision": each} for each in ("", "none", None, 7)),
    *({"protocol": each} for each in ("x", {"unknown": 1}, {"members": -1}, {"encoder": 7})),
    *({"overlap": each} for each in (0, -1, 11, 2**70, "x", None)),
    *({"review_percent": each} for each in (-1, 101, "x", None)),
    *({"strategy_settings": each} for each in ("x", {"unknown": 1})),
    {"unknown_field": 1},
)

BODIES: tuple[bytes, ...] = (
    b"",
    b"{",
    b"[]",
    b"null",
    b"\xff\xfe\x00",
    b'{"slug": ',
    b"[" * 5000,
    b'{"a":' * 5000,
    b'{"slug": "x", "slug"}',
    gzip.compress(b"{}", mtime=0),
    b"0" * 100_000,
    b'{"name": "\\ud800"}',
    b'{"' + b"x" * 50_000 + b'": 1}',
)

FORMS: tuple[dict[str, str], ...] = (
    *({"patient": each} for each in ("", " ", "\0", "a\nb", "\u202e", "x" * 300)),
    *({"name": each} for each in ("", " ", "\0", "a\nb", "\u200b", "x" * 300)),
    *({"split": each} for each in ("", "all", "TRAIN", "\0")),
    *({"group": each} for each in ("x" * 65,)),
    *({"attributes": each} for each in ("", "[]", "{", "null", "[" * 5000, '"x"')),
    *({"axis": each} for each in ("-1", "3", "x", "1.5", "9" * 40)),
    *({"mask_values": each} for each in ("x", "[]", '{"a": 1}', '{"1": 999}', '{"1": -1}', '{"1": null}')),
)

TAGS = (
    '"0"',
    "",
    '"*"',
    'W/"0"',
    "0" * 5000,
    "' OR 1=1 --",
    '"00000000-0000-7000-8000-000000000000"',
    '"a", "b"',
    '"../../evil"',
)

NUMBERS = ("NaN", "Infinity", "-1", "0", "1e400", "9" * 4000, "9" * 5000, '"1"', "null", "[]", "{}", "1.5")
MUCH = "9" * 99

QUERIES = (
    *(("POST", "/v1/slices/{slice_}/annotations", query) for query in (
        "", "kind=", "kind=none", "kind=full&kind=x", "kind=full&lead_time_ms=-1", "kind=full&lead_time_ms=2147483648",
        "kind=full&lead_time_ms=NaN", "kind=full&lead_time_ms=1e9", "kind=full&lead_time_ms=" + "9" * 400,
        "kind=full&purpose=none", "kind=full&annotator=", "kind=full&annotator=" + "x" * 201, "kind=full&prediction=x",
        "kind=full&prediction=%00", "kind=%ff", "kind=full&annotator=a%00",
    )),
    *(("GET", "/v1/slices/{slice_}/image", query) for query in (
        "format=exe", "window=0", "window=-1", "window=x", "window=nan", "level=x", "format=raw%00", "window=inf",
        "level=inf", "level=-inf", "level=nan", "window=1e309",
    )),
    *(("GET", "/v1/slices/{slice_}/annotation", query) for query in ("format=exe", "annotator=")),
    *(("GET", "/v1/projects/hearts/volumes", query) for query in (
        "split=none", "limit=0", "limit=501", "limit=1e3", "limit=" + "9" * 400, "cursor=x", "cursor=%00", "cursor=%ff",
        "cursor=" + "x" * 1001, "limit=-1", "limit=x", "cursor=WzFd", "cursor=W10",
    )),
    *(("GET", "/v1/projects/hearts/agreement", query) for query in ("slices=0", "slices=1001", "slices=x")),
    *(("GET", "/v1/projects/hearts/audit", query) for query in (
        "format=exe", "order=best", "since=x", "until=" + MUCH, "since=2026-01-01T00:00:00", "actor=" + "x" * 201,
        "since=0001-01-01T00:00:00%2B14:00", "until=9999-12-31T23:59:59-14:00", "since=1e400",
    )),
    *(("GET", "/v1/annotation-versions/{version}/diff", query) for query in ("against=x", "against=%00", "against=")),
    *(("PUT", "/v1/volumes/{volume}/annotation", "kind=full&" + query) for query in (
        "slices=x", "slices=-1", "slices=" + MUCH, "mask_values=x", "mask_values=[]", "mask_values={%221%22:%20999}",
        "lead_time_ms=-1", "lead_time_ms=2147483648", "lead_time_ms=NaN", "prediction=x", "prediction=%00",
    )),
)  # fmt: skip

URLS = (
    "", "x", "file:///etc/passwd", "gopher://example.org/", "http://127.0.0.1/", "http://[::1]/", "http://localhost/",
    "http://169.254.169.254/latest", "http://10.0.0.1/", "http://0/", "http://[::ffff:127.0.0.1]/", "http://2130706433/",
    "http://user:secret@127.0.0.1/", "http://127.0.0.1:99999/", "http://exa mple/", "http://a\\u0000/", "http://0x7f.1/",
    "http://[fe80::1%25eth0]/", "http://[64:ff9b::7f00:1]/", "http://224.0.0.1/", "http://\\ud800/",
)  # fmt: skip


def put(template: str, value: str) -> str:
    """A body with this value in it."""
    return template.replace("@", value)


WORDS = (
    *(("/v1/projects/hearts/leases", put('{"n": @}', each)) for each in NUMBERS if each not in ("null", '"1"')),
    *(
        ("/v1/projects/hearts/leases", body)
        for body in ('{"x": 1}', "[]", "7", '{"purpose": "none"}', '{"annotator": ""}', '{"annotator": "a\\u0000"}')
    ),
    *(("/v1/projects/hearts/rounds", put('{"budget_percent": @}', each)) for each in (*NUMBERS[:7], "[]", '"x"')),
    *(("/v1/projects/hearts/promotions", put('{"version": @}', each)) for each in (*NUMBERS[:7], "[]", "1.5")),
    *(("/v1/projects/hearts/predictions", put('{"split": @}', each)) for each in NUMBERS if each != "null"),
    *(
        ("/v1/annotation-versions/{version}/reviews", put('{"verdict": "accept", "x": @}', each))
        for each in ("NaN", "-1", "[]", "1e400")
    ),
    *(
        ("/v1/annotation-versions/{version}/reviews", body)
        for body in ("{}", '{"verdict": "fix"}', '{"verdict": "\\ud800"}', '{"verdict": "accept", "comment": 7}')
    ),
    *(("/v1/leases/{lease}/skip", body) for body in ("{}", '{"reason": "none"}', '{"reason": "unsure", "note": 7}')),
    *(
        ("/v1/leases/{lease}/skip", put('{"reason": "unsure", "note": "@"}', each))
        for each in ("\\ud800", "a\\u0000b", "x" * 100_000)
    ),
    *(("/v1/leases/{lease}/takeover", put('{"force": @}', each)) for each in ("7", "null", "[]")),
    *(("/v1/projects/hearts/uploads", put('{"file_name": "a", "size_bytes": @}', each)) for each in NUMBERS[:7]),
    *(
        ("/v1/projects/hearts/uploads", put('{"file_name": "a", "size_bytes": 1, "part_bytes": @}', each))
        for each in NUMBERS[:7]
    ),
    *(
        ("/v1/projects/hearts/uploads", put('{"file_name": "@", "size_bytes": 1}', each))
        for each in ("", "/", "..", "\\ud800", "a\\u0000b", "x" * 300)
    ),
    ("/v1/projects/hearts/uploads", '{"file_name": "a", "size_bytes": 1, "sha256": "x"}'),
    ("/v1/projects/hearts/uploads", '{"file_name": "a", "size_bytes": 1099511627776, "part_bytes": 65536}'),
    *(
        ("/v1/projects/hearts/imports", put('{"path": "@"}', each))
        for each in ("/etc", "../..", "", "~", "\\u0000", "\\ud800", "C:\\\\", "//host/share")
    ),
    ("/v1/projects/hearts/imports", "{}"),
    ("/v1/projects/hearts/imports", '{"path": "x", "dataset": "../acdc"}'),
    ("/v1/projects/hearts/imports", put('{"path": "x", "seed": @}', "9" * 5000)),
    *(("/v1/projects/hearts/webhooks", put('{"url": "@", "events": ["round.closed"]}', each)) for each in URLS),
    *(("/v1/projects/hearts/exports", put('{"format": @}', each)) for each in ('"exe"', "7", '"../zip"')),
    *(("/v1/projects/hearts/exports", put('{"parts": @}', each)) for each in ('"all"', '["../x"]', "7")),
    *(("/v1/projects/hearts/snapshots", put('{"name": "@"}', each)) for each in ("x" * 201, "\\ud800", "a\\u0000b")),
    *(("/v1/tokens", put('{"name": "@"}', each)) for each in ("", "../x", "\\ud800", "a\\u0000b", "x" * 101)),
    *(("/v1/tokens", put('{"name": "a", "days": @}', each)) for each in NUMBERS[:7]),
    ("/v1/tokens", '{"name": "a", "scope": "root"}'),
)

USERS = (
    *(put('{"name": "@"}', each) for each in ("", "Admin", "local", "oracle", "a b", "../x", "\\ud800", "a\\u0000b")),
    *(put('{"name": "new", "password": "@"}', each) for each in ("", "short", "x" * 300)),
    '{"name": "new", "administrator": 7}',
    '{"name": "manager"}',
)
"""For an administrator, who may make accounts."""


RAW = (
    b"GET /v1/me HTTP/1.1\r\n\r\n",
    b"GET /v1/me HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET  /v1/me  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /v1/me\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://evil.example/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET //evil.example/v1/me HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /v1/../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /../../../../etc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"GET /docs/..%2f..%2f..%2f..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: \xb2\r\nConnection: close\r\n\r\n{}",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 9\r\nConnection: close\r\n\r\n{}",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/auth/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, identity\r\nConnection: close\r\n\r\n{}",
    b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX-A: b\r\n folded: c\r\nConnection: close\r\n\r\n",
    b"GET /v1/me HTTP/1.1\r\nHost: x\r\nBad Header: y\r\n\r\n",
    b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX: a\x00b\r\n\r\n",
    b"GET /v1/me HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 200_000 + b"\r\n\r\n",
    b"GET /v1/me HTTP/1.1\nHost: x\nConnection: close\n\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\xff\xfe\xfd\r\n\r\n",
)
"""What no client library would send: bytes on the socket of the service."""

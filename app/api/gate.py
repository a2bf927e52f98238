"""The gate: every request has a person, and passes only where the table of `app.api.access` lets that person.

It stands before the routes and before any body is read. Without accounts (`sign_in` local) the person is the local
user; the gate then sees to it that only this machine asks, under a name of this machine (a page whose own name was
rebound to 127.0.0.1 comes with that name), and that no other site's page changes anything. With accounts a person is
known by a bearer token or by the session's cookie; a cookie alone, which browsers send along, changes nothing unless
the browser says that the page is one of ours.
"""

from __future__ import annotations

import ipaddress
import uuid
from dataclasses import dataclass
from urllib.parse import urlsplit

from sqlalchemy.exc import OperationalError, TimeoutError as PoolExhausted
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from app.api.access import SAFE_METHODS, Door, Entry, Rule, find_entry
from app.api.deps import House
from app.api.problems import database_away_answer, problem_answer
from app.db.audit import Trace, traced
from app.errors import (
    AdministratorOnly,
    CrossSiteRequest,
    HostRefused,
    MethodRefused,
    NextSliceError,
    NotSignedIn,
    RoleMissing,
    RouteNotFound,
    ScopeMissing,
)
from app.names import Role
from app.services.members import BELONGS, holds_lease, in_project, project_of, refuse_as_unknown
from app.services.people import LOCAL, Person, person_of_session, person_of_token

SESSION_COOKIE = "nextslice_session"

_LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class _Admitted:
    person: Person | None
    trace: Trace | None


class Gate:
    """Answers who may not pass; the others go on, as `request.state.person`."""

    def __init__(self, app: ASGIApp, house: House) -> None:
        self._app = app
        self._house = house

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        try:
            admitted = await self._admit(request)
        except NextSliceError as refusal:
            await problem_answer(request, refusal)(scope, receive, send)
            return
        except (OperationalError, PoolExhausted) as error:
            await database_away_answer(request, error)(scope, receive, send)
            return
        request.state.person = admitted.person
        with traced(admitted.trace):
            await self._app(scope, receive, send)

    async def _admit(self, request: Request) -> _Admitted:
        local = not self._house.settings.has_accounts
        if local:
            _check_is_local(request)
        path: str = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        entry = find_entry(path)
        if entry is None or "\0" in path:  # no name has one, and PostgreSQL would not so much as look for it
            if path.startswith("/v1/"):
                raise RouteNotFound(path)
            return _Admitted(LOCAL if local else None, None)  # the page, its modules, the documentation
        rule = entry.rules.get(request.method)
        if rule is None:
            raise MethodRefused(request.method, tuple(entry.rules))
        if rule.needs == Door.PROBE:
            return _Admitted(LOCAL if local else None, None)
        return await run_in_threadpool(self._judge, request, entry, rule)

    def _judge(self, request: Request, entry: Entry, rule: Rule) -> _Admitted:
        with self._house.database.reading() as session:
            person = _known_person(session, request) if self._house.settings.has_accounts else LOCAL
            if rule.needs != Door.ANYBODY and person is None:
                raise NotSignedIn
            project_id = None
            parameter = next(iter(entry.ids), None)
            if isinstance(rule.needs, Role) and person is not None and parameter is not None:
                project_id = project_of(session, parameter, entry.ids[parameter])
                person = in_project(session, person, project_id)
                _check_role(session, person, rule.needs, parameter, entry.ids[parameter])
            if rule.needs == Door.ADMINISTRATOR and not (person and person.administrator):
                raise AdministratorOnly
            if person is not None and rule.needs != Door.ANYBODY and not person.scope.covers(rule.scope):
                raise ScopeMissing(rule.scope)
        if request.method in SAFE_METHODS:
            return _Admitted(person, None)
        _check_same_site(request)
        return _Admitted(person, _trace(request, entry, person, project_id))


def bearer_token(request: Request) -> str | None:
    """What the request claims to be a token; None: it claims nothing. Another scheme is a token that nobody has."""
    header = request.headers.get("authorization")
    if header is None:
        return None
    scheme, _, secret = header.partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else ""


def _known_person(session: Session, request: Request) -> Person | None:
    token = bearer_token(request)
    if token is not None:
        return person_of_token(session, token)
    cookie = request.cookies.get(SESSION_COOKIE)
    return None if cookie is None else person_of_session(session, cookie)


def _check_role(session: Session, person: Person, needed: Role, parameter: str, reference: str) -> None:
    if person.role is None:
        raise refuse_as_unknown(parameter, reference)
    if not person.role.covers(needed):
        raise RoleMissing(needed)
    # What others hold is theirs: of annotators, nobody learns what another one is given.
    if parameter == "lease" and not person.covers(Role.MANAGER) and not holds_lease(session, person, reference):
        raise refuse_as_unknown(parameter, reference)


def _check_same_site(request: Request) -> None:
    """Refuse what a page of another site sent, and any cookie that comes without a browser's word on the page.

    Fetch metadata where the browser sends it (https and loopback), else the Origin that it sends with every unsafe
    method. A bearer token cannot be added by another site, and a program without a browser sends none of these.
    """
    if request.headers.get("authorization") is not None:
        return
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is not None and site != "same-origin":
        raise CrossSiteRequest
    if origin is not None and not _is_own_origin(origin, request.headers.get("host", "")):
        raise CrossSiteRequest
    if site is None and origin is None and SESSION_COOKIE in request.cookies:
        raise CrossSiteRequest


def _is_own_origin(origin: str, host: str) -> bool:
    try:
        parts = urlsplit(origin)
        port = parts.port or _DEFAULT_PORTS.get(parts.scheme)
        own = urlsplit(f"//{host}")
        # TLS may end before this process: the scheme is the origin's, and so is the port that goes without saying.
        return (
            parts.hostname is not None
            and parts.hostname == own.hostname
            and port == (own.port or _DEFAULT_PORTS.get(parts.scheme))
        )
    except ValueError:
        return False


def _check_is_local(request: Request) -> None:
    client = request.client.host if request.client is not None else ""
    if not _is_loopback(client):
        raise HostRefused(client or "an unknown address")
    host = request.headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if name not in _LOOPBACK_NAMES and not _is_loopback(name):
        raise HostRefused(host)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _trace(request: Request, entry: Entry, person: Person | None, project_id: uuid.UUID | None) -> Trace:
    ids = " ".join(f"{BELONGS[name][0] if name in BELONGS else name} {value}" for name, value in entry.ids.items())
    return Trace(
        actor=person.name if person is not None else "",
        account_id=person.account_id if person is not None else None,
        action=f"{request.method} {entry.template}",
        object=ids,
        project_id=project_id,
        request_id=getattr(request.state, "request_id", ""),
        address=request.client.host if request.client is not None else "",
    )

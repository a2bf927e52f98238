"""Who may call what: one table, and what is not in it nobody may call.

Each line names a route and the least that its caller must be. Whoever adds a route adds its line;
tests/test_house.py fails until then. The id in the path says which project is meant (`app.services.members.BELONGS`);
who has no role in that project is told that the thing does not exist.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from starlette.routing import compile_path

from app.names import Role, Scope

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Door(StrEnum):
    """What must be true of a caller whatever the project."""

    PROBE = "probe"  # anybody, and nobody is looked up: whoever asks whether the database is there gets an answer
    ANYBODY = "anybody"
    SIGNED_IN = "signed in"
    ADMINISTRATOR = "administrator"


@dataclass(frozen=True)
class Rule:
    """The least that the caller of a route must be; `scope` is the least that their token must allow."""

    needs: Door | Role
    scope: Scope


def _rule(method: str, needs: Door | Role, scope: Scope | None) -> Rule:
    if scope is None:
        scope = Scope.MANAGE if needs in {Role.MANAGER, Role.OWNER} else Scope.ANNOTATE
        if method in SAFE_METHODS:
            scope = Scope.READ
    return Rule(needs, scope)


_VIEWER, _ANNOTATOR, _MANAGER, _OWNER = Role.VIEWER, Role.ANNOTATOR, Role.MANAGER, Role.OWNER

_TABLE: tuple[tuple[str, Door | Role] | tuple[str, Door | Role, Scope], ...] = (
    # --- the service
    ("GET /healthz", Door.PROBE),
    ("GET /readyz", Door.PROBE),
    ("GET /v1/version", Door.ANYBODY),
    ("GET /metrics", Door.ADMINISTRATOR, Scope.READ),
    ("GET /v1/strategies", Door.SIGNED_IN),
    # --- people
    ("POST /v1/auth/login", Door.ANYBODY),
    ("GET /v1/auth/provider", Door.ANYBODY),
    ("POST /v1/auth/provider/begin", Door.ANYBODY),
    ("POST /v1/auth/provider/complete", Door.ANYBODY),
    ("POST /v1/auth/logout", Door.SIGNED_IN, Scope.READ),
    ("GET /v1/me", Door.SIGNED_IN),
    ("POST /v1/me/password", Door.SIGNED_IN, Scope.ADMIN),
    ("GET /v1/tokens", Door.SIGNED_IN, Scope.ADMIN),
    ("POST /v1/tokens", Door.SIGNED_IN, Scope.ADMIN),
    ("DELETE /v1/tokens/{token}", Door.SIGNED_IN, Scope.ADMIN),
    ("GET /v1/users", Door.ADMINISTRATOR, Scope.ADMIN),
    ("POST /v1/users", Door.ADMINISTRATOR, Scope.ADMIN),
    ("PATCH /v1/users/{account}", Door.ADMINISTRATOR, Scope.ADMIN),
    ("GET /v1/projects/{project}/members", _MANAGER),
    ("PUT /v1/projects/{project}/members/{account}", _OWNER),
    ("DELETE /v1/projects/{project}/members/{account}", _OWNER),
    ("GET /v1/projects/{project}/audit", _MANAGER),
    # --- projects
    ("GET /v1/projects", Door.SIGNED_IN),
    ("POST /v1/projects", Door.ADMINISTRATOR, Scope.MANAGE),
    ("GET /v1/projects/{project}", _VIEWER),
    ("PATCH /v1/projects/{project}", _MANAGER),
    ("DELETE /v1/projects/{project}", _OWNER),
    # --- what is deleted
    ("DELETE /v1/patients/{patient}", _MANAGER),
    ("DELETE /v1/volumes/{volume}", _MANAGER),
    ("GET /v1/deletions", Door.ADMINISTRATOR, Scope.MANAGE),
    ("GET /v1/projects/{project}/deletions", _MANAGER),
    ("POST /v1/deletions/{deletion}/restore", _OWNER),
    ("DELETE /v1/deletions/{deletion}", _OWNER),
    # --- volumes and slices
    ("GET /v1/projects/{project}/volumes", _VIEWER),
    ("POST /v1/projects/{project}/volumes", _MANAGER),
    ("GET /v1/volumes/{volume}", _VIEWER),
    ("GET /v1/volumes/{volume}/file", _VIEWER),
    ("GET /v1/volumes/{volume}/slices", _VIEWER),
    ("GET /v1/slices/{slice_}", _VIEWER),
    ("GET /v1/slices/{slice_}/image", _VIEWER),
    # --- annotations
    ("GET /v1/slices/{slice_}/annotation", _VIEWER),
    ("GET /v1/slices/{slice_}/annotations", _VIEWER),
    ("POST /v1/slices/{slice_}/annotations", _ANNOTATOR),
    ("GET /v1/slices/{slice_}/prediction", _VIEWER),
    ("GET /v1/slices/{slice_}/uncertainty", _VIEWER),
    ("GET /v1/annotation-versions/{version}", _VIEWER),
    ("GET /v1/annotation-versions/{version}/mask", _VIEWER),
    ("GET /v1/annotation-versions/{version}/diff", _VIEWER),
    ("POST /v1/annotation-versions/{version}/restore", _ANNOTATOR),
    ("GET /v1/slices/{slice_}/draft", _ANNOTATOR),
    ("PUT /v1/slices/{slice_}/draft", _ANNOTATOR),
    ("DELETE /v1/slices/{slice_}/draft", _ANNOTATOR),
    ("GET /v1/volumes/{volume}/annotation", _VIEWER),
    ("PUT /v1/volumes/{volume}/annotation", _ANNOTATOR),
    ("GET /v1/projects/{project}/agreement", Role.REVIEWER),
    ("GET /v1/slices/{slice_}/readings", Role.REVIEWER),
    ("GET /v1/slices/{slice_}/reviews", _VIEWER),
    ("POST /v1/annotation-versions/{version}/reviews", Role.REVIEWER),
    ("POST /v1/annotation-versions/{version}/adjudicate", Role.REVIEWER),
    # --- leases
    ("POST /v1/projects/{project}/leases", _ANNOTATOR),
    ("GET /v1/leases/{lease}", _ANNOTATOR),
    ("DELETE /v1/leases/{lease}", _ANNOTATOR),
    ("POST /v1/leases/{lease}/heartbeat", _ANNOTATOR),
    ("POST /v1/leases/{lease}/skip", _ANNOTATOR),
    ("POST /v1/leases/{lease}/takeover", _MANAGER),
    # --- what goes in and what comes out
    ("POST /v1/projects/{project}/uploads", _MANAGER),
    ("GET /v1/uploads/{upload}", _MANAGER),
    ("PUT /v1/uploads/{upload}/parts/{number}", _MANAGER),
    ("POST /v1/uploads/{upload}/complete", _MANAGER),
    ("DELETE /v1/uploads/{upload}", _MANAGER),
    ("POST /v1/projects/{project}/imports", _MANAGER),
    ("GET /v1/imports/{job}", _MANAGER),
    ("GET /v1/projects/{project}/snapshots", _MANAGER),
    ("POST /v1/projects/{project}/snapshots", _MANAGER),
    ("GET /v1/snapshots/{snapshot}", _MANAGER),
    # --- rounds
    ("GET /v1/projects/{project}/statistics", Role.REVIEWER),
    ("GET /v1/projects/{project}/coverage", _VIEWER),
    ("POST /v1/projects/{project}/coverage", _MANAGER),
    ("GET /v1/projects/{project}/rounds", _VIEWER),
    ("POST /v1/projects/{project}/rounds", _MANAGER),
    ("GET /v1/rounds/{round_}", _VIEWER),
    ("GET /v1/rounds/{round_}/picks", _VIEWER),
    ("GET /v1/rounds/{round_}/metrics", _VIEWER),
    ("POST /v1/rounds/{round_}/training", _MANAGER),
    ("POST /v1/projects/{project}/oracle", _MANAGER),
    # --- models
    ("GET /v1/projects/{project}/models", _VIEWER),
    ("GET /v1/projects/{project}/model-versions", _VIEWER),
    ("GET /v1/models/{model}", _VIEWER),
    ("GET /v1/models/{model}/weights", _MANAGER),
    ("GET /v1/projects/{project}/promotions", _VIEWER),
    ("POST /v1/projects/{project}/promotions", _MANAGER),
    ("POST /v1/projects/{project}/rollback", _MANAGER),
    # --- jobs
    ("GET /v1/projects/{project}/jobs", _VIEWER),
    ("GET /v1/jobs/{job}", _VIEWER),
    ("GET /v1/jobs/{job}/events", _VIEWER),
    ("POST /v1/jobs/{job}/cancel", _MANAGER),
    ("POST /v1/jobs/{job}/retry", _MANAGER),
    ("POST /v1/projects/{project}/predictions", _MANAGER),
    ("POST /v1/projects/{project}/exports", _MANAGER),
    ("GET /v1/exports/{job}/file", _MANAGER),
    # --- webhooks
    ("GET /v1/projects/{project}/webhooks", _MANAGER),
    ("POST /v1/projects/{project}/webhooks", _MANAGER),
    ("GET /v1/webhooks/{webhook}", _MANAGER),
    ("PATCH /v1/webhooks/{webhook}", _MANAGER),
    ("DELETE /v1/webhooks/{webhook}", _MANAGER),
    ("POST /v1/webhooks/{webhook}/ping", _MANAGER),
    ("GET /v1/webhooks/{webhook}/deliveries", _MANAGER),
    ("POST /v1/webhook-deliveries/{delivery}/redeliver", _MANAGER),
)

RULES: dict[str, Rule] = {
    line[0]: _rule(line[0].split()[0], line[1], line[2] if len(line) == 3 else None) for line in _TABLE
}

_PATTERNS: tuple[tuple[re.Pattern[str], str, dict[str, Rule]], ...] = tuple(
    (
        compile_path(template)[0],
        template,
        {name.split()[0]: rule for name, rule in RULES.items() if name.split()[1] == template},
    )
    for template in dict.fromkeys(name.split()[1] for name in RULES)
)


@dataclass(frozen=True)
class Entry:
    """The line of the table that a request falls under, and the ids in its path."""

    template: str
    rules: dict[str, Rule]  # by method
    ids: dict[str, str]


def find_entry(path: str) -> Entry | None:
    """The line for this path; None: there is no such route, or nobody said who may call it."""
    for pattern, template, rules in _PATTERNS:
        match = pattern.match(path)
        if match is not None:
            return Entry(template, rules, match.groupdict())
    return None

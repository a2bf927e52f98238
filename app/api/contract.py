"""The OpenAPI document as it truly is: every refusal is problem details, and bodies come with an example.

FastAPI knows what routes answer when all goes well, and calls its own error shape what `api.problems` replaces.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.api.problems import MEDIA_TYPE, Problem

_REFUSED = {
    "4XX": "Refused: `code` is the word for programs, `detail` the sentence for people.",
    "503": "Something that the service leans on does not answer; nothing was changed, try again.",
}

EXAMPLES: dict[str, dict[str, Any]] = {
    "ProjectAsked": {
        "slug": "heart",
        "name": "Heart, short axis",
        "label_schema": [
            {"value": 0, "name": "background", "color": "#000000"},
            {"value": 1, "name": "RV", "color": "#e6194b"},
        ],
        "supervision": "scribble",
        "strategy": "gcl",
        "budgets": [2, 3, 4, 5],
        "preset": "cpu",
    },
    "ProjectChanges": {"budgets": [2, 3, 4, 5, 10], "review_percent": 20},
    "RoundAsked": {"budget_percent": 5},
    "LeaseAsked": {"n": 2},
    "OracleAsked": {"kind": "scribble"},
    "PredictionsAsked": {"split": "train"},
    "PromotionAsked": {"version": 2},
    "RollbackAsked": {"author": "head"},
    "Body_add_volume_v1_projects__project__volumes_post": {
        "image": "(bytes of a NIfTI file)",
        "patient": "patient001",
        "name": "frame01",
        "split": "train",
        "attributes": '{"phase": "ED"}',
    },
    "UploadDraft": {"file_name": "scans.zip", "size_bytes": 52428800},
    "ImportDraft": {"path": "cardiac/2026-11", "dataset": "auto", "split": "train"},
    "SkipAsked": {"reason": "bad_image", "note": "motion over the whole slice"},
    "TakeoverAsked": {"force": False},
    "ReviewAsked": {"verdict": "reject", "comment": "papillary muscle belongs to the cavity", "x": 101.5, "y": 88},
    "SnapshotAsked": {"name": "before the second reading"},
    "ExportAsked": {"format": "nifti", "parts": ["annotations"]},
    "WebhookAsked": {"url": "https://ward.example.org/nextslice", "events": ["round.proposed", "round.closed"]},
    "WebhookChange": {"active": False},
    "LoginAsked": {"name": "head", "password": "four words are enough"},
    "PasswordAsked": {"current": "four words are enough", "new": "and now four others"},
    "TokenAsked": {"name": "reading room 2", "scope": "annotate", "days": 30},
    "UserAsked": {"name": "reader", "password": "four words are enough"},
    "UserChange": {"disabled": True},
    "CompletionAsked": {"state": "(from the address the provider came back to)", "code": "(likewise)"},
    "MemberAsked": {"role": "annotator"},
    "Problem": {
        "type": "about:blank",
        "title": "Conflict",
        "status": 409,
        "detail": "Round 2 is annotating; another one can be opened when it is closed.",
        "instance": "/v1/projects/heart/rounds",
        "code": "round-open",
        "request_id": "6f1c2a5be0d94f0c8b7f0a3f2f7f6f5e",
        "errors": [],
    },
}


def install_contract(app: FastAPI) -> None:
    """Have the application give the completed document."""
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        return app.openapi_schema or complete_document(plain())

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def complete_document(document: dict[str, Any]) -> dict[str, Any]:
    """Add to FastAPI's document, in place, what it cannot know."""
    schemas: dict[str, Any] = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for name, example in EXAMPLES.items():
        if name in schemas:
            schemas[name]["examples"] = [example]
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for operations in document["paths"].values():
        for operation in operations.values():
            answers = operation["responses"]
            answers.pop("422", None)
            for status, description in _REFUSED.items():
                answers.setdefault(status, {"description": description, "content": content})
    return document

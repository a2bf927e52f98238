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
    "RoundAsked": {"budget_percent": 5},
    "LeaseAsked": {"n": 2},
    "OracleAsked": {"kind": "scribble"},
    "PredictionsAsked": {"split": "train"},
    "PromotionAsked": {"version": 2},
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

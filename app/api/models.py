"""Routes of models: what was trained on what, which version is in use, and the weights themselves."""

from __future__ import annotations

from fastapi import APIRouter
from fastapi.responses import StreamingResponse

from app.api.deps import Reading, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import ModelVersionWire, ModelWire, Page, PromotionAsked, PromotionWire, RollbackAsked
from app.api.wires import model_wires, promotion_wires
from app.services import models, projects
from app.services.models import ModelVersion
from app.services.paging import list_items

router = APIRouter(prefix="/v1", tags=["models"], route_class=CreatingRoute)


@router.get("/projects/{project}/models")
def list_models(project: str, session: Reading, span: Paged) -> Page[ModelWire]:
    """Encoders and segmentation members, the oldest first."""
    found = models.list_models(session, projects.find_project(session, project), span)
    return Page(items=model_wires(session, found), next_cursor=found.next_cursor)


@router.get("/models/{model}")
def read_model(model: str, session: Reading) -> ModelWire:
    """One set of weights: configuration, the data that it saw, figures."""
    return model_wires(session, [models.find_model(session, model)])[0]


@router.get("/models/{model}/weights", response_class=StreamingResponse)
def read_weights(model: str, house: TheHouse, session: Reading) -> StreamingResponse:
    """The weights as a safetensors file; the ETag is the SHA-256 of its content."""
    found = models.find_model(session, model)
    digest = found.weights_key.rsplit("/", 1)[-1]
    name = f"{found.kind}-{found.id}.safetensors"
    headers = {"ETag": f'"{digest}"', "Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(
        house.blobs.stream(found.weights_key), media_type="application/octet-stream", headers=headers
    )


@router.get("/projects/{project}/model-versions")
def list_versions(project: str, session: Reading, span: Paged) -> Page[ModelVersionWire]:
    """The ensembles of the project, the oldest first; `in_use` marks the one that predictions come from."""
    versions = models.list_versions(session, projects.find_project(session, project))
    return page_of(list_items(versions, lambda each: each.number, span), _version_wire)


@router.get("/projects/{project}/promotions")
def list_promotions(project: str, session: Reading, span: Paged) -> Page[PromotionWire]:
    """Who decided which version is in use, the newest first."""
    found = models.list_promotions(session, projects.find_project(session, project), span)
    return Page(items=promotion_wires(session, found), next_cursor=found.next_cursor)


@router.post("/projects/{project}/promotions", status_code=201)
def promote_version(project: str, session: Writing, person: ThePerson, asked: PromotionAsked) -> PromotionWire:
    """Have predictions and pre-annotations come from a version; null: from the newest, always."""
    found = projects.find_project(session, project)
    promotion = models.promote_version(session, found, asked.version, person.signing_as(asked.author))
    return promotion_wires(session, [promotion])[0]


@router.post("/projects/{project}/rollback", status_code=201)
def roll_back(project: str, session: Writing, person: ThePerson, asked: RollbackAsked | None = None) -> PromotionWire:
    """Go back to the version before the one in use."""
    found = projects.find_project(session, project)
    author = person.signing_as(asked.author if asked is not None else None)
    return promotion_wires(session, [models.roll_back(session, found, author)])[0]


def _version_wire(version: ModelVersion) -> ModelVersionWire:
    return ModelVersionWire(
        version=version.number,
        round_id=version.round_.id,
        complete=version.complete,
        in_use=version.in_use,
        model_ids=[each.id for each in version.members],
        annotation_versions=version.annotation_versions,
        config=version.members[0].config,
        metrics=version.round_.summary,
        validation_dice=[each.metrics.get("validation_dice") for each in version.members],
        predicted_volumes=version.predicted_volumes,
        created_at=version.members[-1].created_at,
    )

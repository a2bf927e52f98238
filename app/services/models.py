"""Model versions: what was trained when and on what, and which version predictions come from.

A version is the ensemble that a round trained; its number is the round's. A promotion pins one version, a rollback is
the promotion of the version before. Without a promotion the newest complete version is in use.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.db.models import Model, Prediction, Project, Promotion, Round
from app.errors import ModelVersionIncomplete, NoEarlierModel, NoModelYet, RecordNotFound
from app.names import ModelKind
from app.protocols import load_protocol
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows


@dataclass(frozen=True)
class ModelVersion:
    """One ensemble: its members in order, and whether predictions come from it now."""

    number: int
    round_: Round
    members: list[Model]
    complete: bool
    in_use: bool
    predicted_volumes: int

    @property
    def annotation_versions(self) -> list[str]:
        """The ids of the annotation versions that it learned from: its data snapshot."""
        seen: list[str] = self.members[0].manifest.get("annotation_versions", [])
        return seen


def list_models(session: Session, project: Project, span: Span = ALL) -> Listed[Model]:
    """Every stored set of weights, encoders included, the oldest first."""
    return list_rows(session, select(Model).where(Model.project_id == project.id), [Model.id], span)


def find_model(session: Session, model_id: str) -> Model:
    """The model of this id; raises `RecordNotFound`."""
    return find_row(session, Model, "model", model_id)


def round_numbers(session: Session, project_id: uuid.UUID) -> dict[uuid.UUID, int]:
    """Round id -> number: the version number of what the round trained."""
    rows = session.execute(select(Round.id, Round.number).where(Round.project_id == project_id))
    return {row[0]: row[1] for row in rows}


def list_versions(session: Session, project: Project) -> list[ModelVersion]:
    """All versions, the oldest first, a half-trained one included."""
    members: dict[uuid.UUID, list[Model]] = defaultdict(list)
    segmenters = select(Model).where(Model.project_id == project.id, Model.kind == ModelKind.SEGMENTATION)
    for model in session.scalars(segmenters.order_by(Model.member)):
        if model.round_id is not None:
            members[model.round_id].append(model)
    counted = select(Prediction.round_id, func.count()).where(Prediction.project_id == project.id)
    predicted = {row[0]: row[1] for row in session.execute(counted.group_by(Prediction.round_id))}
    trained = session.scalars(select(Round).where(Round.id.in_(members)).order_by(Round.number)).all()
    wanted = load_protocol(project.protocol).members
    complete = [round_ for round_ in trained if len(members[round_.id]) >= wanted]
    pinned = pinned_round_id(session, project.id)
    in_use = pinned or (complete[-1].id if complete else None)
    return [
        ModelVersion(
            number=round_.number,
            round_=round_,
            members=members[round_.id],
            complete=round_ in complete,
            in_use=round_.id == in_use,
            predicted_volumes=predicted.get(round_.id, 0),
        )
        for round_ in trained
    ]


def version_in_use(session: Session, project: Project) -> ModelVersion:
    """The version that predictions come from; raises `NoModelYet`."""
    for version in list_versions(session, project):
        if version.in_use:
            return version
    raise NoModelYet(project.slug)


def pinned_round_id(session: Session, project_id: uuid.UUID) -> uuid.UUID | None:
    """The round whose version somebody promoted; None while the newest one is used."""
    newest = select(Promotion.round_id).where(Promotion.project_id == project_id).order_by(Promotion.id.desc())
    return session.scalar(newest.limit(1))


def promote_version(session: Session, project: Project, number: int | None, author: str) -> Promotion:
    """Have predictions come from this version until somebody decides otherwise; None: from the newest, always.

    Raises `RecordNotFound` for a number that no version has, `ModelVersionIncomplete` for one still in training.
    """
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    chosen = None
    if number is not None:
        found = {version.number: version for version in list_versions(session, project)}.get(number)
        if found is None:
            raise RecordNotFound("model version", str(number))
        if not found.complete:
            raise ModelVersionIncomplete(number, len(found.members), load_protocol(project.protocol).members)
        chosen = found.round_.id
    promotion = Promotion(project_id=project.id, round_id=chosen, author=author)
    session.add(promotion)
    session.flush()
    return promotion


def roll_back(session: Session, project: Project, author: str) -> Promotion:
    """Promote the complete version before the one in use; raises `NoModelYet` and `NoEarlierModel`."""
    # Locked before looking: of two who roll back at once each goes one back.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    current = version_in_use(session, project)
    earlier = [each for each in list_versions(session, project) if each.complete and each.number < current.number]
    if not earlier:
        raise NoEarlierModel(current.number)
    return promote_version(session, project, earlier[-1].number, author)


def list_promotions(session: Session, project: Project, span: Span = ALL) -> Listed[Promotion]:
    """Who decided what and when, the newest first."""
    made = select(Promotion).where(Promotion.project_id == project.id)
    return list_rows(session, made, [Promotion.id], span, descending=True)

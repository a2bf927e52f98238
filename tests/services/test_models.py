"""Which model version is in use: the newest complete one, until somebody promotes another."""

from __future__ import annotations

import pytest
from sqlalchemy.orm import Session

from app.db.models import Model, Project, Round
from app.db.session import Database
from app.errors import ModelVersionIncomplete, NoEarlierModel, NoModelYet, RecordNotFound
from app.names import ModelKind, RoundState
from app.outbox import SilentBell, unit_of_work
from app.protocols import resolve_protocol
from app.services import models
from tests.rows import add_project


def add_versions(session: Session, *members: int) -> Project:
    """A project of ensembles of two, with one round for each of these numbers of trained members."""
    project = add_project(session)
    project.protocol = resolve_protocol("tiny", {"members": 2}).as_json()
    for number, count in enumerate(members, start=1):
        trained = Round(
            project_id=project.id,
            number=number,
            budget_percent=float(number),
            target=number,
            state=RoundState.CLOSED,
            strategy="random",
            seed=0,
        )
        session.add(trained)
        session.flush()
        for member in range(count):
            session.add(
                Model(
                    project_id=project.id,
                    round_id=trained.id,
                    kind=ModelKind.SEGMENTATION,
                    member=member,
                    weights_key="",
                    config={},
                    manifest={"annotation_versions": [f"seen {number}"]},
                    metrics={},
                )
            )
    session.flush()
    return project


def in_use(session: Session, project: Project) -> int:
    return models.version_in_use(session, project).number


def test_the_newest_complete_version_is_in_use_until_another_is_promoted(database: Database) -> None:
    with unit_of_work(database, SilentBell()) as session:
        project = add_versions(session, 2, 2, 2, 1)
        assert in_use(session, project) == 3, "the fourth is not trained to its end"
        assert (
            models.roll_back(session, project, "anna").round_id == models.list_versions(session, project)[1].round_.id
        )
        assert in_use(session, project) == 2
        models.roll_back(session, project, "bert")
        with pytest.raises(NoEarlierModel, match="Model version 1 is in use"):
            models.roll_back(session, project, "bert")
        models.promote_version(session, project, 3, "carl")
        assert in_use(session, project) == 3
        models.promote_version(session, project, 1, "carl")
        models.promote_version(session, project, None, "dora")
        assert in_use(session, project) == 3
        authors = [each.author for each in models.list_promotions(session, project)]
    assert authors == ["dora", "carl", "carl", "bert", "anna"]


def test_versions_that_cannot_be_used_are_refused(database: Database) -> None:
    with unit_of_work(database, SilentBell()) as session:
        project = add_versions(session, 1)
        with pytest.raises(NoModelYet):
            models.version_in_use(session, project)
        with pytest.raises(NoModelYet):
            models.roll_back(session, project, "anna")
        with pytest.raises(ModelVersionIncomplete, match="1 of 2 members"):
            models.promote_version(session, project, 1, "anna")
        with pytest.raises(RecordNotFound, match="no model version '2'"):
            models.promote_version(session, project, 2, "anna")
        assert models.list_versions(session, project)[0].annotation_versions == ["seen 1"]

"""Projects under way: which of their settings can still be changed, and what follows from a change."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Project, Round
from app.errors import LabelSchemaRefused, ProjectStale, RoundStateConflict
from app.names import RoundState
from app.services import rounds
from app.services.projects import (
    LabelClass,
    check_budgets,
    check_label_schema,
    check_name,
    check_overlap,
    check_review_percent,
    schema_as_json,
)

ANY_TAG = "*"

_SETTINGS = (
    "name",
    "label_schema",
    "budgets",
    "auto_train",
    "auto_propose",
    "overlap",
    "adjudicate",
    "review_percent",
)


@dataclass(frozen=True)
class ProjectChange:
    """What is to be changed of a project; None leaves it as it is.

    How slices are chosen and networks trained is not among it: rounds made in two ways would not be one curve.
    """

    name: str | None = None
    label_schema: Sequence[LabelClass] | None = None
    budgets: Sequence[float] | None = None
    auto_train: bool | None = None
    auto_propose: bool | None = None
    overlap: int | None = None
    adjudicate: bool | None = None
    review_percent: float | None = None


def settings_tag(project: Project) -> str:
    """A word that changes with every setting that can be changed."""
    facts = json.dumps([getattr(project, name) for name in _SETTINGS], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:32]


def change_project(session: Session, project: Project, change: ProjectChange, expected: str) -> Project:
    """Change what may be changed, all of it or nothing, and let the project go on by its new settings.

    `expected` is the tag of the settings that the caller saw, or ANY_TAG. Raises `ProjectStale`, `RoundStateConflict`
    and what `create_project` raises for the same values.
    """
    # Rounds before their project, as those do who close one and open the next.
    held = select(Round).where(Round.project_id == project.id).order_by(Round.number).with_for_update(key_share=True)
    session.scalars(held.execution_options(populate_existing=True)).all()
    session.refresh(project, with_for_update={"key_share": True})
    opened = list(rounds.list_rounds(session, project))  # now: one may have been opened before the project was held
    current = settings_tag(project)
    if expected not in (ANY_TAG, current):
        raise ProjectStale(current)
    if change.name is not None:
        check_name(change.name)
        project.name = change.name
    if change.budgets is not None:
        check_budgets(change.budgets)
        project.budgets = [float(each) for each in change.budgets]
    if change.review_percent is not None:
        check_review_percent(change.review_percent)
        project.review_percent = float(change.review_percent)
    if change.label_schema is not None:
        _change_schema(session, project, opened, change.label_schema)
    _change_readers(project, opened, change)
    project.auto_train = project.auto_train if change.auto_train is None else change.auto_train
    project.auto_propose = project.auto_propose if change.auto_propose is None else change.auto_propose
    session.flush()
    rounds.go_on(session, project)
    return project


def _change_schema(session: Session, project: Project, opened: Sequence[Round], classes: Sequence[LabelClass]) -> None:
    """Classes are added, renamed, coloured and ordered anew; one that is there stays, for masks may have its value."""
    check_label_schema(classes)
    values = {each.value for each in classes}
    present = {int(each["value"]) for each in project.label_schema}
    gone = sorted(present - values)
    if gone:
        raise LabelSchemaRefused(f"lacks the value {gone[0]}, which masks may have: rename its class instead")
    learning = [each for each in opened if each.state in (RoundState.TRAINING, RoundState.EVALUATING)]
    if opened and opened[-1].state == RoundState.FAILED and rounds.list_members(session, opened[-1]):
        learning.append(opened[-1])  # it may yet be tried again
    if values - present and learning:
        # Its members would not be of one shape, nor could one go on from its checkpoint.
        raise RoundStateConflict(learning[0].number, learning[0].state, "classes can be added when it is closed")
    project.label_schema = schema_as_json(classes)


def _change_readers(project: Project, opened: Sequence[Round], change: ProjectChange) -> None:
    overlap = project.overlap if change.overlap is None else change.overlap
    adjudicate = project.adjudicate if change.adjudicate is None else change.adjudicate
    check_overlap(overlap)
    if (overlap, adjudicate) == (project.overlap, project.adjudicate):
        return
    if opened:
        # What was read so far would count as half read, or its readers would see each other's work.
        wanted = "who reads a slice is settled before the first round"
        raise RoundStateConflict(opened[-1].number, opened[-1].state, wanted)
    project.overlap, project.adjudicate = overlap, adjudicate

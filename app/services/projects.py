"""Projects: what is to be labelled, how slices are chosen, and on which budgets."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.db.models import Patient, Project, Volume
from app.db.session import WITH_DELETED, prepared
from app.errors import (
    BudgetRefused,
    LabelSchemaRefused,
    ProjectExists,
    ProjectNotFound,
    ProjectSettingRefused,
    SchemaVersionStale,
    UnknownStrategy,
)
from app.names import STRATEGIES, UNLABELLED, Split, Supervision
from app.protocols import resolve_protocol
from app.strategy_settings import check_strategy_settings

READERS_AT_MOST = 10
_SLUG = re.compile(r"[a-z0-9][a-z0-9-]{0,98}[a-z0-9]|[a-z0-9]")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class LabelClass:
    """One class of a label schema: mask value 0-254, a name, and a colour `#rrggbb`."""

    value: int
    name: str
    color: str


@dataclass(frozen=True)
class ProjectDraft:
    """What somebody asks for when making a project."""

    slug: str
    name: str
    label_schema: Sequence[LabelClass]
    supervision: Supervision
    strategy: str
    budgets: Sequence[float]
    seed: int = 0
    preset: str = "paper"
    overrides: dict[str, Any] = field(default_factory=dict)
    auto_train: bool = True
    auto_propose: bool = False
    overlap: int = 1
    adjudicate: bool = False
    review_percent: float = 0.0
    strategy_settings: dict[str, Any] = field(default_factory=dict)


def create_project(session: Session, draft: ProjectDraft) -> Project:
    """A new project; everything about it is checked here, so that no round can fail for it later."""
    if not _SLUG.fullmatch(draft.slug):
        raise ProjectSettingRefused("slug", "1 to 100 lower-case letters, digits and hyphens", draft.slug)
    check_name(draft.name)
    if draft.strategy not in STRATEGIES:
        raise UnknownStrategy(draft.strategy, sorted(STRATEGIES))
    if not 0 <= draft.seed < 2**31:
        raise ProjectSettingRefused("seed", "between 0 and 2147483647", draft.seed)
    check_overlap(draft.overlap)
    check_review_percent(draft.review_percent)
    check_label_schema(draft.label_schema)
    check_budgets(draft.budgets)
    strategy_settings = check_strategy_settings(draft.strategy, draft.strategy_settings)
    protocol = resolve_protocol(draft.preset, draft.overrides, STRATEGIES[draft.strategy].encoder_weights)
    if (
        session.scalar(select(Project.id).where(Project.slug == draft.slug).execution_options(**WITH_DELETED))
        is not None
    ):
        raise ProjectExists(draft.slug)
    project = Project(
        slug=draft.slug,
        name=draft.name,
        label_schema=schema_as_json(draft.label_schema),
        supervision=draft.supervision,
        strategy=draft.strategy,
        budgets=[float(each) for each in draft.budgets],
        seed=draft.seed,
        protocol=protocol.as_json(),
        strategy_settings=strategy_settings,
        auto_train=draft.auto_train,
        auto_propose=draft.auto_propose,
        overlap=draft.overlap,
        adjudicate=draft.adjudicate,
        review_percent=float(draft.review_percent),
    )
    session.add(project)
    session.flush()
    return project


_BY_SLUG = prepared(select(Project).where(Project.slug == bindparam("slug")))
_ID_BY_SLUG = prepared(select(Project.id).where(Project.slug == bindparam("slug")))
_ID_BY_ID = prepared(select(Project.id).where(Project.id == bindparam("id")))


def find_project(session: Session, reference: str) -> Project:
    """The project with this id or slug; raises ProjectNotFound."""
    try:
        project = session.get(Project, uuid.UUID(reference))
    except ValueError:
        project = session.scalar(_BY_SLUG, {"slug": reference})
    if project is None:
        raise ProjectNotFound(reference)
    return project


def find_project_id(session: Session, reference: str) -> uuid.UUID:
    """The id alone of the project with this id or slug; raises ProjectNotFound."""
    try:
        project_id = session.scalar(_ID_BY_ID, {"id": uuid.UUID(reference)})
    except ValueError:
        project_id = session.scalar(_ID_BY_SLUG, {"slug": reference})
    if project_id is None:
        raise ProjectNotFound(reference)
    return project_id


def class_values(project: Project) -> list[int]:
    """Mask values of the schema, background included, ascending."""
    return sorted(int(each["value"]) for each in project.label_schema)


def check_schema_version(project: Project, seen: int | None) -> None:
    """Refuse what was drawn under another version of the label schema; None: its author does not say under which."""
    if seen is not None and seen != project.schema_version:
        raise SchemaVersionStale(seen, project.schema_version)


def count_slices(session: Session, project_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, dict[Split, int]]:
    """Project id -> how many slices each split has."""
    # Each slice of a volume has its row, and what is deleted is deleted by volume: hundreds of rows, not 100,000s.
    rows = session.execute(
        select(Volume.project_id, Patient.split, func.sum(Volume.depth))
        .select_from(Volume)
        .join(Patient, Volume.patient_id == Patient.id)
        .where(Volume.project_id.in_(project_ids))
        .group_by(Volume.project_id, Patient.split)
    )
    counts = {project_id: dict.fromkeys(Split, 0) for project_id in project_ids}
    for project_id, split, count in rows:
        counts[project_id][Split(split)] = int(count)
    return counts


def schema_as_json(classes: Sequence[LabelClass]) -> list[dict[str, Any]]:
    """The schema as the project's row has it."""
    return [{"value": each.value, "name": each.name, "color": each.color} for each in classes]


def check_name(name: str) -> None:
    """Raise ProjectSettingRefused for a name that nobody could read."""
    if not name.strip() or not name.isprintable():
        raise ProjectSettingRefused("name", "printable and not empty", name)


def check_overlap(overlap: int) -> None:
    """Raise ProjectSettingRefused for a number of readers that no slice can have."""
    if not 1 <= overlap <= READERS_AT_MOST:
        raise ProjectSettingRefused("overlap", f"between 1 and {READERS_AT_MOST} readers a slice", overlap)


def check_review_percent(percent: float) -> None:
    """Raise ProjectSettingRefused for what is no share."""
    if not 0 <= percent <= 100:
        raise ProjectSettingRefused("review_percent", "between 0 and 100", percent)


def check_label_schema(classes: Sequence[LabelClass]) -> None:
    """Raise LabelSchemaRefused for one that no mask could follow."""
    values = [each.value for each in classes]
    if not any(value == 0 for value in values):
        raise LabelSchemaRefused("has no class of value 0, the background")
    if len(classes) < 2:
        raise LabelSchemaRefused("needs at least one class besides the background")
    if len(set(values)) != len(values) or len({each.name for each in classes}) != len(classes):
        raise LabelSchemaRefused("has two classes of the same value or name")
    for each in classes:
        if not 0 <= each.value < UNLABELLED:
            raise LabelSchemaRefused(f"has the value {each.value}; values go from 0 to 254, 255 means unlabelled")
        if not each.name.strip() or not each.name.isprintable():
            raise LabelSchemaRefused(f"has no printable name for value {each.value}")
        if not _COLOR.fullmatch(each.color):
            raise LabelSchemaRefused(f"has the colour {each.color!r}; colours are written #rrggbb")


def check_budgets(budgets: Sequence[float]) -> None:
    """Raise BudgetRefused unless they are percentages that ascend."""
    if not budgets:
        raise BudgetRefused("at least one budget is needed")
    for budget in budgets:
        if not 0 < budget <= 100:
            raise BudgetRefused(f"a budget is more than 0 and at most 100 percent, not {budget:g}")
    if any(later <= earlier for earlier, later in zip(budgets, list(budgets)[1:], strict=False)):
        raise BudgetRefused("budgets are cumulative percentages and must ascend")

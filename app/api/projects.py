"""Routes of projects and of the table of strategies."""

from __future__ import annotations

from fastapi import APIRouter, Response
from sqlalchemy.orm import Session

from app.api.deps import Reading, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.masks import IfMatch, plain_tag
from app.api.paging import Paged, page_of
from app.api.schemas import Page, ProjectAsked, ProjectChanges, ProjectWire, StrategyWire
from app.api.wires import project_wires
from app.db.audit import note_project
from app.db.models import Project
from app.errors import ProjectPreconditionMissing
from app.names import STRATEGIES, Role, StrategyDescriptor
from app.services import members, project_settings, projects
from app.services.paging import list_items
from app.services.project_settings import ProjectChange
from app.services.projects import LabelClass, ProjectDraft
from app.strategy_settings import STRATEGY_SETTINGS

router = APIRouter(prefix="/v1", tags=["projects"], route_class=CreatingRoute)


@router.get("/strategies")
def list_strategies(span: Paged) -> Page[StrategyWire]:
    """All selection strategies, with what each needs and costs."""
    found = list_items(enumerate(STRATEGIES.values()), lambda numbered: numbered[0], span)
    return page_of(found, lambda numbered: _strategy_wire(numbered[1]))


@router.post("/projects", status_code=201)
def create_project(asked: ProjectAsked, session: Writing, person: ThePerson, response: Response) -> ProjectWire:
    """Make a project."""
    draft = ProjectDraft(
        slug=asked.slug,
        name=asked.name,
        label_schema=[LabelClass(each.value, each.name, each.color) for each in asked.label_schema],
        supervision=asked.supervision,
        strategy=asked.strategy,
        budgets=asked.budgets,
        seed=asked.seed,
        preset=asked.preset,
        overrides=asked.protocol,
        auto_train=asked.auto_train,
        auto_propose=asked.auto_propose,
        overlap=asked.overlap,
        adjudicate=asked.adjudicate,
        review_percent=asked.review_percent,
        strategy_settings=asked.strategy_settings,
    )
    project = projects.create_project(session, draft)
    if person.account_id is not None:
        members.set_member(session, project, person.account_id, Role.OWNER)
    note_project(project.id)
    response.headers["Location"] = f"/v1/projects/{project.id}"
    return _tagged(session, project, response)


@router.get("/projects")
def list_projects(session: Reading, person: ThePerson, span: Paged) -> Page[ProjectWire]:
    """The projects that one may know of, the newest first."""
    found = members.visible_projects(session, person, span)
    return Page(items=project_wires(session, found), next_cursor=found.next_cursor)


@router.get("/projects/{project}")
def read_project(project: str, session: Reading, response: Response) -> ProjectWire:
    """One project, by id or slug; its ETag is the If-Match of a change."""
    return _tagged(session, projects.find_project(session, project), response)


@router.patch("/projects/{project}")
def change_project(
    project: str, asked: ProjectChanges, session: Writing, response: Response, if_match: IfMatch = None
) -> ProjectWire:
    """Change a project under way; what it then does by itself, such as its next round, begins at once."""
    expected = plain_tag(if_match)
    if expected is None:
        raise ProjectPreconditionMissing
    fields = asked.model_dump(exclude_unset=True, exclude={"label_schema"})
    classes = asked.label_schema
    schema = None if classes is None else [LabelClass(each.value, each.name, each.color) for each in classes]
    change = ProjectChange(label_schema=schema, **fields)
    changed = project_settings.change_project(session, projects.find_project(session, project), change, expected)
    return _tagged(session, changed, response)


def _tagged(session: Session, project: Project, response: Response) -> ProjectWire:
    response.headers["ETag"] = f'"{project_settings.settings_tag(project)}"'
    return project_wires(session, [project])[0]


def _strategy_wire(strategy: StrategyDescriptor) -> StrategyWire:
    settings = STRATEGY_SETTINGS.get(strategy.name, {})
    return StrategyWire(
        name=strategy.name,
        summary=strategy.summary,
        needs=sorted(strategy.needs),
        cost=strategy.cost,
        source=strategy.source,
        settings={name: f"{setting.allowed}: {setting.summary}" for name, setting in settings.items()},
    )

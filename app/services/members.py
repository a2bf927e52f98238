"""Who is what in which project, and to which project a thing belongs."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, Uuid, bindparam, select
from sqlalchemy.orm import Session

from app.db.models import (
    Account,
    Annotation,
    AnnotationVersion,
    Deletion,
    Job,
    Lease,
    Membership,
    Model,
    Patient,
    Project,
    Round,
    Slice,
    Snapshot,
    Upload,
    Volume,
    Webhook,
    WebhookDelivery,
)
from app.db.session import prepared
from app.errors import LastOwner, NotAnAnnotator, ProjectNotFound, RecordNotFound
from app.names import Purpose, Role
from app.services import leases
from app.services.lease_queue import lock_person
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.people import Person
from app.services.projects import find_project_id

_ROW = bindparam("row", type_=Uuid())

# Path parameter -> (what it is called in a refusal, the query for the project of the row with this id).
# Whoever adds a route with a new kind of id adds it here; tests/test_access.py fails until then.
BELONGS: dict[str, tuple[str, Select[Any]]] = {
    "volume": ("volume", select(Volume.project_id).where(Volume.id == _ROW)),
    "slice_": ("slice", select(Slice.project_id).where(Slice.id == _ROW)),
    "patient": ("patient", select(Patient.project_id).where(Patient.id == _ROW)),
    "deletion": ("deletion", select(Deletion.project_id).where(Deletion.id == _ROW)),
    "round_": ("round", select(Round.project_id).where(Round.id == _ROW)),
    "job": ("job", select(Job.project_id).where(Job.id == _ROW)),
    "lease": ("lease", select(Lease.project_id).join(Slice).where(Lease.id == _ROW)),
    "model": ("model", select(Model.project_id).where(Model.id == _ROW)),
    "version": (
        "annotation version",
        select(Annotation.project_id)
        .join(AnnotationVersion, AnnotationVersion.annotation_id == Annotation.id)
        .join(Slice, Slice.id == Annotation.slice_id)
        .where(AnnotationVersion.id == _ROW),
    ),
    "upload": ("upload", select(Upload.project_id).where(Upload.id == _ROW)),
    "snapshot": ("snapshot", select(Snapshot.project_id).where(Snapshot.id == _ROW)),
    "webhook": ("webhook", select(Webhook.project_id).where(Webhook.id == _ROW)),
    "delivery": (
        "delivery",
        select(Webhook.project_id)
        .join(WebhookDelivery, WebhookDelivery.webhook_id == Webhook.id)
        .where(WebhookDelivery.id == _ROW),
    ),
}
# A deletion is asked about also where it is the project that was deleted.
_OWNERS = {
    parameter: prepared(
        query if parameter == "deletion" else select(Project.id).where(Project.id == query.scalar_subquery())
    )
    for parameter, (_, query) in BELONGS.items()
}


def project_of(session: Session, parameter: str, reference: str) -> uuid.UUID:
    """The project that the thing named by a path belongs to; raises NotFound, as if it were somebody else's."""
    if parameter == "project":
        return find_project_id(session, reference)
    try:
        found: uuid.UUID | None = session.scalar(_OWNERS[parameter], {"row": uuid.UUID(reference)})
    except ValueError:
        found = None
    if found is None:
        raise RecordNotFound(BELONGS[parameter][0], reference)
    return found


def refuse_as_unknown(parameter: str, reference: str) -> ProjectNotFound | RecordNotFound:
    """What somebody is told of a thing that they may not know of: what they would be told if it were not there."""
    return ProjectNotFound(reference) if parameter == "project" else RecordNotFound(BELONGS[parameter][0], reference)


def in_project(session: Session, person: Person, project_id: uuid.UUID) -> Person:
    """The person with their role in this project (None: they may not know of it)."""
    if person.administrator:
        return replace(person, role=Role.OWNER, project_id=project_id)
    role = session.scalar(
        select(Membership.role).where(Membership.project_id == project_id, Membership.account_id == person.account_id)
    )
    return replace(person, role=None if role is None else Role(role), project_id=project_id)


def acting_as(session: Session, person: Person, name: str | None) -> str:
    """The name that is signed with (`Person.acting_as`); with accounts, another's is an annotator's of the project.

    Under a name that nobody has, one person could be two readers. Raises NotInAnothersName and NotAnAnnotator.
    """
    acting = person.acting_as(name)
    if person.entering_for(acting) is not None:
        query = select(Membership.role).join(Account, Account.id == Membership.account_id)
        role = session.scalar(
            query.where(Membership.project_id == person.project_id, Account.name == acting, ~Account.disabled)
        )
        if role is None or not Role(role).covers(Role.ANNOTATOR):
            raise NotAnAnnotator(acting)
    return acting


def holds_lease(session: Session, person: Person, reference: str) -> bool:
    """Whether the lease is the person's own."""
    return session.scalar(select(Lease.holder).where(Lease.id == uuid.UUID(reference))) == person.name


def visible_projects(session: Session, person: Person, span: Span = ALL) -> Listed[Project]:
    """The projects that the person may know of, the newest first."""
    query = select(Project)
    if not person.administrator:
        mine = select(Membership.project_id).where(Membership.account_id == person.account_id)
        query = query.where(Project.id.in_(mine))
    return list_rows(session, query, [Project.id], span, descending=True)


def list_members(session: Session, project: Project, span: Span = ALL) -> Listed[Membership]:
    """Everybody who has a role in the project, by name."""
    query = select(Membership).join(Account).where(Membership.project_id == project.id)
    return list_rows(session, query, [Account.name], span)


def set_member(session: Session, project: Project, account_id: uuid.UUID, role: Role) -> None:
    """Give an account a role; raises LastOwner when nobody would be owner any more."""
    _lock(session, project)
    present = session.get(Membership, (project.id, account_id))
    if present is None:
        session.add(Membership(project_id=project.id, account_id=account_id, role=role))
    else:
        if role != Role.OWNER:
            _keep_an_owner(session, project, present)
        present.role = role
        closed_to = [each for each in Purpose if not role.covers(each.role)]
        leases.release_all(session, session.get_one(Account, account_id).name, project.id, closed_to)
    session.flush()


def remove_member(session: Session, project: Project, account: Account) -> None:
    """Take an account's role away, and its leases; raises RecordNotFound where it has none, LastOwner for the last."""
    _lock(session, project)
    present = session.get(Membership, (project.id, account.id))
    if present is None:
        raise RecordNotFound("member", account.name)
    _keep_an_owner(session, project, present)
    session.delete(present)
    lock_person(session, project, account.name)  # a lease that is being given is there, and ends with the others
    leases.release_all(session, account.name, project.id)


def _keep_an_owner(session: Session, project: Project, leaving: Membership) -> None:
    if leaving.role != Role.OWNER:
        return
    others = select(Membership.account_id).where(
        Membership.project_id == project.id,
        Membership.role == Role.OWNER,
        Membership.account_id != leaving.account_id,
    )
    if session.scalar(others.limit(1)) is None:
        raise LastOwner(f"project {project.slug!r}")


def _lock(session: Session, project: Project) -> None:
    # Of two owners who remove each other at once, the second must see that the first is gone.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update())

"""Routes of members: who is what in a project."""

from __future__ import annotations

import uuid

from fastapi import APIRouter

from app.api.deps import Reading, Writing
from app.api.paging import Paged, page_of
from app.api.schemas import Asked, Page, Wire
from app.db.audit import note_detail
from app.names import Role
from app.services import members, people, projects

router = APIRouter(prefix="/v1", tags=["people"])


class MemberAsked(Asked):
    """The role to give."""

    role: Role


class MemberWire(Wire):
    """Somebody's role."""

    account_id: uuid.UUID
    name: str
    role: Role


@router.get("/projects/{project}/members")
def list_members(project: str, session: Reading, span: Paged) -> Page[MemberWire]:
    """Everybody who has a role in the project."""
    found = members.list_members(session, projects.find_project(session, project), span)
    names = people.account_names(session, [each.account_id for each in found])
    return page_of(
        found,
        lambda each: MemberWire(account_id=each.account_id, name=names[each.account_id], role=Role(each.role)),
    )


@router.put("/projects/{project}/members/{account}")
def set_member(project: str, account: str, asked: MemberAsked, session: Writing) -> MemberWire:
    """Give an account, by name or id, a role; 409 where the project would have no owner left."""
    found = projects.find_project(session, project)
    who = people.find_account(session, account)
    members.set_member(session, found, who.id, asked.role)
    note_detail(f"role {asked.role}")
    return MemberWire(account_id=who.id, name=who.name, role=asked.role)


@router.delete("/projects/{project}/members/{account}", status_code=204)
def remove_member(project: str, account: str, session: Writing) -> None:
    """Take an account's role away."""
    members.remove_member(session, projects.find_project(session, project), people.find_account(session, account))

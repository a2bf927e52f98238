"""Routes of leases: which slice next?"""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import Reading, TheHouse, Writing
from app.api.schemas import LeaseAsked, LeaseWire, Page
from app.api.wires import lease_wires
from app.services import leases, projects

router = APIRouter(prefix="/v1", tags=["leases"])


@router.post("/projects/{project}/leases", response_model=None, responses={200: {"model": Page[LeaseWire]}, 204: {}})
def lease_next_slices(
    project: str, house: TheHouse, session: Writing, asked: LeaseAsked | None = None
) -> Page[LeaseWire] | Response:
    """The next slices for this annotator, in pick order; 204: nothing is left, 409: more will be proposed soon."""
    wish = asked or LeaseAsked()
    found = projects.find_project(session, project)
    taken = leases.lease_next_slices(session, found, wish.annotator, wish.n, house.settings.annotation_lease_s)
    if not taken:
        return Response(status_code=204)
    return Page(items=lease_wires(session, taken))


@router.get("/leases/{lease}")
def read_lease(lease: str, session: Reading) -> LeaseWire:
    """One lease."""
    return lease_wires(session, [leases.find_lease(session, lease)])[0]


@router.delete("/leases/{lease}", status_code=204)
def release_lease(lease: str, session: Writing) -> None:
    """Give a slice back unannotated."""
    leases.release_lease(session, leases.find_lease(session, lease))

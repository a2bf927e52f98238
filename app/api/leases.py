"""Routes of leases: which slice next?"""

from __future__ import annotations

from fastapi import APIRouter, Response

from app.api.deps import House, Reading, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.schemas import LeaseAsked, LeaseWire, Page, SkipAsked, TakeoverAsked
from app.api.wires import lease_wires
from app.names import Purpose
from app.services import leases, members, projects
from app.services.lease_queue import Clocks

router = APIRouter(prefix="/v1", tags=["leases"], route_class=CreatingRoute)


@router.post("/projects/{project}/leases", response_model=None, responses={200: {"model": Page[LeaseWire]}, 204: {}})
def lease_slices(
    project: str, house: TheHouse, session: Writing, person: ThePerson, asked: LeaseAsked | None = None
) -> Page[LeaseWire] | Response:
    """The next slices for an annotator, in pick order; 204 when nothing is left and nothing more is coming."""
    wish = asked or LeaseAsked()
    if wish.purpose == Purpose.ANNOTATE:
        holder = members.acting_as(session, person, wish.annotator)
    else:
        person.require(wish.purpose.role)
        holder = person.signing_as(wish.annotator)
    found = projects.find_project(session, project)
    taken = leases.lease_next_slices(session, found, holder, wish.n, lease_clocks(house), wish.purpose)
    if not taken:
        return Response(status_code=204)
    return Page(items=lease_wires(session, taken))


@router.get("/leases/{lease}")
def read_lease(lease: str, session: Reading) -> LeaseWire:
    """One lease."""
    return lease_wires(session, [leases.find_lease(session, lease)])[0]


@router.post("/leases/{lease}/heartbeat")
def send_heartbeat(lease: str, house: TheHouse, session: Writing) -> LeaseWire:
    """Say that the client is still there. From the first heartbeat on, a missing one frees the slice for others."""
    found = leases.find_lease(session, lease)
    leases.heartbeat(session, found, lease_clocks(house))
    return lease_wires(session, [found])[0]


@router.post("/leases/{lease}/skip")
def skip_slice(lease: str, asked: SkipAsked, session: Writing) -> LeaseWire:
    """Pass a slice on: it does not come back to this annotator, and when it is unfit nobody is shown it again."""
    found = leases.find_lease(session, lease)
    leases.skip_lease(session, found, asked.reason, asked.note)
    return lease_wires(session, [found])[0]


@router.post("/leases/{lease}/takeover")
def take_over_lease(
    lease: str, asked: TakeoverAsked, house: TheHouse, session: Writing, person: ThePerson
) -> LeaseWire:
    """For managers: hold what somebody else held; their draft stays theirs."""
    found = leases.find_lease(session, lease)
    holder = members.acting_as(session, person, asked.annotator)
    taken = leases.take_over(session, found, holder, lease_clocks(house), force=asked.force)
    return lease_wires(session, [taken])[0]


@router.delete("/leases/{lease}", status_code=204)
def release_lease(lease: str, session: Writing) -> None:
    """Give a slice back undone."""
    leases.release_lease(session, leases.find_lease(session, lease))


def lease_clocks(house: House) -> Clocks:
    """The two clocks as this service is set."""
    return Clocks(idle_s=house.settings.annotation_lease_s, alive_s=house.settings.heartbeat_s)

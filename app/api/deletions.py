"""Routes of deleting: hide, list what waits, restore, purge."""

from __future__ import annotations

from fastapi import APIRouter

from app.api.deps import Reading, TheHouse, ThePerson, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import DeletionWire, Page
from app.outbox import unit_of_work
from app.services import deletions, projects, volumes
from app.services.housekeeping import remove_purged
from app.services.purging import purge

router = APIRouter(prefix="/v1", tags=["deletions"], route_class=CreatingRoute)


@router.delete("/projects/{project}")
def delete_project(project: str, house: TheHouse, session: Writing, person: ThePerson) -> DeletionWire:
    """Hide a project with everything in it; it can be restored until it is purged. Refused while a job is at work."""
    found = projects.find_project(session, project)
    days = house.settings.retention_days
    return DeletionWire.model_validate(deletions.delete_project(session, found, person.name, days))


@router.delete("/patients/{patient}")
def delete_patient(patient: str, house: TheHouse, session: Writing, person: ThePerson) -> DeletionWire:
    """Hide a patient with all volumes; they can be restored until they are purged."""
    found = volumes.find_patient(session, patient)
    days = house.settings.retention_days
    return DeletionWire.model_validate(deletions.delete_patient(session, found, person.name, days))


@router.delete("/volumes/{volume}")
def delete_volume(volume: str, house: TheHouse, session: Writing, person: ThePerson) -> DeletionWire:
    """Hide a volume; it can be restored until it is purged."""
    found = volumes.find_volume(session, volume)
    days = house.settings.retention_days
    return DeletionWire.model_validate(deletions.delete_volume(session, found, person.name, days))


@router.get("/deletions")
def list_all_deletions(session: Reading, span: Paged) -> Page[DeletionWire]:
    """What waits to be purged anywhere, deleted projects among it, the newest first."""
    return page_of(deletions.list_deletions(session, span=span), DeletionWire.model_validate)


@router.get("/projects/{project}/deletions")
def list_deletions(project: str, session: Reading, span: Paged) -> Page[DeletionWire]:
    """The patients and volumes of a project that wait to be purged, the newest first."""
    found = deletions.list_deletions(session, projects.find_project(session, project), span)
    return page_of(found, DeletionWire.model_validate)


@router.post("/deletions/{deletion}/restore", status_code=204)
def restore_deletion(deletion: str, session: Writing) -> None:
    """Show again what a deletion hid."""
    deletions.restore(session, deletions.find_deletion(session, deletion))


@router.delete("/deletions/{deletion}", status_code=204)
def purge_deletion(deletion: str, house: TheHouse) -> None:
    """Purge at once: rows, pixels, original files and all that was made of them. There is no way back.

    Bytes that were stored within the last day, or since a day before a running job began, go later: somebody may be
    about to name the same.
    """
    with unit_of_work(house.database, house.dispatcher) as session:
        purge(session, house.blobs, deletions.find_deletion(session, deletion))
    remove_purged(house.database, house.blobs)

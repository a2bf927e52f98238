"""Drafts: what is drawn and not submitted. One a person and slice; its author or a submission ends it, no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Draft, Project, Slice, new_id
from app.db.session import database_now
from app.errors import DraftPreconditionMissing, DraftStale
from app.names import AnnotationKind
from app.services import leases
from app.services.annotations import NO_VERSION, check_mask, is_expected, visible_version
from app.services.lease_queue import Clocks
from app.storage.masks import encode_mask

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Sketch:
    """What is kept of unfinished work."""

    kind: AnnotationKind
    author: str
    base_version: str | None = None  # tag of the annotation that it is drawn over; None: as before
    lead_time_ms: int | None = None


def save_draft(
    session: Session,
    project: Project,
    slice_: Slice,
    mask: NDArray[np.uint8],
    sketch: Sketch,
    expected: str | None,
    clocks: Clocks,
) -> tuple[Draft, bool]:
    """The saved draft (mask (H, W) uint8, unfinished or empty), and whether the slice still is its author's.

    A draft is an edit: it moves the idle clock of the lease. Where the lease is lost the draft is kept all the same.
    What it was drawn over stays as first said (unsaid: what its author saw then), so that submitting it over somebody
    else's later version is refused.
    Raises DraftPreconditionMissing and DraftStale when there is a draft other than the `expected` one.
    """
    check_mask(project, mask, sketch.kind, unfinished=True)
    # The lease before the draft, as a submission locks them: in another order they would wait for each other.
    held = leases.note_edit(session, slice_.id, sketch.author, clocks)
    draft = find_draft(session, slice_, sketch.author, lock=True)
    check_draft_tag(draft, expected)
    if draft is None:
        base = visible_version(session, project, slice_, sketch.author)
        draft = Draft(
            slice_id=slice_.id, author=sketch.author, base_version=NO_VERSION if base is None else str(base.id)
        )
        session.add(draft)
    draft.tag = new_id()
    draft.kind = sketch.kind
    if sketch.base_version is not None:
        draft.base_version = sketch.base_version
    draft.lead_time_ms = sketch.lead_time_ms
    draft.mask = encode_mask(mask)
    draft.updated_at = database_now(session)
    session.flush()
    return draft, held


def find_draft(session: Session, slice_: Slice, author: str, *, lock: bool = False) -> Draft | None:
    """This person's draft of the slice."""
    query = select(Draft).where(Draft.slice_id == slice_.id, Draft.author == author)
    return session.scalar(query.with_for_update() if lock else query)


def drop_draft(session: Session, slice_: Slice, author: str, expected: str | None) -> None:
    """Discard this person's draft; none is no error. Raises DraftPreconditionMissing and DraftStale."""
    draft = find_draft(session, slice_, author, lock=True)
    if draft is None:
        return
    check_draft_tag(draft, expected)
    session.delete(draft)


def check_draft_tag(draft: Draft | None, expected: str | None) -> None:
    """Refuse a change of a draft by somebody who has not seen it as it is."""
    current = NO_VERSION if draft is None else str(draft.tag)
    if expected is None and draft is not None:
        raise DraftPreconditionMissing
    if not is_expected(expected or NO_VERSION, current):
        raise DraftStale(current)

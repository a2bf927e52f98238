"""Rounds, the heart: propose slices, wait for their annotation, learn, judge, close.

open_round -> [train_encoder ->] propose -> (people annotate) -> train_segmentation -> evaluate -> closed
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, delete, func, select, update
from sqlalchemy.orm import Session

from app.db.models import (
    Assignment,
    Job,
    Metric,
    Model,
    Pick,
    Project,
    Round,
    Slice,
)
from app.db.session import database_now, prepared
from app.errors import BudgetRefused, NothingLeft, RoundOpen, RoundStateConflict
from app.log import get_log
from app.names import STRATEGIES, JobKind, ModelKind, Need, RoundState, WebhookEvent
from app.services.jobs import queue_job
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows
from app.services.pools import PoolCount, count_at_budget, count_pool, training_set
from app.services.webhooks import announce

COUNTED_TO = 1_000  # open seats of a round, for the lists
_MANY = 256
"""With so many assignments open none of the transactions now at work can be finishing the last: they are fewer."""

_OPEN = (RoundState.PROPOSING, RoundState.ANNOTATING, RoundState.TRAINING, RoundState.EVALUATING)

_MARK = (
    update(Pick)
    .where(Pick.project_id == bindparam("project"), Pick.slice_id == bindparam("slice"), ~Pick.annotated)
    .values(annotated=True)
)
_MANY_OPEN = prepared(
    select(Assignment.id).where(Assignment.round_id == bindparam("round"), ~Assignment.done).offset(_MANY - 1).limit(1)
)

_log = get_log(__name__)


@dataclass(frozen=True)
class ProposedPick:
    """One pick as the workshop hands it in."""

    slice_id: uuid.UUID
    value: float
    reason: str
    nearest_slice_id: uuid.UUID | None


def open_round(session: Session, project: Project, budget_percent: float | None = None) -> Round:
    """Begin the next round at a cumulative budget (default: the project's next usable one) and queue its first job.

    Raises `RoundOpen`, `NothingLeft` and, for a budget that was named, `BudgetRefused`.
    """
    # Key-shared: whoever submits meanwhile refers to the project, and may hold the round that this transaction closes.
    session.execute(select(Project.id).where(Project.id == project.id).with_for_update(key_share=True))
    latest = latest_round(session, project)
    if latest is not None and latest.state in _OPEN:
        raise RoundOpen(latest.number, latest.state)
    pool = count_pool(session, project)
    percent = budget_percent if budget_percent is not None else next_budget(session, project, pool)
    percent, target = _target(project, percent, pool)
    opened = Round(
        project_id=project.id,
        number=1 if latest is None else latest.number + 1,
        budget_percent=percent,
        target=target,
        state=RoundState.PROPOSING,
        strategy=project.strategy,
        seed=project.seed,
    )
    session.add(opened)
    session.flush()
    encoder = find_encoder(session, project)
    if Need.ENCODER in STRATEGIES[project.strategy].needs and encoder is None:
        queue_job(session, project_id=project.id, kind=JobKind.TRAIN_ENCODER, round_id=opened.id)
    else:
        opened.encoder_id = encoder.id if encoder is not None else None
        queue_job(session, project_id=project.id, kind=JobKind.PROPOSE, round_id=opened.id)
    return opened


def next_budget(session: Session, project: Project, pool: PoolCount) -> float | None:
    """The first listed budget above all that rounds already had which adds a slice; None when the schedule is through.

    Close budgets may be equally many slices, and people annotate others than those that were proposed.
    """
    reached = session.scalar(select(func.max(Round.budget_percent)).where(Round.project_id == project.id)) or 0.0
    later = (float(each) for each in project.budgets if each > reached + 1e-9)
    return next((each for each in later if _slices_at(each, pool) > pool.known), None)


def latest_round(session: Session, project: Project) -> Round | None:
    """The round with the highest number."""
    return session.scalar(select(Round).where(Round.project_id == project.id).order_by(Round.number.desc()).limit(1))


def find_round(session: Session, reference: str) -> Round:
    """The round with this id; raises RecordNotFound."""
    return find_row(session, Round, "round", reference)


def list_rounds(session: Session, project: Project, span: Span = ALL) -> Listed[Round]:
    """All rounds of the project in their order."""
    return list_rows(session, select(Round).where(Round.project_id == project.id), [Round.number], span)


def list_picks(session: Session, round_: Round, span: Span = ALL) -> Listed[Pick]:
    """The picks of a round in pick order."""
    shown = select(Pick).join(Slice, Slice.id == Pick.slice_id).where(Pick.round_id == round_.id)
    return list_rows(session, shown, [Pick.order], span)


def find_encoder(session: Session, project: Project) -> Model | None:
    """The newest encoder of the project."""
    return session.scalar(
        select(Model)
        .where(Model.project_id == project.id, Model.kind == ModelKind.ENCODER)
        .order_by(Model.id.desc())
        .limit(1)
    )


def record_encoder(session: Session, round_: Round, model: Model) -> None:
    """Keep a trained encoder and go on to the proposal."""
    session.add(model)
    session.flush()
    round_.encoder_id = model.id
    queue_job(session, project_id=round_.project_id, kind=JobKind.PROPOSE, round_id=round_.id)


def record_picks(
    session: Session,
    round_: Round,
    picks: Sequence[ProposedPick],
    cover_radius: float | None,
    cover_key: str | None = None,
) -> None:
    """Store the proposal in its order and open the slices for annotation."""
    session.add_all(
        Pick(
            project_id=round_.project_id,
            round_id=round_.id,
            slice_id=pick.slice_id,
            order=order,
            value=pick.value,
            reason=pick.reason,
            nearest_slice_id=pick.nearest_slice_id,
            seed=round_.seed,
        )
        for order, pick in enumerate(picks, start=1)
    )
    session.flush()
    project = session.get_one(Project, round_.project_id)
    session.add_all(
        Assignment(project_id=round_.project_id, round_id=round_.id, slice_id=pick.slice_id, order=order, seat=seat)
        for order, pick in enumerate(picks, start=1)
        for seat in range(1, project.overlap + 1)
    )
    round_.cover_radius, round_.cover_key = cover_radius, cover_key
    round_.state = RoundState.ANNOTATING
    session.flush()
    _announce(session, round_, WebhookEvent.ROUND_PROPOSED, {"picks": len(picks)})


def mark_annotated(session: Session, project: Project, slice_id: uuid.UUID) -> None:
    """Note on a slice's pick that it has an annotation now."""
    session.execute(_MARK, {"project": project.id, "slice": slice_id})


def close_annotation(session: Session, round_id: uuid.UUID) -> None:
    """Begin the training of a round when nothing is left to do with its slices; call it when one is settled.

    Where every slice was excluded there is nothing to learn from: the round closes, the next one makes up for it.
    """
    if session.scalar(_MANY_OPEN, {"round": round_id}) is not None:
        return
    round_ = _locked(session, round_id)
    if round_.state != RoundState.ANNOTATING or count_open_picks(session, [round_.id])[round_.id]:
        return
    project = session.get_one(Project, round_.project_id)
    if not training_set(session, round_):
        _close(session, project, round_)
    elif project.auto_train:
        begin_training(session, round_)


def count_open_picks(session: Session, round_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, int]:
    """Round id -> how many of its slices wait for somebody: a reader, an adjudicator or a reviewer.

    Of more than COUNTED_TO seats, so many are counted: a list of rounds is read every few seconds by every board.
    """
    open_seats = select(Assignment.slice_id).where(Assignment.round_id == Round.id, ~Assignment.done)
    seats = open_seats.limit(COUNTED_TO).correlate(Round).subquery()
    waiting = select(func.count(seats.c.slice_id.distinct())).correlate(Round).scalar_subquery()
    return {row[0]: row[1] for row in session.execute(select(Round.id, waiting).where(Round.id.in_(round_ids)))}


def newest_jobs(session: Session, round_ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, uuid.UUID]:
    """Round id -> its newest job, for the rounds that have one."""
    jobs = select(Job.round_id, Job.id).where(Job.round_id.in_(round_ids)).order_by(Job.id)
    return {of: job for of, job in session.execute(jobs) if of is not None}


def begin_training(session: Session, round_: Round) -> None:
    """Queue the training of a round whose picks are all annotated; raises RoundStateConflict otherwise."""
    round_ = _locked(session, round_.id)
    if round_.state != RoundState.ANNOTATING:
        raise RoundStateConflict(round_.number, round_.state, "a training begins when its slices are annotated")
    waiting = count_open_picks(session, [round_.id])[round_.id]
    if waiting:
        raise RoundStateConflict(round_.number, round_.state, f"{waiting} of its slices wait for an annotation")
    round_.state = RoundState.TRAINING
    queue_job(session, project_id=round_.project_id, kind=JobKind.TRAIN_SEGMENTATION, round_id=round_.id)


def list_members(session: Session, round_: Round) -> list[Model]:
    """The ensemble of a round as far as it is trained, by member number."""
    return list(
        session.scalars(
            select(Model)
            .where(Model.round_id == round_.id, Model.kind == ModelKind.SEGMENTATION)
            .order_by(Model.member)
        )
    )


def record_training(session: Session, round_: Round) -> None:
    """All members are stored: go on to the evaluation."""
    round_.state = RoundState.EVALUATING
    queue_job(session, project_id=round_.project_id, kind=JobKind.EVALUATE, round_id=round_.id)


def record_evaluation(
    session: Session, round_: Round, metrics: Sequence[Metric], summary: dict[str, Any]
) -> Round | None:
    """Store what was measured, close the round and, where the project wants it, open the next one and return it."""
    session.execute(delete(Metric).where(Metric.round_id == round_.id))
    session.add_all(metrics)
    round_.summary = summary
    return _close(session, session.get_one(Project, round_.project_id), round_)


def go_on(session: Session, project: Project) -> None:
    """Do what the project does by itself from now on, its settings having changed: train, or open the next round."""
    newest = latest_round(session, project)
    if newest is not None and newest.state == RoundState.ANNOTATING:
        close_annotation(session, newest.id)
    elif newest is not None and newest.state == RoundState.CLOSED:
        _open_next(session, project)


def _locked(session: Session, round_id: uuid.UUID) -> Round:
    """The round as it is now, held until the transaction ends.

    Held before its seats are counted: of two people who submit the last two slices at once, the second must see the
    first's, and of two who ask for its training only one gets it.
    """
    query = select(Round).where(Round.id == round_id).with_for_update(key_share=True)
    return session.scalars(query.execution_options(populate_existing=True)).one()


def _close(session: Session, project: Project, round_: Round) -> Round | None:
    round_.state = RoundState.CLOSED
    round_.closed_at = database_now(session)
    session.flush()
    _announce(session, round_, WebhookEvent.ROUND_CLOSED, {"dice": round_.summary.get("dice")})
    newest = latest_round(session, project)
    if newest is None or newest.id != round_.id:
        return None  # after an earlier round, trained once more, the loop has gone on already
    return _open_next(session, project)


def _open_next(session: Session, project: Project) -> Round | None:
    if not project.auto_propose:
        return None
    try:
        return open_round(session, project)
    except (NothingLeft, RoundOpen) as error:
        # What was measured is kept in this transaction, whatever becomes of the next round.
        _log.info("no_next_round", project_id=str(project.id), reason=str(error))
        return None


def _announce(session: Session, round_: Round, event: WebhookEvent, facts: dict[str, Any]) -> None:
    announce(session, round_.project_id, event, {"round_id": str(round_.id), "number": round_.number, **facts})


def _target(project: Project, percent: float | None, pool: PoolCount) -> tuple[float, int]:
    if pool.slices == 0:
        raise NothingLeft(f"project {project.slug!r} has no slices of train patients")
    if pool.known >= pool.usable:
        raise NothingLeft(f"all {pool.usable} train slices that are not excluded are annotated or proposed")
    if percent is None:
        raise NothingLeft(f"no budget of the project adds a slice to the {pool.known} that are annotated or proposed")
    if not 0 < percent <= 100:
        raise BudgetRefused(f"a budget is more than 0 and at most 100 percent, not {percent:g}")
    target = _slices_at(percent, pool)
    if target <= pool.known:
        raise BudgetRefused(f"{percent:g} % are {target} slices, and {pool.known} are annotated or proposed already")
    return percent, target


def _slices_at(percent: float, pool: PoolCount) -> int:
    return min(count_at_budget(pool.slices, percent), pool.usable)

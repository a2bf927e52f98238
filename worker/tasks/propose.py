"""Let the round's strategy choose its slices."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.db.models import Model, Project, Round, Volume
from app.errors import BudgetRefused, Unavailable
from app.names import STRATEGIES as DESCRIPTORS, Need
from app.protocols import load_protocol
from app.services import pools, rounds
from app.services.pools import PoolSlice
from app.services.rounds import ProposedPick
from worker.checkpoints import load_cover, save_cover
from worker.dataset import load_volumes
from worker.device import choose_device
from worker.learning.errors import WeightsError, WeightsMissingError
from worker.learning.query.coreset import cover_radius
from worker.learning.query.pool import Picks, QueryPool
from worker.learning.query.strategies import STRATEGIES
from worker.learning.seeding import numpy_generator
from worker.pool import PoolSource, build_query_pool, read_encoder_features
from worker.runner import Record, Work

_SCORES = {
    "variance-ratio": "the members' mean disagreement",
    "bald": "what it tells about the weights, in nats a pixel,",
    "stochastic-batches": "its entropy in nats a pixel, within the most uncertain of many random batches,",
    "typiclust": "its typicality within its cluster",
    "foreground-aware-random": "its predicted share of foreground",
    "clasp-pe": "the logarithm of its entropy for one of the classes, noise added,",
    "vaal": "the adversary's belief that nothing like it is annotated",
}
"""What the value of a pick is, for the person who asks why; a strategy that is not here drew at random."""


def run(work: Work) -> Record:
    """Choose from what is neither annotated nor proposed yet; the recorder opens the slices for annotation."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        project = session.get_one(Project, work.project_id)
        encoder = None if round_.encoder_id is None else session.get_one(Model, round_.encoder_id)
        members = find_newest_members(session, project, round_)
        cover_key = find_newest_cover(session, project, round_)
        slices = pools.list_pool(session, project)
        volumes = load_volumes(session, [each.volume_id for each in slices])
    budget = _budget(round_, slices)
    work.progress(0, 2, "reading the pool")
    needs = DESCRIPTORS[round_.strategy].needs
    source = PoolSource(work.blobs, slices, volumes, choose_device(work.settings), work.progress)
    features, features_key = None, None
    if Need.ENCODER in needs and encoder is not None:
        features, features_key = read_encoder_features(source, encoder)
    encoder_protocol = load_protocol(project.protocol).encoder
    pool = build_query_pool(source, needs, encoder_protocol, features, members)
    carried = None if cover_key is None else load_cover(work.blobs, cover_key)
    pool = dataclasses.replace(pool, carried=carried, progress=schedule_progress(project, round_))
    work.progress(1, 2, "choosing slices")
    generator = numpy_generator(round_.seed, "select", round_.number)
    try:
        picks = STRATEGIES[round_.strategy](pool, budget, project.strategy_settings, generator)
    except (WeightsError, WeightsMissingError) as error:
        raise Unavailable(f"{round_.strategy} cannot choose: {error}") from error
    proposed = _explain(picks, slices, volumes, round_.strategy)
    radius, space = _measure_cover(source, pool, picks, features)
    kept = None if picks.cover is None else save_cover(work.blobs, picks.cover)

    def record(session: Session) -> dict[str, Any]:
        if encoder is not None and features_key is not None:
            session.get_one(Model, encoder.id).features_key = features_key
        rounds.record_picks(session, session.get_one(Round, round_.id), proposed, radius, kept)
        return {"picks": len(proposed), "cover_radius": radius, "cover_space": space}

    return record


def find_newest_members(session: Session, project: Project, round_: Round) -> list[Model]:
    """The ensemble of the newest round before this one that has members; empty while there is none."""
    for earlier in reversed(rounds.list_rounds(session, project)):
        if earlier.number < round_.number and (members := rounds.list_members(session, earlier)):
            return members
    return []


def find_newest_cover(session: Session, project: Project, round_: Round) -> str | None:
    """The distances that the newest round before this one left, if any did."""
    left = (
        select(Round.cover_key)
        .where(Round.project_id == project.id, Round.number < round_.number, Round.cover_key.is_not(None))
        .order_by(Round.number.desc())
    )
    return session.scalar(left.limit(1))


def schedule_progress(project: Project, round_: Round) -> float:
    """How many of the project's other budgets lie below the round's, as a share: 0 at the first, 1 at the last."""
    below = sum(float(each) < round_.budget_percent - 1e-9 for each in project.budgets)
    return min(1.0, below / max(1, len(project.budgets) - 1))


def _budget(round_: Round, slices: Sequence[PoolSlice]) -> int:
    """How many slices to choose; refused where people annotated so many others meanwhile that none is left to."""
    known = sum((each.annotated or each.proposed) and (each.annotated or not each.excluded) for each in slices)
    if round_.target <= known:
        told = f"{round_.budget_percent:g} % are {round_.target} slices, and {known} are annotated or proposed already"
        raise BudgetRefused(told)
    return round_.target - known


def _measure_cover(
    source: PoolSource, pool: QueryPool, picks: Picks, features: npt.NDArray[np.float32] | None
) -> tuple[float | None, str]:
    """The radius within which every slice has an annotated or picked one, and the space that it was measured in."""
    if picks.cover_radius is not None:
        return picks.cover_radius, "the strategy's own"
    centres = pool.annotated.copy()
    centres[list(picks.indices)] = True
    if features is not None:
        return cover_radius(features, centres), "encoder features"
    return cover_radius(source.read_thumbnails(), centres), "thumbnails"


def _explain(
    picks: Picks, slices: Sequence[PoolSlice], volumes: dict[uuid.UUID, Volume], strategy: str
) -> list[ProposedPick]:
    explained = []
    for index, value, nearest in zip(picks.indices, picks.values, picks.nearest, strict=True):
        if nearest is not None:
            near = slices[nearest]
            reason = (
                f"farthest from everything annotated: the nearest is {near.patient_code}, "
                f"{volumes[near.volume_id].name}, slice {near.index + 1}, at distance {value:.3g}"
            )
        elif picks.note is not None:
            reason = picks.note
        elif picks.cover_radius is not None:
            reason = "the first centre, drawn at random"
        elif strategy in _SCORES:
            reason = f"chosen by {strategy}: {_SCORES[strategy]} is {value:.3g}"
        else:
            reason = f"drawn by {strategy}"
        explained.append(
            ProposedPick(slices[index].slice_id, value, reason, None if nearest is None else slices[nearest].slice_id)
        )
    return explained

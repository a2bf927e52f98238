"""Train the members of a round's ensemble on everything annotated so far."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

from sqlalchemy.orm import Session

from app.db.models import Model, Project, Round, Volume
from app.errors import NothingLeft, Unavailable
from app.names import ModelKind, Split, Supervision
from app.protocols import SegmentationProtocol, load_protocol
from app.services import pools, projects, rounds
from app.services.pools import AnnotatedSlice
from worker.checkpoints import save_weights
from worker.dataset import count_channels, load_labelled_slices, load_volumes
from worker.device import choose_device, describe_device
from worker.learning.configs import SegmentationConfig
from worker.learning.errors import WeightsError, WeightsMissingError
from worker.learning.seeding import derive_seed
from worker.learning.shapes import ReferenceVolume
from worker.learning.train import FittedSegmentation, fit_segmentation
from worker.memory import fit_in_memory
from worker.references import iterate_references, list_references
from worker.resumption import JobCheckpoints
from worker.runner import Progress, Record, Work

LAST_WEIGHTS = "last_weights_key"
"""In a member's manifest: the weights after the last step, where others were the best on the validation patients."""

_WITH_TWO_DECODERS = {"unet": "dmpls", "resnet50-unet": "resnet50-dmpls"}


def run(work: Work) -> Record:
    """Train each member that is not stored yet, storing it at once, so that a worker that dies loses one at most."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        project = session.get_one(Project, work.project_id)
        annotated = pools.training_set(session, round_)
        if not annotated:
            raise NothingLeft("no train slice is annotated, so there is nothing to learn from")
        volumes = load_volumes(session, [each.volume_id for each in annotated])
        pool_size = projects.count_slices(session, [project.id])[project.id][Split.TRAIN]
        protocol = load_protocol(project.protocol)
        share = labelled_share(round_, len(annotated), pool_size)
        config = _config(project, protocol.segmentation, volumes, share)
        trained = {model.member for model in rounds.list_members(session, round_)}
    work.progress(0, 0, "reading slices")
    judged = list_references(work.database, project, Split.VALIDATION)
    # Only an experiment has masks of test patients, and only there does anybody ask what validation was worth.
    in_experiment = bool(list_references(work.database, project, Split.TEST))
    seen_as = (config.image_size, config.resize, config.channels)
    validation = _read_validation(work, judged, *seen_as)
    training = load_labelled_slices(work.database, work.blobs, annotated, volumes, *seen_as, work.progress)
    device = choose_device(work.settings)
    seen = [str(each.version_id) for each in annotated] + [str(volume.id) for volume in judged]
    for member in range(protocol.members):
        if member in trained:
            continue
        seed = derive_seed(project.seed, "round", round_.number, "member", member)

        def report(done: int, total: int, message: str, member: int = member) -> None:
            text = f"member {member + 1} of {protocol.members}: {message}"
            work.progress(member * total + done, protocol.members * total, text)

        def fit(batch: int, seed: int = seed, report: Progress = report) -> FittedSegmentation:
            fitting = dataclasses.replace(config, batch_size=batch)
            identity = {"config": dataclasses.asdict(fitting), "seed": seed, "data": seen, "device": str(device)}
            checkpoints = JobCheckpoints(work, identity)
            return fit_segmentation(training, validation, fitting, seed, report, device, checkpoints)

        try:
            fitted = fit_in_memory(fit, config.batch_size, config.image_size)
        except (WeightsError, WeightsMissingError) as error:
            raise Unavailable(f"the network cannot start from {config.start}: {error}") from error
        model = _member(project, round_, member, seed, fitted, annotated, save_weights(work.blobs, fitted.state))
        model.manifest |= describe_device(device)
        if in_experiment and fitted.best_step < config.iterations:
            model.manifest[LAST_WEIGHTS] = save_weights(work.blobs, fitted.last_state)
        work.keep(partial(_add, model))

    def record(session: Session) -> dict[str, Any]:
        kept = session.get_one(Round, round_.id)
        rounds.record_training(session, kept)
        members = rounds.list_members(session, kept)
        return {"members": [{"member": model.member, **model.metrics} for model in members]}

    return record


def labelled_share(round_: Round, annotated: int, pool_size: int) -> float:
    """The share of the train slices that a round's members are trained as having: its budget, or more if more is there.

    The budget as it is named, not the count of slices that it came to, so that 2 % are as many steps as published
    whatever the size of the pool, and equally many for every strategy (Vepa et al., NeurIPS 2024, published code).
    """
    return max(round_.budget_percent / 100, annotated / pool_size if annotated > round_.target else 0.0)


def _read_validation(work: Work, judged: Sequence[Volume], size: int, how: str, channels: int) -> list[ReferenceVolume]:
    read = []
    for _, reference in iterate_references(work.database, work.blobs, judged, size, how, channels):
        read.append(reference)
        work.progress(len(read), len(judged), "reading validation volumes")
    return read


def _config(
    project: Project, protocol: SegmentationProtocol, volumes: dict[Any, Volume], fraction: float
) -> SegmentationConfig:
    fields = dataclasses.asdict(protocol)
    for name in ("recipe", "network", "iterations_per_fraction", "iterations_min", "iterations_max"):
        del fields[name]
    return SegmentationConfig(
        network=protocol.network if project.supervision == Supervision.FULL else _WITH_TWO_DECODERS[protocol.network],
        classes=max(projects.class_values(project)) + 1,
        channels=count_channels(volumes.values()),
        iterations=protocol.iterations_for(fraction),
        **fields,
    )


def _member(
    project: Project,
    round_: Round,
    member: int,
    seed: int,
    fitted: FittedSegmentation,
    annotated: Sequence[AnnotatedSlice],
    weights_key: str,
) -> Model:
    return Model(
        project_id=project.id,
        round_id=round_.id,
        kind=ModelKind.SEGMENTATION,
        member=member,
        weights_key=weights_key,
        config=dataclasses.asdict(fitted.config),
        manifest={
            "seed": seed,
            "annotation_versions": [str(each.version_id) for each in annotated],
            "kinds": dict(Counter(str(each.kind) for each in annotated)),
        },
        metrics={
            "validation_dice": fitted.best_dice,
            "best_step": fitted.best_step,
            "history": [list(entry) for entry in fitted.history],
            "seconds": round(fitted.seconds, 3),
            "validation_seconds": round(fitted.validation_seconds, 3),
        },
    )


def _add(model: Model, session: Session) -> None:
    session.add(model)

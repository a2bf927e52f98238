"""Judge a round's members and their ensemble on the test patients."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sqlalchemy.orm import Session

from app.db.models import Metric, Model, Project, Round, Volume
from app.errors import NoModelYet
from app.names import Split
from app.services import projects, rounds
from worker.checkpoints import load_weights
from worker.device import choose_device
from worker.learning.configs import SegmentationConfig
from worker.learning.inference import make_ready
from worker.learning.metrics import score_volume
from worker.learning.nets.unet import build_network
from worker.learning.predict import predict_probabilities
from worker.learning.resize import labels_in_native
from worker.learning.shapes import ReferenceVolume
from worker.learning.train import validate_network
from worker.references import iterate_references, list_references
from worker.runner import Record, Work
from worker.tasks.train_segmentation import LAST_WEIGHTS

LabelArray = npt.NDArray[np.uint8]


def run(work: Work) -> Record:
    """Score every test volume that has a dense mask; the recorder closes the round."""
    with work.database.reading() as session:
        round_ = session.get_one(Round, work.round_id)
        project = session.get_one(Project, work.project_id)
        members = rounds.list_members(session, round_)
        if not members:
            raise NoModelYet(project.slug)
    work.progress(0, 0, "reading the members")
    config = SegmentationConfig(**members[0].config)
    device = choose_device(work.settings)
    built = (build_network(load_weights(work.blobs, model.weights_key), config) for model in members)
    networks = make_ready(built, config.precision, device)
    last = _read_last(work, members, config, device)
    last_dice: dict[int, list[float]] = {member: [] for member in last}
    classes = [value for value in projects.class_values(project) if value != 0]
    metrics: list[Metric] = []
    judged = list_references(work.database, project, Split.TEST)
    for done, (volume, reference) in enumerate(
        iterate_references(work.database, work.blobs, judged, config.image_size, config.resize, config.channels)
    ):
        again = work.tell(done, len(judged), f"scoring {volume.patient.code} {volume.name}")
        for member, prediction in _predict(networks, reference, config, device, again).items():
            metrics += _score(round_, volume, reference, member, prediction, classes)
        for member, network in last.items():
            truth = [torch.from_numpy(reference.reference).to(device)]
            if (dice := validate_network(network, reference.images, truth, config, device)) is not None:
                last_dice[member].append(dice)
    summary = summarise(metrics, members, {volume.id: volume.patient.code for volume in judged})
    summary["dice_last_checkpoint"] = _mean_of_last(summary["dice_by_member"], last_dice)

    def record(session: Session) -> dict[str, Any]:
        opened = rounds.record_evaluation(session, session.get_one(Round, round_.id), metrics, summary)
        return {**summary, "next_round": None if opened is None else opened.number}

    return record


def _read_last(
    work: Work, members: Sequence[Model], config: SegmentationConfig, device: torch.device
) -> dict[int, torch.nn.Module]:
    """Member -> its network as the last step left it, of those that validation gave earlier weights."""
    kept = {model.member: model.manifest[LAST_WEIGHTS] for model in members if LAST_WEIGHTS in model.manifest}
    built = [build_network(load_weights(work.blobs, key), config) for key in kept.values()]
    return dict(zip(kept, make_ready(built, config.precision, device), strict=True))


def _mean_of_last(by_member: Mapping[str, float | None], last: Mapping[int, Sequence[float]]) -> float | None:
    """The Dice that the round would have without validation patients, whose complete masks no budget counts.

    A member whose last weights are those that were kept has the same Dice in both.
    """
    found = [fmean(last[int(member)]) if last.get(int(member)) else dice for member, dice in by_member.items()]
    known = [dice for dice in found if dice is not None]
    return fmean(known) if known else None


def summarise(
    metrics: Sequence[Metric], members: Sequence[Model], patient_of: Mapping[uuid.UUID, str]
) -> dict[str, Any]:
    """The figures of a round: Dice is the mean over classes, then volumes, then members; a miss counts as 0.

    By patient: the mean over the patient's volumes, members alike. HD95 averages what could be measured, and the
    misses stand beside it.
    """
    by_member: dict[int | None, list[Metric]] = defaultdict(list)
    for metric in metrics:
        by_member[metric.member].append(metric)
    dice = {member: _mean_dice(rows) for member, rows in by_member.items()}
    single = [value for member, value in dice.items() if member is not None and value is not None]
    validated = [model for model in members if model.metrics.get("validation_dice") is not None]
    best = max(validated, key=lambda model: float(model.metrics["validation_dice"]), default=None)
    hd95 = [row.hd95 for row in metrics if row.member is not None and row.hd95 is not None]
    asd = [row.asd for row in metrics if row.member is not None and row.asd is not None]
    return {
        "volumes": len({metric.volume_id for metric in metrics}),
        "dice": fmean(single) if single else None,
        "dice_by_member": {str(member): value for member, value in dice.items() if member is not None},
        "dice_by_patient": {
            code: _mean_dice([row for row in metrics if row.member is not None and patient_of[row.volume_id] == code])
            for code in sorted(set(patient_of.values()))
        },
        "dice_ensemble": dice.get(None),
        "dice_best_on_validation": None if best is None else dice.get(best.member),
        "hd95": fmean(hd95) if hd95 else None,
        "asd": fmean(asd) if asd else None,
        "hd95_unit": metrics[0].hd95_unit if metrics else None,
        "misses": sum(row.missed for row in metrics if row.member is not None),
    }


def _mean_dice(rows: Sequence[Metric]) -> float | None:
    by_volume: dict[Any, list[float]] = defaultdict(list)
    for row in rows:
        if row.dice is not None:
            by_volume[row.volume_id].append(row.dice)
    return fmean(fmean(values) for values in by_volume.values()) if by_volume else None


def _predict(
    networks: Sequence[torch.nn.Module],
    reference: ReferenceVolume,
    config: SegmentationConfig,
    device: torch.device,
    again: Callable[..., None],
) -> dict[int | None, LabelArray]:
    """Member -> labels in native geometry; None is the ensemble, the mean of the members' probabilities."""
    height, width = reference.reference.shape[1:]
    each = [predict_probabilities([network], reference.images, config, device, again) for network in networks]
    maps: dict[int | None, torch.Tensor] = dict(enumerate(each))
    maps[None] = torch.stack(each).mean(dim=0)
    return {member: labels_in_native(maps[member], (height, width), config.resize).cpu().numpy() for member in maps}


def _score(
    round_: Round,
    volume: Volume,
    reference: ReferenceVolume,
    member: int | None,
    prediction: LabelArray,
    classes: Sequence[int],
) -> list[Metric]:
    return [
        Metric(
            round_id=round_.id,
            volume_id=volume.id,
            member=member,
            split=volume.patient.split,
            class_value=score.value,
            dice=score.dice,
            hd95=score.hd95,
            hd95_unit=score.unit,
            asd=score.asd,
            missed=score.missed,
            slice_counts=[list(counts) for counts in score.slice_counts],
        )
        for score in score_volume(prediction, reference.reference, classes, reference.spacing)
    ]

"""Trainings that are cut short or do not fit into memory, through the real queue and the real tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from sqlalchemy import select

from app.db.models import Job, Model, Project, Round
from app.names import JobKind, ModelKind, Queue, Split
from app.outbox import SilentBell
from app.storage.stores import LocalStore
from tests.api.conftest import Service, on_sqlite
from worker.checkpoints import save_weights
from worker.learning.configs import SegmentationConfig
from worker.learning.metrics import mean_dice, score_volume
from worker.learning.nets.unet import build_network
from worker.learning.predict import predict_volume
from worker.learning.seeding import seeded_initialisation
from worker.references import iterate_references, list_references
from worker.runner import Record, Task, Work, Workplace, run_next_job
from worker.tasks import find_task
from worker.tasks.train_segmentation import LAST_WEIGHTS

Make = Callable[..., Any]
STEPS = {"segmentation": {"iterations_min": 24, "iterations_max": 24}}


def begin_training(service: Service, slug: str) -> None:
    service.client.post(f"/v1/projects/{slug}/rounds")
    service.work_off()
    service.client.post(f"/v1/projects/{slug}/oracle")


def run_one(service: Service, find: Callable[[JobKind], Task]) -> None:
    knobs = service.knobs.model_copy(update={"checkpoint_s": 0.0})
    place = Workplace(service.database, LocalStore(knobs.blob_folder), knobs, SilentBell(), find, "test")
    assert run_next_job(Queue.GPU, place)


def stopping_at(step: int) -> Callable[[JobKind], Task]:
    """The real tasks on a worker that is told to stop at that step."""

    def find(kind: JobKind) -> Task:
        def run(work: Work) -> Record:
            def progress(done: int, total: int, message: str) -> None:
                work.progress(done, total, message)
                if done == step and message.startswith("member"):
                    raise SystemExit(0)

            return find_task(kind)(dataclasses.replace(work, progress=progress))

        return run

    return find


def training_job(service: Service) -> Job:
    newest = select(Job).where(Job.kind == JobKind.TRAIN_SEGMENTATION).order_by(Job.id.desc()).limit(1)
    with service.database.reading() as session:
        return session.scalars(newest).one()


def weights_of(service: Service, slug: str) -> list[str]:
    with service.database.reading() as session:
        return list(session.scalars(select(Model.weights_key).join(Project).where(Project.slug == slug)))


@on_sqlite
def test_a_training_goes_on_from_its_checkpoint_and_ends_the_same(service: Service, make_project: Make) -> None:
    make_project(protocol=STEPS)
    begin_training(service, "hearts")
    with pytest.raises(SystemExit):
        run_one(service, stopping_at(21))
    stopped = training_job(service)
    assert (stopped.state, stopped.progress_done) == ("queued", 0)
    assert stopped.checkpoint is not None
    blobs = LocalStore(service.knobs.blob_folder)
    assert blobs.exists(stopped.checkpoint["key"])
    seen: list[int] = []

    def find(kind: JobKind) -> Task:
        def run(work: Work) -> Record:
            def progress(done: int, total: int, message: str) -> None:
                work.progress(done, total, message)
                if message.startswith("member"):
                    seen.append(done)

            return find_task(kind)(dataclasses.replace(work, progress=progress))

        return run

    run_one(service, find)
    assert seen == [21, 22, 23, 24], "the last checkpoint was at step 20"
    done = training_job(service)
    assert (done.state, done.checkpoint) == ("succeeded", None)
    make_project("twins", protocol=STEPS)
    begin_training(service, "twins")
    service.work_off()
    assert weights_of(service, "hearts") == weights_of(service, "twins"), "the same to the last bit"


@on_sqlite
def test_out_of_memory_is_tried_once_more_with_half_the_batch(
    service: Service, make_project: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_project(protocol={"segmentation": {"iterations_min": 2, "iterations_max": 2, "batch_size": 2}})
    begin_training(service, "hearts")
    limit = 0
    convolve = torch.nn.Conv2d.forward

    def forward(self: torch.nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        if self.training and len(images) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return convolve(self, images)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", forward)
    run_one(service, find_task)
    failed = training_job(service)
    assert failed.state == "failed"
    assert failed.error is not None
    assert failed.error["code"] == "gpu-oom"
    assert "batches of 2 and of 1 slices of 32 x 32 pixels" in failed.error["detail"]

    limit = 1
    service.client.post(f"/v1/jobs/{failed.id}/retry")
    run_one(service, find_task)
    assert training_job(service).state == "succeeded"
    with service.database.reading() as session:
        assert session.scalars(select(Model)).one().config["batch_size"] == 1


@on_sqlite
def test_a_round_says_what_it_would_have_without_validation_patients(service: Service, make_project: Make) -> None:
    steps = {"iterations_min": 6, "iterations_max": 6, "validate_every": 1}
    make_project(protocol={"members": 3, "segmentation": steps})
    begin_training(service, "hearts")
    run_one(service, find_task)
    blobs = LocalStore(service.knobs.blob_folder)
    with service.database.writing() as session:
        members = session.scalars(
            select(Model).where(Model.kind == ModelKind.SEGMENTATION).order_by(Model.member)
        ).all()
        assert [LAST_WEIGHTS in each.manifest for each in members] == [
            each.metrics["best_step"] < 6 for each in members
        ]
        # Weights of nobody in the place of the first member's last ones: what is said must come from them.
        config = SegmentationConfig(**members[0].config)
        with seeded_initialisation(7, "nobody"):
            nobody = build_network(None, config)
        members[0].manifest = members[0].manifest | {LAST_WEIGHTS: save_weights(blobs, nobody.state_dict())}
        for each in members[1:]:
            each.manifest = {name: value for name, value in each.manifest.items() if name != LAST_WEIGHTS}
        session.commit()
    run_one(service, find_task)
    with service.database.reading() as session:
        round_ = session.scalars(select(Round).where(Round.number == 1)).one()
        summary = round_.summary
        project = session.get_one(Project, round_.project_id)
    judged = list_references(service.database, project, Split.TEST)
    dice = []
    for _, volume in iterate_references(service.database, blobs, judged, config.image_size, config.resize, 1):
        native = volume.reference.shape[1], volume.reference.shape[2]
        labels = predict_volume([nobody], volume.images, native, config, torch.device("cpu"))
        scores = score_volume(labels, volume.reference, list(range(1, config.classes)), volume.spacing)
        dice.append([score.dice for score in scores])
    others = [summary["dice_by_member"][member] for member in ("1", "2")]
    assert summary["dice_last_checkpoint"] == pytest.approx((mean_dice(dice) + sum(others)) / 3, abs=1e-6)
    assert summary["dice_last_checkpoint"] != pytest.approx(summary["dice"], abs=1e-4)

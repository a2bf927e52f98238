"""Every strategy proposes on a small phantom project: first with nobody to ask, then with a round's members."""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from sqlalchemy import select, update
from torchvision.models import resnet18

from app.datasets.phantom import PhantomConfig, list_phantoms
from app.datasets.records import DatasetListing, VolumeSource
from app.db.models import GroundTruth, Job, Model, Patient, Pick, Project, Round, Volume
from app.db.session import Database
from app.names import STRATEGIES, AnnotationKind, ModelKind, Need, Queue, RoundState, Split, Supervision
from app.outbox import SilentBell, unit_of_work
from app.services import assignments, projects, rounds, volumes
from app.services.ground_truth import add_ground_truth
from app.services.oracle import annotate_proposed_slices
from app.services.projects import LabelClass, ProjectDraft
from app.settings import Settings
from app.storage.masks import encode_mask
from app.storage.planes import read_volume, store_planes
from app.storage.stores import LocalStore
from tests.counting import count_pairs
from worker.heartbeat import Heartbeat
from worker.learning.intensity import normalise_volume
from worker.learning.seeding import seeded_initialisation
from worker.runner import Workplace, run_next_job
from worker.tasks import find_task

ASK_A_MODEL = sorted(name for name, each in STRATEGIES.items() if each.needs & {Need.TASK, Need.PROBABILITIES})
SHORT = {
    "members": 2,
    "encoder": {"start": "scratch", "precision": "float32"},
    "segmentation": {"iterations_min": 3, "iterations_max": 3, "validate_every": 3, "precision": "float32"},
}


@dataclass(frozen=True)
class Ward:
    """A project in a database and a blob folder of its own, and a worker in this process."""

    place: Workplace

    def set_strategy(self, strategy: str) -> None:
        with unit_of_work(self.place.database, SilentBell()) as session:
            projects.find_project(session, "hearts").strategy = strategy

    def turn(self, annotate: bool = True) -> tuple[Round, list[Pick]]:
        """Open a round, do its jobs and, if wanted, annotate and train; gives the round and its picks."""
        with unit_of_work(self.place.database, SilentBell()) as session:
            opened = rounds.open_round(session, projects.find_project(session, "hearts"))
        self.work_off()
        if annotate:
            with unit_of_work(self.place.database, SilentBell()) as session:
                annotate_proposed_slices(session, self.place.blobs, projects.find_project(session, "hearts"))
            self.work_off()
        with self.place.database.reading() as session:
            return session.get_one(Round, opened.id), rounds.list_picks(session, opened)

    def work_off(self) -> None:
        while run_next_job(Queue.GPU, self.place):
            continue

    def failures(self) -> list[str]:
        with self.place.database.reading() as session:
            return [job.error["detail"] for job in session.query(Job) if job.error]


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> DatasetListing:
    config = PhantomConfig(patients=5, slices=4, height=40, width=40, seed=3, fractions=(0.6, 0.2, 0.2))
    return list_phantoms(tmp_path_factory.mktemp("phantoms"), config=config)


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, listing: DatasetListing) -> Path:
    """A home with the phantoms in a project and no round."""
    home = tmp_path_factory.mktemp("fresh") / "home"
    home.mkdir()
    shutil.copyfile(sqlite_template, home / "nextslice.db")
    place = open_place(home)
    with unit_of_work(place.database, SilentBell()) as session:
        schema = [LabelClass(each.value, each.name, each.colour) for each in listing.classes]
        draft = ProjectDraft(
            "hearts", "Hearts", schema, Supervision.SCRIBBLE, "random", [15, 30, 45], preset="tiny", overrides=SHORT
        )
        project = projects.create_project(session, draft)
        for source in listing.volumes:
            import_volume(session, place.blobs, project, source, [each.value for each in listing.classes])
    place.database.dispose()
    return home


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, fresh: Path) -> Path:
    """The same home after a first round drawn at random, its members trained."""
    home = copy_home(fresh, tmp_path_factory.mktemp("trained") / "home")
    place = open_place(home)
    first, _ = Ward(place).turn()
    assert first.state == RoundState.CLOSED
    place.database.dispose()
    return home


@pytest.fixture
def cold_ward(fresh: Path, tmp_path: Path) -> Iterator[Ward]:
    yield from open_ward(fresh, tmp_path)


@pytest.fixture
def ward(trained: Path, tmp_path: Path) -> Iterator[Ward]:
    yield from open_ward(trained, tmp_path)


@pytest.fixture
def other_ward(trained: Path, tmp_path: Path) -> Iterator[Ward]:
    yield from open_ward(trained, tmp_path / "other")


def open_ward(home: Path, tmp_path: Path) -> Iterator[Ward]:
    place = open_place(copy_home(home, tmp_path / home.parent.name / "home"))
    yield Ward(place)
    place.database.dispose()


def open_place(home: Path) -> Workplace:
    knobs = Settings(home=home, database_url=f"sqlite:///{home / 'nextslice.db'}")
    return Workplace(
        Database(knobs.database), LocalStore(knobs.blob_folder), knobs, SilentBell(), find_task, "test:propose"
    )


def copy_home(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def import_volume(session, blobs: LocalStore, project: Project, source: VolumeSource, classes: list[int]) -> None:
    ingested = volumes.ingest_volume(blobs, io.BytesIO(source.image.read_bytes()), source.image.name)
    draft = volumes.VolumeDraft(source.patient, Split(source.split), source.name)
    volume = volumes.record_volume(session, project, draft, ingested)
    scribbles = volumes.scribble_values(classes, source.unlabelled_value)
    for kind, path, values in (
        (AnnotationKind.FULL, source.full_mask, None),
        (AnnotationKind.SCRIBBLE, source.scribble_mask, scribbles),
    ):
        assert path is not None
        geometry = ingested.image.geometry
        mask = volumes.ingest_mask(blobs, path.read_bytes(), path.name, geometry, kind, classes, values)
        add_ground_truth(session, volume, kind, mask.mask_key, mask.original_key)


@pytest.fixture(scope="module")
def weights_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ResNet-18 of random weights where ImageNet's are looked for."""
    folder = tmp_path_factory.mktemp("weights")
    with seeded_initialisation(0, "resnet"):
        torch.save(resnet18(weights=None).state_dict(), folder / "resnet18-random.pth")
    return folder


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
def test_the_second_round_asks_the_members_of_the_first(
    ward: Ward, strategy: str, weights_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(weights_folder))
    ward.set_strategy(strategy)
    second, picks = ward.turn(annotate=False)
    assert ward.failures() == []
    assert (second.number, second.state, second.strategy) == (2, RoundState.ANNOTATING, strategy)
    assert [pick.order for pick in picks] == [1, 2, 3, 4]
    assert len({pick.slice_id for pick in picks}) == 4
    assert not any("no model" in pick.reason for pick in picks)
    assert second.cover_radius is not None
    assert second.cover_radius > 0
    with ward.place.database.reading() as session:
        first = rounds.list_picks(session, rounds.list_rounds(session, projects.find_project(session, "hearts"))[0])
    assert not {pick.slice_id for pick in picks} & {pick.slice_id for pick in first}


@pytest.mark.parametrize("strategy", ASK_A_MODEL)
def test_the_first_round_of_a_strategy_that_asks_a_model_is_random_and_says_so(
    cold_ward: Ward, ward: Ward, strategy: str
) -> None:
    cold_ward.set_strategy(strategy)
    _, picks = cold_ward.turn(annotate=False)
    assert {pick.reason for pick in picks} == {"drawn at random, because no model has been trained yet"}
    with ward.place.database.reading() as session:
        drawn = rounds.list_picks(session, rounds.list_rounds(session, projects.find_project(session, "hearts"))[0])
    assert [pick.slice_id for pick in picks] == [pick.slice_id for pick in drawn]


@pytest.mark.parametrize("strategy", ["variance-ratio", "foreground-aware-random", "clasp-pe", "coregcn", "vaal"])
def test_garbage_in_place_of_all_ground_truth_changes_no_pick(ward: Ward, other_ward: Ward, strategy: str) -> None:
    garbage = other_ward.place.blobs.put(b"no mask at all")
    with unit_of_work(other_ward.place.database, SilentBell()) as session:
        session.execute(update(GroundTruth).values(mask_key=garbage))
    picks = []
    for each in (ward, other_ward):
        each.set_strategy(strategy)
        picks.append([(pick.slice_id, pick.value) for pick in each.turn(annotate=False)[1]])
    assert len(picks[0]) == 4
    assert picks[0] == picks[1]


def test_test_patients_reach_neither_encoder_nor_selection_nor_training(fresh: Path, tmp_path: Path) -> None:
    """Other images and other masks of the test patients leave every pick, weight and checkpoint as it was."""
    learned = []
    for name in ("as they are", "garbled"):
        for ward in open_ward(fresh, tmp_path / name):
            ward.set_strategy("gcl")
            if name == "garbled":
                garble_split(ward.place, Split.TEST)
            done, picks = ward.turn()
            second, more = ward.turn(annotate=False)
            assert ward.failures() == []
            assert (done.state, second.state) == (RoundState.CLOSED, RoundState.ANNOTATING)
            with ward.place.database.reading() as session:
                models = session.scalars(select(Model).order_by(Model.kind, Model.member)).all()
                told = [
                    {name: each for name, each in model.metrics.items() if "seconds" not in name} for model in models
                ]
                made = [(model.kind, model.weights_key, model.features_key) for model in models]
            learned.append(([(pick.slice_id, pick.value) for pick in [*picks, *more]], made, told))
    assert len(learned[0][1]) == 3  # an encoder and two members, who tell how they did on the validation patients
    assert ["validation_dice" in metrics for metrics in learned[0][2]] == [False, True, True]
    assert learned[0] == learned[1]


@pytest.mark.parametrize("strategy", ["gcl", "coreset-pixels"])
def test_distances_are_carried_from_round_to_round_and_change_no_pick(
    fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, strategy: str
) -> None:
    """A pick that was found unfit, a cover that is lost and one that is there: the same picks, and what each cost."""
    measured = count_pairs(monkeypatch)
    turns = []
    for name in ("carried", "lost"):
        for ward in open_ward(fresh, tmp_path / name):
            ward.set_strategy(strategy)
            first, picks = ward.turn(annotate=False)
            assert first.cover_key is not None
            assert measured == [(24, 1)] * len(picks)
            with unit_of_work(ward.place.database, SilentBell()) as session:
                assignments.exclude_slice(session, picks[1].slice_id)
                annotate_proposed_slices(session, ward.place.blobs, projects.find_project(session, "hearts"))
            ward.work_off()
            if name == "lost":
                ward.place.blobs.delete(first.cover_key)
            measured.clear()
            second, more = ward.turn(annotate=False)
            assert ward.failures() == []
            assert second.cover_key not in {None, first.cover_key}
            turns.append(
                ([(pick.slice_id, pick.value, pick.reason) for pick in more], second.cover_radius, measured[:])
            )
            measured.clear()
    (carried, radius, cost), (anew, radius_anew, cost_anew) = turns
    assert (carried, radius) == (anew, radius_anew)
    assert cost_anew == [(24, 2), *[(24, 1)] * len(more)], "every slice to every centre"
    assert cost[1:] == cost_anew[1:], "what is picked now has to be measured in either"
    (orphans, centres), *_ = cost
    assert orphans < 24, "only the slices of the withdrawn centre"
    assert centres == 2, "to those that stayed"


def garble_split(place: Workplace, split: Split) -> None:
    """Give the volumes of a split noise for images and nothing but background for masks."""
    with unit_of_work(place.database, SilentBell()) as session:
        found = session.query(Volume).join(Volume.patient).where(Patient.split == split).all()
        assert found
        for volume in found:
            shape = (volume.depth, volume.height, volume.width)
            noise = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
            pack = store_planes(place.blobs, noise)
            volume.pack_key, volume.pack_offsets = pack.key, list(pack.offsets)
            volume.dtype, volume.slope, volume.intercept = "uint8", 1.0, 0.0
            empty = place.blobs.put(encode_mask(np.zeros(shape, np.uint8)))
            session.execute(update(GroundTruth).where(GroundTruth.volume_id == volume.id).values(mask_key=empty))


def test_without_imagenet_weights_the_round_is_refused_in_one_sentence(
    ward: Ward, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEXTSLICE_WEIGHTS", str(tmp_path))  # set, it is the only place: nothing is downloaded
    ward.set_strategy("coreset-imagenet")
    refused, picks = ward.turn(annotate=False)
    assert (refused.state, picks) == (RoundState.FAILED, [])
    assert ward.failures() == [
        "coreset-imagenet cannot choose: ImageNet weights of a ResNet-18 are neither in the folder NEXTSLICE_WEIGHTS "
        "nor in torch's cache, and could not be downloaded."
    ]


def test_a_round_whose_slices_were_annotated_meanwhile_is_refused_in_one_sentence(cold_ward: Ward) -> None:
    with unit_of_work(cold_ward.place.database, SilentBell()) as session:
        rounds.open_round(session, projects.find_project(session, "hearts")).target = 0  # as if one more had been known
    cold_ward.work_off()
    assert cold_ward.failures() == [
        "The budget cannot be used: 15 % are 0 slices, and 0 are annotated or proposed already."
    ]


def test_a_pick_says_what_its_value_is(ward: Ward) -> None:
    ward.set_strategy("variance-ratio")
    _, picks = ward.turn(annotate=False)
    assert picks[0].reason == f"chosen by variance-ratio: the members' mean disagreement is {picks[0].value:.3g}"
    assert [pick.value for pick in picks] == sorted((pick.value for pick in picks), reverse=True)


def test_every_step_of_a_round_says_at_once_and_often_where_it_is(
    cold_ward: Ward, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(Heartbeat, "progress", lambda _self, _done, _total, message: told.append(message))
    cold_ward.turn()
    assert told[0] == "reading the pool"
    assert "reading validation volumes" in told
    evaluation = told[told.index("reading the members") :]
    scored = Counter(evaluation[1:])
    assert all(message.startswith("scoring ") for message in scored)
    assert min(scored.values()) > 1, "a cancellation is heard while a volume is predicted, too"


@pytest.mark.parametrize("split", [Split.TRAIN, Split.VALIDATION, Split.TEST])
def test_grey_and_colour_volumes_go_round_together(cold_ward: Ward, split: Split) -> None:
    tint_a_volume(cold_ward.place, split)
    for strategy in ("gcl", "variance-ratio"):
        cold_ward.set_strategy(strategy)
        done, picks = cold_ward.turn()
        assert cold_ward.failures() == []
        assert done.state == RoundState.CLOSED
        assert picks
    with cold_ward.place.database.reading() as session:
        models = session.query(Model).where(Model.kind == ModelKind.SEGMENTATION).all()
    # Of the train slices some of the colour volume's are picked; what lies in other splits trains nothing.
    assert (3 in {model.config["channels"] for model in models}) == (split == Split.TRAIN)


def tint_a_volume(place: Workplace, split: Split) -> None:
    """Turn the first volume of a split into one in colour, as an import of photographs would have left it."""
    with unit_of_work(place.database, SilentBell()) as session:
        volume = session.query(Volume).join(Volume.patient).where(Patient.split == split).first()
        grey = normalise_volume(read_volume(place.blobs, volumes.volume_pack(volume)))
        shades = np.stack([grey, grey**2, 1 - grey], axis=-1)
        pack = store_planes(place.blobs, np.rint(shades * 255).astype(np.uint8))
        volume.pack_key, volume.pack_offsets = pack.key, list(pack.offsets)
        volume.channels, volume.dtype, volume.slope, volume.intercept = 3, "uint8", 1.0, 0.0

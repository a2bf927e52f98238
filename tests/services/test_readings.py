"""Several readers, adjudication, review: who is handed what, who sees what, and what trains."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score

from app.db.models import Annotation, AnnotationVersion, Project, Round, Slice
from app.db.session import Database
from app.errors import OwnWork, ReadingsComplete, ReadingsIncomplete, VersionSuperseded
from app.names import LeaseState, Purpose, Role, SkipReason, Verdict
from app.outbox import SilentBell, unit_of_work
from app.services import members, people, pools, reviews
from app.services.agreement import cohen_kappa, hd95_in_plane, measure_agreement
from app.services.reviews import Opinion
from tests.services.desk import Desk, drawn
from worker.learning.metrics import hd95

MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(database: Database, tmp_path: Path) -> MakeDesk:
    """Makes the desk of a project with the given settings."""
    return lambda **settings: Desk.make(database, tmp_path, **settings)


def head(desk: Desk, place: int) -> AnnotationVersion:
    with desk.database.reading() as session:
        found = session.query(Annotation).filter_by(slice_id=desk.slices[place]).one()
        return session.get_one(AnnotationVersion, found.head_id)


def review(desk: Desk, person: str, version: uuid.UUID, verdict: Verdict) -> None:
    with unit_of_work(desk.database, SilentBell()) as session:
        found = session.get_one(AnnotationVersion, version)
        reviews.review_version(session, found, Opinion(person, verdict, "look here", 1.5, 2.0))


def choose(desk: Desk, person: str, version: uuid.UUID) -> AnnotationVersion:
    with unit_of_work(desk.database, SilentBell()) as session:
        found = session.get_one(AnnotationVersion, version)
        current = session.get_one(Annotation, found.annotation_id).head_id
        return reviews.choose_reading(session, desk.blobs, found, person, str(current))


def test_a_slice_goes_to_two_people_who_see_only_their_own(make_desk: MakeDesk) -> None:
    desk = make_desk(count=3, overlap=2)
    assert desk.lease("anna", 8) == [0, 1, 2], "one seat of each slice"
    assert desk.lease("bert") == [0]
    assert desk.lease("carl") == [1], "both seats of the first are taken"
    anna = desk.submit("anna", 0, drawn(1))
    assert desk.sees("bert", 0) is None
    assert desk.sees("anna", 0) == anna.id
    revised = desk.submit("anna", 0, drawn(1, 2))
    assert (revised.parent_id, head(desk, 0).id) == (anna.id, revised.id)
    assert desk.round_state == "annotating"
    bert = desk.submit("bert", 0, drawn(1))
    assert bert.parent_id is None, "drawn over nothing, for nothing was shown"
    assert head(desk, 0).id == revised.id, "the first reading trains until somebody adjudicates"
    assert desk.sees("bert", 0) == revised.id, "all readings are in"
    with pytest.raises(ReadingsComplete):
        desk.submit("bert", 0, drawn(3))
    with pytest.raises(ReadingsComplete):
        desk.submit("dora", 0)


def test_nobody_reads_a_slice_twice(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, overlap=2)
    for _ in range(2):
        for place in desk.lease("anna"):
            desk.submit("anna", place)
    assert desk.lease("anna") == []
    assert desk.lease("bert", 2) == [0, 1]
    desk.skip("bert", 1, SkipReason.UNSURE)
    assert desk.lease("bert", 2) == [0]
    assert desk.lease("carl", 2) == [1]
    desk.submit("bert", 0)
    desk.submit("carl", 1)
    assert desk.round_state == "training"


def test_readings_that_differ_are_adjudicated_and_kept(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, overlap=2, adjudicate=True)
    readings = {}
    for person, pixels in (("anna", (1, 2)), ("bert", (2, 3))):
        desk.lease(person, 2)
        desk.submit(person, 1, drawn(5))
        if person == "anna":
            with pytest.raises(ReadingsIncomplete):
                desk.submit("chief", 0, purpose=Purpose.ADJUDICATE)
        readings[person] = desk.submit(person, 0, drawn(*pixels))
    assert desk.round_state == "annotating"
    assert desk.lease("anna", purpose=Purpose.ADJUDICATE) == []
    assert desk.lease("chief", 8, Purpose.ADJUDICATE) == [0], "the other readings were alike"
    with pytest.raises(OwnWork):
        choose(desk, "anna", readings["anna"].id)
    chosen = choose(desk, "chief", readings["bert"].id)
    assert (head(desk, 0).id, chosen.origin_id, chosen.source) == (chosen.id, readings["bert"].id, "chosen")
    assert desk.round_state == "training"
    with desk.database.reading() as session:
        kept = [session.get_one(AnnotationVersion, each.id).author for each in readings.values()]
    assert kept == ["anna", "bert"]


def test_a_review_is_never_ones_own_and_a_rejected_slice_comes_back(make_desk: MakeDesk) -> None:
    desk = make_desk(count=1, review_percent=100.0)
    desk.lease("anna")
    first = desk.submit("anna", 0)
    assert desk.round_state == "annotating", "a review is due"
    assert desk.lease("anna", purpose=Purpose.REVIEW) == []
    with pytest.raises(OwnWork):
        review(desk, "anna", first.id, Verdict.ACCEPT)
    assert desk.lease("rita", purpose=Purpose.REVIEW) == [0]
    review(desk, "rita", first.id, Verdict.REJECT)
    assert desk.lease("rita", purpose=Purpose.REVIEW) == []
    assert desk.lease("anna") == [0]
    second = desk.submit("anna", 0, drawn(7))
    with pytest.raises(VersionSuperseded):
        review(desk, "rita", first.id, Verdict.ACCEPT)
    assert desk.lease("rita", purpose=Purpose.REVIEW) == [0], "it is looked at again"
    review(desk, "rita", second.id, Verdict.ACCEPT)
    assert desk.round_state == "training"
    with desk.database.reading() as session:
        said = reviews.list_reviews(session, session.get_one(Slice, desk.slices[0]))
    assert [(each.verdict, each.comment, each.x, each.y) for each in said] == [
        ("reject", "look here", 1.5, 2.0),
        ("accept", "look here", 1.5, 2.0),
    ]


def test_a_reviewer_made_annotator_gives_back_what_only_reviewers_do(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, review_percent=100.0)
    with unit_of_work(desk.database, SilentBell()) as session:
        project, rita = session.get_one(Project, desk.project_id), people.create_account(session, "rita", None)
        members.set_member(session, project, rita.id, Role.REVIEWER)
    desk.lease("anna")
    desk.submit("anna", 0)
    assert (desk.lease("rita"), desk.lease("rita", purpose=Purpose.REVIEW)) == ([1], [0])
    assert desk.lease("susi", purpose=Purpose.REVIEW) == []
    with unit_of_work(desk.database, SilentBell()) as session:
        project, rita = session.get_one(Project, desk.project_id), people.find_account(session, "rita")
        members.set_member(session, project, rita.id, Role.ANNOTATOR)
    assert desk.find_lease("rita", 0).state == LeaseState.RELEASED
    assert desk.find_lease("rita", 1).state == LeaseState.ACTIVE, "an annotator may go on with it"
    assert desk.lease("susi", purpose=Purpose.REVIEW) == [0]


def test_a_reviewer_fixes_what_is_nearly_right(make_desk: MakeDesk) -> None:
    desk = make_desk(count=1, review_percent=100.0)
    desk.lease("anna")
    desk.submit("anna", 0)
    desk.lease("rita", purpose=Purpose.REVIEW)
    fixed = desk.submit("rita", 0, drawn(4), purpose=Purpose.REVIEW)
    assert (head(desk, 0).id, fixed.author, fixed.purpose) == (fixed.id, "rita", "review")
    assert desk.round_state == "training"
    with desk.database.reading() as session:
        said = reviews.list_reviews(session, session.get_one(Slice, desk.slices[0]))
    assert [(each.verdict, each.reviewer) for each in said] == [("fix", "rita")]


def test_a_rejected_mask_trains_nothing_until_it_is_drawn_anew(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2)
    desk.lease("anna", 2)
    wrong, right = (desk.submit("anna", place) for place in (0, 1))
    assert desk.round_state == "training"

    def learned() -> list[uuid.UUID]:
        with desk.database.reading() as session:
            return [each.version_id for each in pools.training_set(session, session.query(Round).one())]

    assert learned() == [wrong.id, right.id]
    review(desk, "rita", wrong.id, Verdict.ACCEPT)
    review(desk, "rita", wrong.id, Verdict.REJECT)
    assert learned() == [right.id], "what was said last counts"
    better = desk.submit("anna", 0, drawn(7))
    assert learned() == [better.id, right.id]


def test_about_the_asked_share_is_reviewed(make_desk: MakeDesk) -> None:
    desk = make_desk(count=60, review_percent=30.0, auto_train=False)
    while places := desk.lease("anna", 8):
        for place in places:
            desk.submit("anna", place, drawn(1))
    share = 0
    while places := desk.lease("rita", 8, Purpose.REVIEW):
        share += len(places)
        for place in places:
            review(desk, "rita", head(desk, place).id, Verdict.ACCEPT)
    assert 6 <= share <= 32, "of 60 slices 18 are expected, standard deviation 3.5"


def test_agreement_is_what_the_definitions_say(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, overlap=2)
    masks = {("anna", 0): (1, 2), ("bert", 0): (2, 3), ("anna", 1): (5,), ("bert", 1): ()}
    for person in ("anna", "bert"):
        desk.lease(person, 2)
        for place in (0, 1):
            desk.submit(person, place, drawn(*masks[person, place]))
    with desk.database.reading() as session:
        pairs, slices = measure_agreement(session, desk.blobs, session.get_one(Project, desk.project_id), 10)
    assert slices == 2
    found = next(each for each in pairs if each.class_value == 1)
    assert (found.readers, found.slices, found.missed, found.hd95_unit) == (("anna", "bert"), 2, 1, "mm")
    assert found.dice == pytest.approx((0.5 + 0.0) / 2)
    assert found.hd95 == pytest.approx(1.5 * 0.95), "one of two points is one column of 1.5 mm away"
    pixels = [np.concatenate([drawn(*masks[person, place]).ravel() for place in (0, 1)]) for person in ("anna", "bert")]
    assert found.kappa == pytest.approx(cohen_kappa_score(*pixels))


def test_distances_are_those_of_the_evaluation() -> None:
    generator = np.random.default_rng(3)
    for _ in range(20):
        first, second = (generator.random((12, 15)) < share for share in (0.6, 0.2))
        assert hd95_in_plane(first, second, (2.0, 1.5)) == pytest.approx(hd95(first[None], second[None], (9, 2.0, 1.5)))
    assert hd95_in_plane(first, np.zeros_like(first), None) is None
    assert cohen_kappa(0, 0, 0, 9) is None

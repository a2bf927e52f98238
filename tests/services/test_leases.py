"""Who is handed which slice, for how long, and what brings it back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from app.db.models import AnnotationVersion, Draft, Lease, Project, Slice
from app.db.session import Database
from app.errors import (
    DraftPreconditionMissing,
    DraftStale,
    LeaseGone,
    LeaseInUse,
    ReadingsComplete,
    SliceExcluded,
    SliceLeasedElsewhere,
)
from app.names import AnnotationKind, LeaseState, Purpose, Role, SkipReason, Verdict
from app.outbox import SilentBell, unit_of_work
from app.services import drafts, leases, members, people, pools, reviews, rounds
from app.services.drafts import Sketch
from app.services.reviews import Opinion
from tests.services.desk import CLOCKS, Desk, drawn

MakeDesk = Callable[..., Desk]


@pytest.fixture
def make_desk(database: Database, tmp_path: Path) -> MakeDesk:
    """Makes the desk of a project with the given settings."""
    return lambda **settings: Desk.make(database, tmp_path, **settings)


def save_draft(desk: Desk, person: str, place: int, expected: str | None = None, *pixels: int) -> tuple[Draft, bool]:
    with unit_of_work(desk.database, SilentBell()) as session:
        project = session.get_one(Project, desk.project_id)
        slice_ = session.get_one(Slice, desk.slices[place])
        sketch = Sketch(AnnotationKind.FULL, person, "0")
        return drafts.save_draft(session, project, slice_, drawn(*pixels), sketch, expected, CLOCKS)


def test_asking_again_gives_ones_own_and_tops_up(make_desk: MakeDesk) -> None:
    desk = make_desk(count=12)
    assert desk.lease("anna", 2) == [0, 1]
    assert desk.lease("bert", 1) == [2]
    assert desk.lease("anna", 4) == [0, 1, 3, 4]
    assert desk.lease("anna", 1) == [0]
    assert desk.lease("anna", 8) == [0, 1, 3, 4, 5, 6, 7, 8]
    desk.submit("anna", 3)
    assert desk.lease("anna", 8) == [0, 1, 4, 5, 6, 7, 8, 9], "eight at a time, not eight more"


def test_without_heartbeats_the_idle_clock_alone_counts(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("curl")
    desk.pass_time(899)
    assert desk.lease("bert") == [1]
    desk.pass_time(2)
    assert desk.lease("carl") == [0], "free again after 15 minutes without an edit"


def test_a_missing_heartbeat_frees_the_slice_and_a_late_one_takes_it_back(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("anna")
    desk.heartbeat("anna", 0)
    desk.pass_time(89)
    assert desk.lease("bert") == [1]
    desk.pass_time(2)
    desk.heartbeat("anna", 0)
    assert desk.lease("carl") == [2], "nobody had taken it, so the late heartbeat holds it"
    desk.pass_time(91)
    assert desk.lease("dora") == [0]
    with pytest.raises(LeaseGone):
        desk.heartbeat("anna", 0)
    with pytest.raises(SliceLeasedElsewhere):
        desk.submit("anna", 0)


def test_heartbeats_do_not_move_the_idle_clock_and_drafts_do(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("anna")
    desk.lease("bert")
    draft, held = save_draft(desk, "bert", 1)
    assert held
    for _ in range(11):
        desk.pass_time(80)
        desk.heartbeat("anna", 0)
        draft, held = save_draft(desk, "bert", 1, str(draft.tag))
    desk.pass_time(80)
    with pytest.raises(LeaseGone):
        desk.heartbeat("anna", 0)
    assert desk.lease("carl", 2) == [0, 2], "anna's page was open and she was not there; bert drew"


def test_the_idle_clock_is_longer_for_a_slow_annotator(make_desk: MakeDesk) -> None:
    desk = make_desk(count=6)
    for place, minutes in enumerate((10, 10, 90)):
        desk.lease("slow")
        desk.submit("slow", place, lead_time_ms=minutes * 60_000)
    desk.lease("slow")
    desk.pass_time(29 * 60)
    assert desk.lease("bert") == [4]
    desk.pass_time(2 * 60)
    assert desk.lease("carl") == [3], "three times the median of ten minutes"


def test_what_was_released_comes_back_last(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2)
    desk.lease("anna")
    desk.release("anna", 0)
    desk.release("anna", 0)
    assert desk.lease("anna") == [1]
    desk.submit("anna", 1)
    assert desk.lease("anna") == [0], "nothing else is left"


@pytest.mark.parametrize("reason", [SkipReason.UNSURE, SkipReason.OTHER])
def test_what_one_is_unsure_of_goes_to_others(make_desk: MakeDesk, reason: SkipReason) -> None:
    desk = make_desk(count=1)
    desk.lease("anna")
    desk.skip("anna", 0, reason)
    assert desk.lease("anna") == []
    assert desk.lease("bert") == [0]
    assert desk.find_lease("anna", 0).skip_note == "a note"
    with pytest.raises(LeaseGone):
        desk.skip("anna", 0, reason)


def test_an_unfit_slice_is_out_for_everybody_and_the_round_goes_on(make_desk: MakeDesk) -> None:
    desk = make_desk(count=3)
    desk.lease("anna", 3)
    desk.skip("anna", 1, SkipReason.BAD_IMAGE)
    assert desk.lease("bert") == []
    desk.submit("anna", 0)
    assert desk.round_state == "annotating"
    desk.submit("anna", 2)
    assert desk.round_state == "training", "all that is fit is annotated"
    with desk.database.reading() as session:
        pool = pools.list_pool(session, session.get_one(Project, desk.project_id))
    assert [(each.annotated, each.excluded) for each in pool] == [(True, False), (False, True), (True, False)]


def test_an_exclusion_leaves_others_their_work(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, overlap=3)
    for person in ("anna", "bert", "carl"):
        assert desk.lease(person) == [0]
    carl = desk.submit("carl", 0, drawn(5))
    _, held = save_draft(desk, "bert", 0, None, 1)
    assert held
    desk.skip("anna", 0, SkipReason.BAD_IMAGE)
    assert desk.find_lease("bert", 0).state == LeaseState.EXCLUDED
    with pytest.raises(SliceExcluded):
        desk.heartbeat("bert", 0)
    with pytest.raises(SliceExcluded):
        desk.submit("dora", 0)
    assert desk.sees("bert", 0) is None, "nobody reads on behalf of others: he has still seen no other reading"
    with desk.database.reading() as session:
        slice_ = session.get_one(Slice, desk.slices[0])
        assert drafts.find_draft(session, slice_, "bert") is not None
        assert slice_.excluded

    late = desk.submit("bert", 0, drawn(1))
    assert (late.parent_id, desk.sees("bert", 0), desk.sees("carl", 0)) == (None, late.id, carl.id)
    assert desk.find_lease("bert", 0).state == LeaseState.SUBMITTED
    assert desk.lease("bert", 8) == desk.lease("emil", 8) == [1], "it is handed to nobody"
    desk.submit("anna", 0, drawn(2))
    with pytest.raises(ReadingsComplete):
        desk.submit("bert", 0, drawn(3))


def test_a_late_mask_of_an_excluded_slice_is_taken_from_its_only_reader(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2, review_percent=100.0)
    desk.lease("anna")
    desk.skip("anna", 0, SkipReason.BAD_IMAGE)
    late = desk.submit("anna", 0)
    with unit_of_work(desk.database, SilentBell()) as session:
        found = session.get_one(AnnotationVersion, late.id)
        reviews.review_version(session, found, Opinion("rita", Verdict.REJECT, "look here"))
    assert desk.lease("rita", purpose=Purpose.REVIEW) == []
    assert desk.lease("bert", 8) == [1], "it stays excluded, whatever is said of it"


def test_a_round_without_a_fit_slice_closes(make_desk: MakeDesk) -> None:
    desk = make_desk(count=2)
    desk.lease("anna", 2)
    desk.skip("anna", 0, SkipReason.UNSUITABLE)
    desk.skip("anna", 1, SkipReason.UNSUITABLE)
    assert desk.round_state == "closed"


def test_the_next_round_makes_up_for_what_was_excluded(make_desk: MakeDesk) -> None:
    desk = make_desk(count=10, picked=1, budgets=[10.0, 30.0])
    desk.lease("anna")
    desk.skip("anna", 0, SkipReason.UNSUITABLE)
    with unit_of_work(desk.database, SilentBell()) as session:
        project = session.get_one(Project, desk.project_id)
        opened = rounds.open_round(session, project, 30.0)
        pool = pools.list_pool(session, project)
    assert opened.target == 3
    counted = sum(each.annotated or each.proposed for each in pool if not each.excluded)
    assert opened.target - counted == 3, "three are proposed, for the excluded one does not count"


def test_a_manager_takes_over(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("anna")
    desk.heartbeat("anna", 0)

    def take_over(force: bool) -> None:
        with unit_of_work(desk.database, SilentBell()) as session:
            lease = session.get_one(Lease, desk.find_lease("anna", 0).id)
            leases.take_over(session, lease, "chief", CLOCKS, force=force)

    with pytest.raises(LeaseInUse):
        take_over(force=False)
    save_draft(desk, "anna", 0, None, 3)
    take_over(force=True)
    assert desk.lease("chief") == [0]
    assert desk.find_lease("anna", 0).state == LeaseState.TAKEN_OVER
    with pytest.raises(SliceLeasedElsewhere):
        desk.submit("anna", 0)
    with desk.database.reading() as session:
        draft = drafts.find_draft(session, session.get_one(Slice, desk.slices[0]), "anna")
    assert draft is not None, "the work of whoever lost the lease is not lost"


def test_a_late_submission_is_taken_while_nobody_else_holds_the_slice(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("anna")
    desk.pass_time(10_000)
    desk.submit("anna", 0)
    assert desk.lease("bert") == [1]


def test_drafts_outlive_leases_and_name_what_they_follow(make_desk: MakeDesk) -> None:
    desk = make_desk()
    desk.lease("anna")
    first, held = save_draft(desk, "anna", 0, None, 1)
    assert held
    with pytest.raises(DraftPreconditionMissing):
        save_draft(desk, "anna", 0)
    with pytest.raises(DraftStale):
        save_draft(desk, "anna", 0, "0")
    desk.pass_time(10_000)
    assert desk.lease("bert") == [0]
    second, held = save_draft(desk, "anna", 0, str(first.tag), 2)
    assert not held, "bert has it now"
    with pytest.raises(DraftStale):
        save_draft(desk, "anna", 0, str(first.tag), 5)
    assert second.tag != first.tag
    desk.release("bert", 0)
    desk.submit("anna", 0)
    with desk.database.reading() as session:
        assert drafts.find_draft(session, session.get_one(Slice, desk.slices[0]), "anna") is None, "it was submitted"


def test_open_picks_are_counted_up_to_a_limit(make_desk: MakeDesk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk = make_desk(count=5, overlap=2)

    def count() -> int:
        with desk.database.reading() as session:
            round_ = rounds.latest_round(session, session.get_one(Project, desk.project_id))
            assert round_ is not None
            return rounds.count_open_picks(session, [round_.id])[round_.id]

    assert count() == 5, "slices, of which each has two seats"
    monkeypatch.setattr(rounds, "COUNTED_TO", 3)
    assert 1 <= count() <= 3


@pytest.mark.parametrize("way", ["removed", "made a viewer", "disabled"])
def test_who_is_sent_away_holds_nothing_any_more_and_their_draft_stays(make_desk: MakeDesk, way: str) -> None:
    desk = make_desk(count=2)
    with unit_of_work(desk.database, SilentBell()) as session:
        project, anna = session.get_one(Project, desk.project_id), people.create_account(session, "anna", None)
        members.set_member(session, project, anna.id, Role.ANNOTATOR)
    assert (desk.lease("anna", 2), desk.lease("bert", 2)) == ([0, 1], [])
    save_draft(desk, "anna", 0)
    with unit_of_work(desk.database, SilentBell()) as session:
        project, anna = session.get_one(Project, desk.project_id), people.find_account(session, "anna")
        if way == "removed":
            members.remove_member(session, project, anna)
        elif way == "disabled":
            people.change_account(session, anna, disabled=True)
        else:
            members.set_member(session, project, anna.id, Role.VIEWER)
    assert {desk.find_lease("anna", place).state for place in (0, 1)} == {LeaseState.RELEASED}
    assert desk.lease("bert", 2) == [0, 1]
    with desk.database.reading() as session:
        assert drafts.find_draft(session, session.get_one(Slice, desk.slices[0]), "anna") is not None

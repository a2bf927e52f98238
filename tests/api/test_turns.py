"""What a slice does not take: from whom, when, and what becomes of it instead."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from app.db.session import Database
from app.names import Purpose, SkipReason
from tests.api.conftest import on_sqlite
from tests.api.room import Room, open_room, whole
from tests.services.desk import SIDE, drawn


@pytest.fixture
def reviewed(database: Database, tmp_path: Path) -> Iterator[Room]:
    """Whatever is drawn on the four slices is looked at by somebody else."""
    yield from open_room(database, tmp_path / "home", review_percent=100.0)


@pytest.fixture
def blind(database: Database, tmp_path: Path) -> Iterator[Room]:
    """Two of four slices are proposed, each to two readers."""
    yield from open_room(database, tmp_path / "home", overlap=2, picked=2)


@on_sqlite
def test_a_review_says_what_and_where_of_what_is_there(reviewed: Room) -> None:
    desk = reviewed.desk
    desk.lease("anna")
    path = f"/v1/annotation-versions/{desk.submit('anna', 0).id}/reviews"
    for body, code in (
        ({"verdict": "reject"}, "comment-missing"),
        ({"verdict": "reject", "comment": " \n"}, "comment-missing"),
        ({"verdict": "reject", "comment": "here", "x": 400, "y": 1}, "pin-outside"),
        ({"verdict": "accept", "x": 1, "y": SIDE}, "pin-outside"),
    ):
        answer = reviewed.ask("rita", "POST", path, json=body)
        assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text
    for purpose in ("review", "adjudicate"):
        answer = reviewed.ask("rita", "POST", f"/v1/slices/{desk.slices[1]}/annotations",
                              params={"kind": "full", "purpose": purpose}, content=drawn(1).tobytes(),
                              headers={"If-Match": '"0"'})  # fmt: skip
        assert (answer.status_code, answer.json()["code"]) == (409, "nothing-to-judge"), answer.text
    pinned = {"verdict": "reject", "comment": "here", "x": SIDE - 0.5, "y": 0}
    assert reviewed.ask("rita", "POST", path, json=pinned).status_code == 201


@on_sqlite
def test_what_a_reviewer_accepted_is_not_replaced_unseen(reviewed: Room) -> None:
    desk = reviewed.desk
    desk.lease("anna")
    accepted = desk.submit("anna", 0)
    path = f"/v1/annotation-versions/{accepted.id}"
    assert reviewed.ask("rita", "POST", f"{path}/reviews", json={"verdict": "accept"}).status_code == 201
    over = {"If-Match": f'"{accepted.id}"'}
    replacement = {"params": {"kind": "full"}, "content": drawn(9).tobytes(), "headers": over}
    for who in ("anna", "bert"):
        for road, options in (
            (f"/v1/slices/{desk.slices[0]}/annotations", replacement),
            (f"{path}/restore", {"headers": over}),
        ):
            answer = reviewed.ask(who, "POST", road, **options)
            assert (answer.status_code, answer.json()["code"]) == (409, "slice-accepted"), answer.text
    left = reviewed.put_volume("anna", whole((0, drawn(9))))
    assert (left.status_code, left.json()["code"]) == (409, "no-slice-written"), left.text
    assert desk.sees("bert", 0) == accepted.id

    assert desk.lease("rita", purpose=Purpose.REVIEW) == []
    corrected = reviewed.ask("mary", "POST", f"/v1/slices/{desk.slices[0]}/annotations", **replacement)
    assert corrected.status_code == 201, corrected.text
    assert desk.lease("mary", purpose=Purpose.REVIEW) == [], "never one's own"
    assert desk.lease("rita", purpose=Purpose.REVIEW) == [0], "it is reviewed in its turn"


@on_sqlite
def test_who_loses_a_slice_to_an_exclusion_is_told_so_and_may_hand_in(blind: Room) -> None:
    desk = blind.desk
    assert desk.lease("anna") == desk.lease("bert") == [0]
    lease = f"/v1/leases/{desk.find_lease('bert', 0).id}"
    desk.skip("anna", 0, SkipReason.BAD_IMAGE)
    beat = blind.ask("bert", "POST", f"{lease}/heartbeat")
    assert (beat.status_code, beat.json()["code"]) == (410, "slice-excluded"), beat.text
    assert blind.ask("bert", "GET", lease).json()["state"] == "excluded"
    assert blind.ask("bert", "DELETE", lease).status_code == 204
    late = blind.put_volume("bert", whole((0, drawn(1)), (1, drawn(1))))
    assert late.status_code == 200, late.text
    told = {int(index): (each["outcome"], each["code"]) for index, each in late.json()["slices"].items()}
    assert told == {0: ("written", None), 1: ("left", "slice-not-leased")}
    assert blind.ask("bert", "GET", lease).json()["state"] == "submitted"


@on_sqlite
def test_nobody_reads_what_no_round_proposed_to_several(blind: Room) -> None:
    path = f"/v1/slices/{blind.desk.slices[3]}/annotations"
    asked = {"params": {"kind": "full"}, "content": drawn(1).tobytes(), "headers": {"If-Match": '"0"'}}
    for who in ("anna", "bert", "rita"):
        answer = blind.ask(who, "POST", path, **asked)
        assert (answer.status_code, answer.json()["code"]) == (409, "slice-not-proposed"), answer.text
    proposed = f"/v1/slices/{blind.desk.slices[0]}/annotations"
    assert blind.ask("anna", "POST", proposed, **asked).status_code == 201
    assert blind.ask("mary", "POST", path, **asked).status_code == 201, "a manager may"

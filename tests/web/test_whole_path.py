"""The whole path where a service has accounts: sign in, scribble, see the round train, go on; then the lead."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, Page, expect

from app.client import Client, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.db.migrate import migrate
from app.db.session import Database
from app.embedded import DEMO, running_service
from app.names import Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.projects import find_project
from app.settings import Settings
from tests.web.axe import serious_violations
from tests.web.conftest import WAIT_MS
from tests.web.gestures import middle, pen_stroke

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"
TRAINING_MS = 90_000


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[tuple[str, Client]]:
    """A service with accounts: Anna annotates the demo project, Lena owns it; a round of three slices is proposed."""
    home = tmp_path_factory.mktemp("clinic")
    knobs = Settings(home=home / "service", port=0, sign_in="accounts")
    database = Database(knobs.database)
    knobs.home.mkdir(parents=True, exist_ok=True)
    migrate(database)
    with unit_of_work(database, SilentBell()) as session:
        administrator = people.create_account(session, "admin", None, administrator=True)
        _, token = people.create_token(session, administrator, "test", Scope.ADMIN, 1)
        anna = people.create_account(session, "anna", PASSWORD).id
        lena = people.create_account(session, "lena", PASSWORD).id
    listing = list_phantoms(home / "phantoms", config=PhantomConfig(patients=4, slices=4, height=48, width=48))
    with running_service(knobs) as url, Client(url, token) as client:
        draft = {"slug": DEMO, "name": "Demo", "label_schema": label_schema_of(listing), "preset": "tiny"}
        rules = {"supervision": "scribble", "strategy": "random", "budgets": [20, 40], "auto_propose": True}
        client.post("/v1/projects", draft | rules)
        import_listing(client, DEMO, listing, lambda *_: None)
        with unit_of_work(database, SilentBell()) as session:
            project = find_project(session, DEMO)
            members.set_member(session, project, anna, Role.ANNOTATOR)
            members.set_member(session, project, lena, Role.OWNER)
        client.wait_for_job(client.post(f"/v1/projects/{DEMO}/rounds")["job_id"], lambda *_: None)
        yield url, client
    database.dispose()


def test_sign_in_scribble_three_slices_see_the_round_train_and_the_next_proposal_come(
    browser: Browser, clinic: tuple[str, Client]
) -> None:
    page = _signed_in(browser, clinic[0], "anna")
    devtools = page.context.new_cdp_session(page)
    page.get_by_role("link", name=re.compile("^Demo")).click()
    page.get_by_role("link", name="Annotate").click()
    for left in (3, 2, 1):
        expect(page.locator("#left")).to_have_text(f"{left} slice{'s' if left > 1 else ''} left")
        expect(page.locator("#submit")).to_be_enabled()
        x, y = middle(page)
        for row, key in ((-40, "1"), (0, "2"), (40, "3"), (120, "0")):
            page.keyboard.press(key)
            pen_stroke(devtools, (x - 60, y + row), 0.5)
        page.keyboard.press("Control+Enter")
    expect(page.locator("#cover-title")).to_have_text("The next slices are on their way")
    expect(page.locator("#round")).to_have_text("Round 2", timeout=TRAINING_MS)
    expect(page.locator("#submit")).to_be_enabled()
    first, second = clinic[1].get(f"/v1/projects/{DEMO}/rounds")["items"]
    assert (first["state"], second["state"]) == ("closed", "annotating")
    assert first["summary"]["dice"] is not None
    shown = page.locator("#slice-name").inner_text()
    picks = clinic[1].get(f"/v1/rounds/{second['id']}/picks")["items"]
    assert shown.startswith(f"{picks[0]['patient']}, {picks[0]['volume']}, slice {picks[0]['index'] + 1} ")
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#signin")).to_be_visible()
    page.context.close()


def test_a_lead_sees_members_and_the_log_and_takes_a_snapshot(browser: Browser, clinic: tuple[str, Client]) -> None:
    page = _signed_in(browser, clinic[0], "lena")
    page.goto(f"/#/{DEMO}/people")
    expect(page.locator("#members")).to_contain_text("anna")
    page.get_by_label("Name of an account").fill("admin")
    page.get_by_label("Role").select_option("reviewer")
    page.get_by_role("button", name="Give this role").click()
    expect(page.locator("#members")).to_contain_text("reviewer")
    page.get_by_role("button", name="Remove admin from the project").click()
    expect(page.locator("#members")).not_to_contain_text("reviewer")

    page.goto(f"/#/{DEMO}/audit")
    expect(page.locator("#audit tbody tr").first).to_contain_text("DELETE /v1/projects/{project}/members/{account}")
    page.get_by_label("Who", exact=True).fill("anna")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#audit")).not_to_contain_text("lena")
    assert serious_violations(page) == []

    annotate_what_nobody_was_given(clinic[1])
    page.goto(f"/#/{DEMO}/exports")
    page.get_by_label("Name of a snapshot").fill("before")
    page.get_by_role("button", name="Take a snapshot").click()
    expect(page.locator("#export-snapshot option", has_text="before")).to_be_attached()
    page.context.close()


def annotate_what_nobody_was_given(client: Client) -> None:
    """One scribbled slice, so that there is something to freeze whichever test comes first."""
    proposed = {pick["slice_id"] for each in _rounds(client) for pick in client.items(f"/v1/rounds/{each['id']}/picks")}
    volumes = client.items(f"/v1/projects/{DEMO}/volumes")
    train = (volume["id"] for volume in volumes if volume["split"] == "train")
    slices = (each for volume in train for each in client.items(f"/v1/volumes/{volume}/slices"))
    free = next(each for each in slices if each["id"] not in proposed)
    mask = np.full(free["shape"], 255, dtype=np.uint8)
    mask[10, 10:30] = 1
    path = f"/v1/slices/{free['id']}/annotations?kind=scribble"
    client._http.post(path, content=mask.tobytes(), headers={"If-Match": f'"{free["annotation"]}"'}).raise_for_status()


def _rounds(client: Client) -> list[dict[str, Any]]:
    return list(client.items(f"/v1/projects/{DEMO}/rounds"))


def test_a_token_is_made_on_the_page_works_for_its_scope_and_ends_when_it_is_revoked(
    browser: Browser, clinic: tuple[str, Client]
) -> None:
    page = _signed_in(browser, clinic[0], "lena")
    page.get_by_role("button", name="lena").click()
    dialog = page.locator("#account")
    dialog.get_by_label("Name").fill("report")
    dialog.get_by_label("Scope").select_option("read")
    dialog.get_by_role("button", name="Make").click()
    expect(dialog.locator(".made-token")).to_contain_text("nxs_")
    found = re.search(r"nxs_[\w-]+", dialog.locator(".made-token").inner_text())
    assert found is not None
    assert serious_violations(page) == []
    bearer = {"Authorization": f"Bearer {found[0]}"}
    with httpx.Client(base_url=clinic[0], headers=bearer) as program:
        assert program.get(f"/v1/projects/{DEMO}").status_code == 200
        assert program.post(f"/v1/projects/{DEMO}/leases", json={}).status_code == 403
        dialog.get_by_role("button", name="Revoke report").click()
        expect(dialog.locator("li", has_text="report")).to_have_count(0)
        assert program.get(f"/v1/projects/{DEMO}").status_code == 401
    page.context.close()


def test_an_annotator_is_refused_what_is_for_reviewers(browser: Browser, clinic: tuple[str, Client]) -> None:
    page = _signed_in(browser, clinic[0], "anna")
    expect(page.get_by_role("link", name="Review")).to_have_count(0)
    page.goto(f"/review.html?project={DEMO}")
    expect(page.locator("body")).to_contain_text("reviewer")
    page.context.close()


def _signed_in(browser: Browser, url: str, name: str) -> Page:
    context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    page.goto("/")
    dialog = page.locator("#signin")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("Password").fill(PASSWORD)
    dialog.get_by_label("Password").press("Enter")
    expect(page.locator("#name")).to_have_text("Demo")
    return page

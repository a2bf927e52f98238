"""Signing in, where a service has accounts: asked for, refused in words, then the work begins under one's own name."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from app.client import Client, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.db.session import Database
from app.embedded import running_service
from app.names import Role, Scope
from app.outbox import SilentBell, unit_of_work
from app.services import members, people
from app.services.projects import find_project
from app.settings import Settings
from tests.api.provider import CLIENT_ID, CLIENT_SECRET, Provider
from tests.web.axe import serious_violations
from tests.web.conftest import WAIT_MS
from tests.web.gestures import draw, middle

pytestmark = pytest.mark.browser

PASSWORD = "correct horse battery"


def test_an_annotator_signs_in_and_works_under_their_own_name(
    browser: Browser, tmp_path: Path, sqlite_url: str
) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=sqlite_url, sign_in="accounts")
    database = Database(sqlite_url)
    with unit_of_work(database, SilentBell()) as session:
        administrator = people.create_account(session, "admin", None, administrator=True)
        _, token = people.create_token(session, administrator, "test", Scope.ADMIN, 1)
        anna = people.create_account(session, "anna", PASSWORD)
    listing = list_phantoms(tmp_path / "phantoms", config=PhantomConfig(patients=4, slices=3, height=48, width=48))
    with running_service(knobs, queues=()) as url, Client(url, token) as client:
        draft = {"slug": "hearts", "name": "Hearts", "label_schema": label_schema_of(listing), "preset": "tiny"}
        client.post("/v1/projects", draft | {"supervision": "scribble", "strategy": "random"})
        assert import_listing(client, "hearts", listing, lambda *_: None).refused == []
        with unit_of_work(database, SilentBell()) as session:
            members.set_member(session, find_project(session, "hearts"), anna.id, Role.ANNOTATOR)
        volume = next(client.items("/v1/projects/hearts/volumes"))
        slice_ = client.get(f"/v1/volumes/{volume['id']}/slices")["items"][1]

        context = browser.new_context(base_url=url, viewport={"width": 1440, "height": 900})
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto(f"/annotate.html?project=hearts&slice={slice_['id']}")
        dialog = page.locator("#signin")
        expect(dialog).to_be_visible()
        assert serious_violations(page) == []
        dialog.get_by_label("Name").fill("anna")
        dialog.get_by_label("Password").fill("not this one")
        dialog.get_by_label("Password").press("Enter")
        expect(dialog.get_by_role("alert")).not_to_be_empty()
        dialog.get_by_label("Password").fill(PASSWORD)
        dialog.get_by_label("Password").press("Enter")
        expect(page.locator("#submit")).to_be_enabled()
        expect(dialog).to_have_count(0)
        x, y = middle(page)
        draw(page, [(x, y), (x + 40, y)])
        page.keyboard.press("Control+Enter")
        expect(page.locator("#kept")).to_have_text("Submitted.")
        (version,) = client.items(f"/v1/slices/{slice_['id']}/annotations")
        assert version["author"] == "anna"
        context.close()
    database.dispose()


def test_one_signs_in_through_a_provider_of_another_site_and_comes_back_to_the_same_page(
    browser: Browser, tmp_path: Path, sqlite_url: str
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    # To a browser localhost is another site than 127.0.0.1: cookies of SameSite=Strict stay away on the way back.
    who = {"sub": "7", "email": "anna@ward.example", "email_verified": True}
    provider = Provider(who, redirect_uri=f"{address}/signed-in.html", host="localhost")
    knobs = Settings(
        home=tmp_path / "home",
        port=port,
        database_url=sqlite_url,
        sign_in="accounts",
        public_url=address,
        oidc_issuer=provider.issuer,
        oidc_client_id=CLIENT_ID,
        oidc_client_secret=CLIENT_SECRET,
        oidc_name="the hospital",
        oidc_accounts="create",
    )
    with running_service(knobs, queues=()) as url:
        context = browser.new_context(base_url=url)
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto("/#/hearts/models")
        through = page.locator("#signin").get_by_role("button", name="Sign in through the hospital")
        expect(through).to_be_visible()
        assert serious_violations(page) == []
        provider.misbehave = {"nonce": "another"}
        through.click()
        expect(page.locator("#said")).to_contain_text("not to be believed")
        assert page.url == f"{address}/signed-in.html"  # the code is gone from the address
        assert serious_violations(page) == []
        provider.misbehave = {}
        page.get_by_role("link", name="Back to the sign-in").click()
        through.click()
        expect(page.locator("#who")).to_contain_text("anna@ward.example")
        assert page.url == f"{address}/#/hearts/models"
        context.close()
    provider.stop()

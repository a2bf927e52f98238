"""The board in a real browser: a round from its start to a point of the curve."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect

from tests.web.conftest import Site, Window
from tests.web.gestures import draw, labelled_pixels, middle, stored_mask

pytestmark = pytest.mark.browser

TRAINING_MS = 60_000


def test_a_round_goes_from_the_board_over_the_annotator_to_a_point_of_the_curve(page: Page, site: Site) -> None:
    slug = site.make_project()
    page.goto(f"/#/{slug}")
    page.get_by_role("button", name="Start first round").click()
    expect(page.locator("#picks tbody tr")).to_have_count(3, timeout=TRAINING_MS)
    expect(page.locator("#picks")).to_contain_text("drawn by random")
    page.get_by_role("link", name="Annotate").click()
    expect(page.locator("#left")).to_have_text("3 slices left")
    picks = site.client.get(f"/v1/rounds/{_latest_round(site, slug)['id']}/picks")["items"]
    first = site.client.get(f"/v1/slices/{picks[0]['slice_id']}")
    second = site.client.get(f"/v1/slices/{picks[1]['slice_id']}")
    expect(page.locator("#slice-name")).to_have_text(_name(first))
    x, y = middle(page)
    touched = draw(page, [(x + step, y + step // 2) for step in range(0, 100, 4)])
    page.keyboard.press("Control+Enter")
    expect(page.locator("#slice-name")).to_have_text(_name(second))
    expect(page.locator("#left")).to_have_text("2 slices left")
    assert labelled_pixels(stored_mask(site.client, first)) == touched
    page.get_by_role("link", name="Board").click()
    page.get_by_role("button", name="Let the oracle annotate").click()
    expect(page.locator("#message")).to_contain_text("The oracle annotated 2 slices.")
    expect(page.get_by_role("img", name=re.compile("Dice against labelled percent: 0"))).to_be_visible(
        timeout=TRAINING_MS
    )
    expect(page.locator("#rounds tbody tr").first).to_contain_text("closed")
    assert page.locator(".mean-dot[r='5']").count() == 1
    assert _latest_round(site, slug)["state"] == "closed"


def test_an_export_is_made_and_can_be_downloaded(page: Page, site: Site) -> None:
    slug, _ = site.make_slice()
    page.goto(f"/#/{slug}")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the export").click()
    assert download.value.path().read_bytes().startswith(b"PK")


def test_a_refusal_is_shown_in_the_service_s_own_sentence(window: Window, site: Site) -> None:
    window.accepted = ("409",)
    slug = site.make_project(budgets=[20])
    window.page.goto(f"/#/{slug}")
    start = window.page.get_by_role("button", name="Start first round")
    expect(start).to_be_enabled()
    site.client.post(f"/v1/projects/{slug}/rounds")  # somebody else was faster than the page's next look
    start.click()
    expect(window.page.get_by_role("alert")).to_contain_text("Round 1 is still open")


def test_oracle_and_annotate_are_offered_only_where_they_can_do_something(page: Page, site: Site) -> None:
    slug, _ = site.make_slice(flat=True)
    page.goto(f"/#/{slug}")
    expect(page.get_by_role("link", name="Annotate")).to_have_attribute("aria-disabled", "true")
    expect(page.get_by_role("button", name="Let the oracle annotate")).to_have_count(0)
    expect(page.get_by_role("button", name="Predict all volumes")).to_be_disabled()


def _latest_round(site: Site, slug: str) -> dict[str, str]:
    found: dict[str, str] = site.client.get(f"/v1/projects/{slug}/rounds")["items"][-1]
    return found


def _name(slice_: dict[str, str]) -> str:
    return f"{slice_['patient']}, {slice_['volume']}, slice {int(slice_['index']) + 1} of {slice_['depth']}"

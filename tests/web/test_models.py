"""What models say: on the slice being drawn, on the curve beside chance, and among the versions of the board."""

from __future__ import annotations

import re

import numpy as np
import pytest
from playwright.sync_api import Page, expect

from app.client import import_listing, label_schema_of
from tests.web.conftest import Site
from tests.web.gestures import open_slice, stored_mask

pytestmark = pytest.mark.browser

SLUG = "twins-coreset-pixels"


@pytest.fixture(scope="module")
def trained(site: Site) -> str:
    """Two rounds trained, a third proposed, every volume predicted; beside it a project that drew one at random."""
    schema = label_schema_of(site.listing)
    rules = {"label_schema": schema, "supervision": "full", "budgets": [20, 40, 60], "preset": "tiny", "name": "Twins"}
    for slug, strategy, count in ((SLUG, "coreset-pixels", 2), (SLUG.replace("coreset-pixels", "random"), "random", 1)):
        client = site.client
        client.post("/v1/projects", {"slug": slug, "strategy": strategy, **rules})
        import_listing(client, slug, site.listing, lambda *_: None)
        for _ in range(count):
            client.wait_for_job(client.post(f"/v1/projects/{slug}/rounds")["job_id"], lambda *_: None)
            client.post(f"/v1/projects/{slug}/oracle")
            while (last := client.get(f"/v1/projects/{slug}/rounds")["items"][-1])["state"] != "closed":
                client.wait_for_job(last["job_id"], lambda *_: None)  # training, then evaluation
    client = site.client
    client.wait_for_job(client.post(f"/v1/projects/{SLUG}/predictions")["id"], lambda *_: None)
    client.wait_for_job(client.post(f"/v1/projects/{SLUG}/rounds")["job_id"], lambda *_: None)
    return SLUG


def test_a_prediction_and_its_uncertainty_are_shown_hidden_and_taken_as_a_start(
    page: Page, site: Site, trained: str
) -> None:
    round_ = site.client.get(f"/v1/projects/{trained}/rounds")["items"][-1]["id"]
    first = site.client.get(f"/v1/rounds/{round_}/picks")["items"][0]["slice_id"]
    slice_ = site.client.get(f"/v1/slices/{first}")
    predicted = site.client._http.get(f"/v1/slices/{first}/prediction").content
    open_slice(page, trained, first)
    expect(page.locator("#no-prediction")).to_be_hidden()
    page.locator("#show-prediction").uncheck()
    plain = picture(page)
    page.keyboard.press("u")
    expect(page.locator("#show-uncertainty")).to_be_checked()
    assert picture(page) != plain
    page.keyboard.press("u")
    assert picture(page) == plain
    page.keyboard.press("a")
    expect(page.locator("#count-unlabelled")).to_have_text("0")
    page.keyboard.press("Control+z")
    expect(page.locator("#count-unlabelled")).to_have_text(str(48 * 48))
    page.keyboard.press("a")
    shown = page.locator("#slice-name").inner_text()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#left")).to_have_text(re.compile("left"))
    expect(page.locator("#slice-name")).not_to_have_text(shown)
    stored = stored_mask(site.client, slice_)
    assert np.array_equal(stored, np.frombuffer(predicted, np.uint8).reshape(stored.shape))


def picture(page: Page) -> bytes:
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    return page.locator("#canvas").screenshot()


def test_the_curve_has_the_line_of_random_beside_it(page: Page, trained: str) -> None:
    page.goto(f"/#/{trained}")
    expect(page.locator("#curve .random-dot")).to_have_count(1)
    expect(page.locator("#curve .mean-dot[r='5']")).to_have_count(2)


def test_a_version_is_promoted_rolled_back_and_the_newest_followed_again(page: Page, site: Site, trained: str) -> None:
    def in_use() -> list[int]:
        versions = site.client.get(f"/v1/projects/{trained}/model-versions")["items"]
        return [each["version"] for each in versions if each["in_use"]]

    page.goto(f"/#/{trained}/models")
    rows = page.locator("#versions tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.first).to_contain_text("in use")
    page.get_by_role("button", name=re.compile("Promote")).click()
    expect(rows.last).to_contain_text("in use")
    assert in_use() == [1]
    page.get_by_role("button", name="Promote").click()
    expect(rows.first).to_contain_text("in use")
    page.get_by_role("button", name="Roll back").click()
    expect(rows.last).to_contain_text("in use")
    assert in_use() == [1]
    page.get_by_role("button", name="Always use the newest").click()
    expect(rows.first).to_contain_text("in use")
    expect(page.locator("#promotions li")).to_have_count(4)

"""The review page: what somebody else drew beside the prediction; accepted, fixed, or sent back with a pin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.names import UNLABELLED
from tests.web.axe import serious_violations
from tests.web.conftest import Site
from tests.web.gestures import count_painted, draw, middle, stored_mask

pytestmark = pytest.mark.browser

TRAINING_MS = 60_000
SIDE = 48
PIN = (255, 207, 107)


@dataclass
class Reviewed:
    """A project whose slices all go to a reviewer; its second round is annotated by Anna."""

    slug: str
    slices: list[dict[str, Any]]


@pytest.fixture(scope="module")
def trained(site: Site) -> str:
    """A project with one round trained and every volume predicted, and its second round proposed; gives its slug."""
    client = site.client
    slug = site.make_project(budgets=[20, 60], review_percent=100)
    client.wait_for_job(client.post(f"/v1/projects/{slug}/rounds")["job_id"], lambda *_: None)
    client.post(f"/v1/projects/{slug}/oracle")
    for lease in client.post(f"/v1/projects/{slug}/leases", {"n": 8, "purpose": "review"})["items"]:
        client.post(f"/v1/annotation-versions/{lease['slice']['annotation']}/reviews", {"verdict": "accept"})
    client.wait_for_job(_newest_job(site, slug), lambda *_: None)
    client.wait_for_job(client.post(f"/v1/projects/{slug}/predictions")["id"], lambda *_: None)
    client.wait_for_job(client.post(f"/v1/projects/{slug}/rounds")["job_id"], lambda *_: None)
    return slug


@pytest.fixture
def annotated(site: Site, trained: str) -> Reviewed:
    """Two more slices of the second round, annotated by Anna: a line of class 1 each."""
    leases = site.client.post(f"/v1/projects/{trained}/leases", {"annotator": "anna", "n": 2})["items"]
    slices = [lease["slice"] for lease in leases]
    for each in slices:
        _submit(site, each, "anna")
    return Reviewed(trained, slices)


@pytest.fixture
def page(page: Page, context: BrowserContext) -> Page:
    """The reviewer's page."""
    context.add_init_script(
        "localStorage.getItem('nextslice:annotator') ?? localStorage.setItem('nextslice:annotator', 'ben')"
    )
    return page


def test_a_reviewer_rejects_with_a_pin_the_annotator_sees_it_and_the_next_one_is_fixed(
    page: Page, site: Site, annotated: Reviewed
) -> None:
    first, second = annotated.slices
    page.goto(f"/review.html?project={annotated.slug}")
    expect(page.locator("#slice-name")).to_have_text(_name(first))
    expect(page.locator("#author")).to_contain_text("anna")
    expect(page.locator("#figures")).to_contain_text("Only submitted")
    expect(page.locator("#difference-said")).to_contain_text("of 20 labelled pixels")
    assert serious_violations(page) == []
    page.locator("#predicted").hover()
    page.mouse.wheel(0, -100 if first["index"] else 100)
    expect(page.locator("#read-only")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#read-only")).to_be_hidden()
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_role("alert")).to_contain_text("Say what is wrong")
    box = page.locator("#submitted").bounding_box()
    assert box is not None
    page.mouse.click(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2 + 3)
    expect(page.locator("#pin-said")).to_have_text("Pinned at row 24, column 24.")
    page.locator("#comment").fill("The wall is missing here.")
    page.get_by_role("button", name="Reject").click()
    expect(page.locator("#slice-name")).to_have_text(_name(second))
    (review,) = site.client.get(f"/v1/slices/{first['id']}/reviews")["items"]
    assert (review["verdict"], review["reviewer"], review["comment"]) == ("reject", "ben", "The wall is missing here.")
    assert (int(review["x"]), int(review["y"])) == (24, 24)

    page.get_by_role("button", name="Fix").click()
    expect(page.locator("#submit")).to_have_text("Save the fix")
    x, y = middle(page)
    draw(page, [(x, y + 60), (x + 60, y + 60)])
    page.keyboard.press("Control+Enter")
    expect(page.locator("#cover-title")).to_have_text("Nothing waits for a review")
    (review,) = site.client.get(f"/v1/slices/{second['id']}/reviews")["items"]
    assert (review["verdict"], review["reviewer"]) == ("fix", "ben")
    newest = site.client.get(f"/v1/slices/{second['id']}/annotations")["items"][-1]
    assert (newest["author"], newest["purpose"]) == ("ben", "review")
    assert (stored_mask(site.client, second) == 1).sum() > 20

    page.evaluate("localStorage.setItem('nextslice:annotator', 'anna')")
    page.goto(f"/annotate.html?project={annotated.slug}")
    expect(page.locator("#slice-name")).to_have_text(_name(first))
    expect(page.locator("#rejected")).to_have_text("Sent back by ben: The wall is missing here.")
    assert _pinned(page)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    page.goto(f"/review.html?project={annotated.slug}")
    expect(page.locator("#cover-title")).to_have_text("Nothing waits for a review")  # it is one's own


def test_a_review_with_the_keyboard_alone(page: Page, site: Site, trained: str, annotated: Reviewed) -> None:
    page.goto(f"/review.html?project={trained}")
    shown, last = page.locator("#slice-name"), annotated.slices[-1]
    expect(page.locator("#approve")).to_be_enabled()
    while shown.inner_text() != _name(last):  # those of other tests wait, too
        before = shown.inner_text()
        page.keyboard.press("a")
        expect(shown).not_to_have_text(before)
        expect(page.locator("#approve")).to_be_enabled()
    for key in ("ArrowDown", "ArrowUp", "h", "h", "w", "d", "Shift+ArrowLeft", "Control+Shift+ArrowUp", "d", "c"):
        page.keyboard.press(key)
    expect(page.locator("#pin-said")).to_have_text("Pinned at row 14, column 23.")
    page.keyboard.type("too thick")
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    expect(page.locator("#cover-title")).to_have_text("Nothing waits for a review")
    review = site.client.get(f"/v1/slices/{last['id']}/reviews")["items"][-1]
    assert (review["comment"], review["x"], review["y"]) == ("too thick", 23.5, 14.5)
    review = site.client.get(f"/v1/slices/{annotated.slices[0]['id']}/reviews")["items"][-1]
    assert (review["verdict"], review["reviewer"]) == ("accept", "ben")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keys and gestures")
    expect(sheet).to_contain_text("reject with the comment")
    sheet.get_by_role("button", name="Change the key of: accept").click()
    page.keyboard.press("r")
    expect(page.locator("#help-said")).to_contain_text("R is already: reject")
    assert serious_violations(page) == []


def _submit(site: Site, slice_: dict[str, Any], annotator: str) -> None:
    mask = bytearray([UNLABELLED]) * (SIDE * SIDE)
    mask[24 * SIDE + 10 : 24 * SIDE + 30] = b"\x01" * 20
    path = f"/v1/slices/{slice_['id']}/annotations?kind=scribble&annotator={annotator}"
    answer = site.client._http.post(path, content=bytes(mask), headers={"If-Match": f'"{slice_["annotation"]}"'})
    assert answer.status_code == 201, answer.text


def _newest_job(site: Site, slug: str) -> str:
    return str(site.client.get(f"/v1/projects/{slug}/rounds")["items"][-1]["job_id"])


def _name(slice_: dict[str, Any]) -> str:
    return f"{slice_['patient']}, {slice_['volume']}, slice {slice_['index'] + 1} of {slice_['depth']}"


def _pinned(page: Page) -> bool:
    return count_painted(page, PIN) > 50

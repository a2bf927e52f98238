"""Pen, touch and keys alone, neighbours' masks, and several people: what a hand does is what is drawn."""

from __future__ import annotations

import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from app.names import UNLABELLED
from benchmarks.drawing_trace import draw_trace, make_slice
from tests.web.axe import serious_violations
from tests.web.conftest import Site, Window
from tests.web.gestures import Point, draw, labelled_pixels, middle, open_slice, pen_stroke, set_zoom, stored_mask

pytestmark = pytest.mark.browser

OPENED_IN_TIME_MS = 100


@pytest.fixture(scope="module")
def proposed(site: Site) -> str:
    """A project all of whose train slices are proposed and wait for people; gives its slug."""
    slug = site.make_project(budgets=[100], auto_train=False)
    job = site.client.post(f"/v1/projects/{slug}/rounds")["job_id"]
    site.client.wait_for_job(job, lambda *_: None)
    return slug


@pytest.fixture
def devtools(context: BrowserContext, page: Page) -> CDPSession:
    """What sends pens and fingers: they come through the browser's own input, as real ones do."""
    return context.new_cdp_session(page)


def test_a_pen_s_pressure_widens_the_brush(page: Page, site: Site, devtools: CDPSession) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    page.keyboard.press("b")
    x, y = middle(page)
    widths = []
    for row, force in ((-100, 0.25), (0, 0.5), (100, 1.0)):
        pen_stroke(devtools, (x, y + row), force)
        page.keyboard.press("Control+s")
        labelled = 48 * 48 - int(page.locator("#count-unlabelled").inner_text())
        widths.append(labelled - sum(widths))
    assert 1.5 * widths[0] < widths[1] < 0.7 * widths[2]


def test_two_fingers_zoom_and_move_and_what_the_first_one_drew_is_taken_back(
    page: Page, site: Site, devtools: CDPSession
) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    set_zoom(page, 4)
    x, y = middle(page)
    _touch(devtools, "touchStart", [(x, y)])
    _touch(devtools, "touchMove", [(x + 40, y)])
    _touch(devtools, "touchStart", [(x + 40, y), (x + 140, y)])
    _touch(devtools, "touchMove", [(x - 10, y), (x + 190, y)])
    _touch(devtools, "touchEnd", [(x - 10, y)])
    _touch(devtools, "touchMove", [(x - 138, y)])
    _touch(devtools, "touchEnd", [])
    expect(page.locator("#zoom")).to_have_value("8")
    expect(page.locator("#count-unlabelled")).to_have_text(str(48 * 48))
    _touch(devtools, "touchStart", [(x, y)])
    _touch(devtools, "touchMove", [(x + 40, y)])
    _touch(devtools, "touchEnd", [])
    expect(page.locator("#count-unlabelled")).to_have_text(str(48 * 48 - 6))


def test_keys_are_changed_in_their_list_and_stay_changed(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    page.keyboard.press("?")
    page.get_by_role("button", name="Change the key of: brush", exact=True).click()
    page.keyboard.press("p")
    expect(page.locator("#help-said")).to_contain_text("P is already: scribble pen")
    page.get_by_role("button", name="Change the key of: brush", exact=True).click()
    page.keyboard.press("x")
    expect(page.locator("#help-said")).to_have_text("X is now: brush.")
    page.get_by_role("button", name="Close", exact=True).click()
    page.reload()
    expect(page.locator("#submit")).to_be_enabled()
    page.keyboard.press("b")
    expect(page.locator("#tool-brush")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("x")
    expect(page.locator("#tool-brush")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("?")
    page.get_by_role("button", name="All keys as shipped").click()
    page.keyboard.press("Escape")
    page.keyboard.press("p")
    page.keyboard.press("b")
    expect(page.locator("#tool-brush")).to_have_attribute("aria-pressed", "true")


def test_the_mask_of_the_slice_beside_is_copied_over_this_one_and_can_be_undone(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    siblings = site.client.get(f"/v1/volumes/{slice_['volume_id']}/slices")["items"]
    beside = siblings[slice_["index"] + 1]
    mask = bytes([2, 2, 2]) + bytes([UNLABELLED]) * (48 * 48 - 3)
    headers = {"If-Match": '"0"'}
    path = f"/v1/slices/{beside['id']}/annotations?kind=scribble&annotator=other"
    assert site.client._http.post(path, content=mask, headers=headers).status_code == 201
    open_slice(page, slug, slice_["id"])
    page.keyboard.press("c")
    expect(page.locator("#message")).to_contain_text(f"Copied from slice {beside['index'] + 1}")
    expect(page.locator("#count-2")).to_have_text("3")
    page.keyboard.press("Control+z")
    expect(page.locator("#count-unlabelled")).to_have_text(str(48 * 48))


def test_a_slice_is_annotated_and_the_next_one_opened_with_the_keyboard_alone(
    page: Page, site: Site, proposed: str
) -> None:
    page.goto(f"/annotate.html?project={proposed}")
    expect(page.locator("#submit")).to_be_enabled()
    first = _shown_slice(site, page, proposed)
    for key in ("2", "Shift+ArrowRight", "d", *["Shift+ArrowRight"] * 3, "Control+Shift+ArrowDown", "d"):
        page.keyboard.press(key)
    expect(page.locator("#count-2")).to_have_text("14")
    for key in ("Control+z", "Control+Shift+Z", "f", "Control+Shift+ArrowUp", "Shift+ArrowUp", "3", "d"):
        page.keyboard.press(key)  # fill everything outside of the angle
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    mask = stored_mask(site.client, first)
    assert labelled_pixels(mask) == {(row, column) for row in range(48) for column in range(48)}
    expected = np.full((48, 48), 3)
    expected[24, 24:28] = expected[24:35, 27] = 2
    assert np.array_equal(mask, expected)
    expect(page.locator("#slice-name")).not_to_be_empty()
    assert _shown_slice(site, page, proposed)["id"] != first["id"]


def test_the_next_slice_is_there_at_once(page: Page, site: Site, proposed: str) -> None:
    page.goto(f"/annotate.html?project={proposed}")
    expect(page.locator("#submit")).to_be_enabled()
    page.wait_for_load_state("networkidle")
    took = []
    for _ in range(5):
        x, y = middle(page)
        draw(page, [(x, y), (x + 30, y)])
        page.evaluate(
            """() => {
              const name = document.getElementById("slice-name");
              let start;
              document.addEventListener("keydown", (event) => (start = event.timeStamp), { capture: true, once: true });
              window.took = new Promise((done) => new MutationObserver((_, watch) => {
                watch.disconnect();
                requestAnimationFrame(() => setTimeout(() => done(performance.now() - start)));
              }).observe(name, { childList: true, characterData: true, subtree: true }));
            }"""
        )
        page.keyboard.press("Control+Enter")
        took.append(page.evaluate("() => window.took"))
        page.wait_for_load_state("networkidle")
    assert min(took) < OPENED_IN_TIME_MS, took  # the best of five: other processes of the machine are not the page


def test_two_people_in_two_browsers_never_see_the_same_slice(browser: Browser, site: Site, proposed: str) -> None:
    contexts = [browser.new_context(base_url=site.url, viewport={"width": 1440, "height": 900}) for _ in range(2)]
    seen: list[list[str]] = [[], []]
    pages = []
    for name, context in zip(("anna", "ben"), contexts, strict=True):
        context.add_init_script(f"localStorage.setItem('nextslice:annotator', '{name}')")
        pages.append(context.new_page())
        pages[-1].goto(f"/annotate.html?project={proposed}")
    for _ in range(2):
        for page, own in zip(pages, seen, strict=True):
            expect(page.locator("#submit")).to_be_enabled()
            expect(page.locator("#slice-name")).not_to_have_text(own[-1] if own else "")
            own.append(page.locator("#slice-name").inner_text())
            x, y = middle(page)
            draw(page, [(x, y), (x + 30, y)])
            page.keyboard.press("Control+Enter")
    for context in contexts:
        context.close()
    assert len({*seen[0], *seen[1]}) == 4


def test_a_second_tab_looks_on_until_it_takes_the_slice_over(
    context: BrowserContext, window: Window, site: Site
) -> None:
    slug, slice_ = site.make_slice()
    first, second = window.page, context.new_page()
    open_slice(first, slug, slice_["id"])
    x, y = middle(first)
    drawn = draw(first, [(x, y), (x + 60, y)])
    second.goto(f"/annotate.html?project={slug}&slice={slice_['id']}")
    expect(second.get_by_role("alert")).to_contain_text("open in another tab")
    draw(second, [(x, y + 50), (x + 60, y + 50)])
    expect(second.locator("#submit")).to_be_disabled()
    second.get_by_role("button", name="Draw here instead").click()
    expect(second.locator("#submit")).to_be_enabled()
    expect(first.locator("#submit")).to_be_disabled()
    more = draw(second, [(x, y + 50), (x + 60, y + 50)])
    second.keyboard.press("Control+Enter")
    expect(second.locator("#kept")).to_have_text("Submitted.")
    assert labelled_pixels(stored_mask(site.client, slice_)) >= drawn | more


def test_every_pointer_event_of_a_drawing_trace_is_in_the_stored_mask(page: Page, site: Site, tmp_path: object) -> None:
    trace = draw_trace(page, site.client._http, *make_slice(site.client._http, tmp_path), seconds=3)  # type: ignore[arg-type]
    assert trace.missing == 0
    assert trace.events > 20


def test_a_draft_follows_its_author_to_another_browser(browser: Browser, page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    drawn = draw(page, [(x, y), (x + 60, y)])
    expect(page.locator("#kept")).to_have_text("Draft saved")
    elsewhere = browser.new_context(base_url=site.url, viewport={"width": 1440, "height": 900})
    other = elsewhere.new_page()
    open_slice(other, slug, slice_["id"])
    expect(other.locator("#kept")).to_have_text("Your unfinished strokes are back.")
    expect(other.locator("#count-unlabelled")).to_have_text(page.locator("#count-unlabelled").inner_text())
    more = draw(other, [(x, y + 60), (x + 60, y + 60)])
    other.keyboard.press("Control+Enter")
    expect(other.locator("#kept")).to_have_text("Submitted.")
    elsewhere.close()
    assert labelled_pixels(stored_mask(site.client, slice_)) >= drawn | more
    assert site.client._http.get(f"/v1/slices/{slice_['id']}/draft").status_code == 204


def test_a_draft_from_before_somebody_s_version_is_kept_until_its_author_chooses(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    drawn = draw(page, [(x, y), (x + 60, y)])
    expect(page.locator("#kept")).to_have_text("Draft saved")
    path, mask = f"/v1/slices/{slice_['id']}", np.zeros(slice_["shape"], np.uint8)
    site.client._http.post(
        f"{path}/annotations",
        params={"kind": "scribble", "annotator": "mary"},
        content=mask.tobytes(),
        headers={"If-Match": '"0"'},
    ).raise_for_status()
    before = site.client._http.get(f"{path}/draft")
    assert before.headers["x-base-version"] == "0"
    open_slice(page, slug, slice_["id"])
    expect(page.locator("#message")).to_contain_text("You have a draft of this slice from before")
    more = draw(page, [(x, y + 60), (x + 60, y + 60)])
    page.keyboard.press("Control+Enter")
    page.wait_for_timeout(2500)  # longer than drafts wait to be saved
    assert site.client._http.get(f"{path}/draft").headers["etag"] == before.headers["etag"]
    page.get_by_role("button", name="Take my draft").click()
    expect(page.locator("#kept")).to_have_text("Draft saved")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    stored = labelled_pixels(stored_mask(site.client, slice_))
    assert stored >= drawn
    assert not stored & more


def test_a_slice_is_skipped_with_a_reason_and_does_not_come_again(page: Page, site: Site, proposed: str) -> None:
    page.goto(f"/annotate.html?project={proposed}")
    expect(page.locator("#skip-slice")).to_be_enabled()
    skipped = page.locator("#slice-name").inner_text()
    page.keyboard.press("Control+Shift+Enter")
    page.get_by_role("radio", name="The image is damaged").check()
    assert serious_violations(page) == []
    page.get_by_role("button", name="Skip it").click()
    expect(page.locator("#slice-name")).not_to_have_text(skipped)
    page.reload()
    expect(page.locator("#submit")).to_be_enabled()
    expect(page.locator("#slice-name")).not_to_have_text(skipped)


def _touch(devtools: CDPSession, kind: str, fingers: list[Point]) -> None:
    points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(fingers)]
    devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def _shown_slice(site: Site, page: Page, slug: str) -> dict[str, object]:
    shown = page.locator("#slice-name").inner_text()
    for round_ in site.client.get(f"/v1/projects/{slug}/rounds")["items"]:
        for pick in site.client.get(f"/v1/rounds/{round_['id']}/picks")["items"]:
            found = site.client.get(f"/v1/slices/{pick['slice_id']}")
            if shown == f"{found['patient']}, {found['volume']}, slice {found['index'] + 1} of {found['depth']}":
                return found  # type: ignore[no-any-return]
    raise AssertionError(shown)

"""The annotation page in a real browser: what is drawn is what is stored, and nothing drawn is lost."""

from __future__ import annotations

import re

import httpx
import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Page, expect

from app.names import UNLABELLED
from tests.web.conftest import Site, Window
from tests.web.gestures import (
    arc,
    class_colour,
    count_painted,
    draw,
    labelled_pixels,
    middle,
    open_slice,
    pixel_under,
    screen_colours,
    set_zoom,
    stored_mask,
)

pytestmark = pytest.mark.browser


@pytest.mark.parametrize(
    ("zoom", "flat", "radius", "steps"),
    [(1.0, False, 14, 68), (3.7, False, 50, 72), (3.7, True, 34, 50)],
    ids=["zoom 1", "zoom 3.7", "zoom 3.7, pixels twice as high as wide"],
)
def test_a_scribble_is_stored_pixel_for_pixel_as_it_was_drawn_and_shown(
    page: Page, site: Site, zoom: float, flat: bool, radius: float, steps: int
) -> None:
    slug, slice_ = site.make_slice(flat=flat)
    open_slice(page, slug, slice_["id"])
    set_zoom(page, zoom)
    page.locator("#opacity").fill("100")
    page.locator("#canvas").focus()
    page.keyboard.press("2")
    points = arc(middle(page), radius, steps)
    touched = draw(page, points)
    page.mouse.move(0, 0)
    colour = class_colour(site.client, slug, 2)
    # Where the middle of a screen pixel lies exactly between two mask pixels, either of them may be painted there.
    assert all(
        colour in screen_colours(page, [(px + dx, py + dy) for dx in (0, 1) for dy in (0, 1)]) for px, py in points
    )
    aspect = 2 if flat else 1
    area = len(touched) * zoom * zoom * aspect
    assert count_painted(page, colour) == pytest.approx(area, rel=0.03)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    mask = stored_mask(site.client, slice_)
    assert labelled_pixels(mask) == touched
    assert set(np.unique(mask)) == {2, UNLABELLED}


def test_a_pixel_is_as_large_on_the_screen_as_its_spacing_says(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice(flat=True)
    open_slice(page, slug, slice_["id"])
    set_zoom(page, 3.7)
    x, y = middle(page)
    row, column = pixel_under(page, (x, y))
    assert pixel_under(page, (x + 37, y)) == (row, column + 10)
    assert pixel_under(page, (x, y + 37)) == (row + 5, column)
    page.keyboard.down("Control")
    page.mouse.move(x + 20, y + 20)
    before = pixel_under(page, (x + 20, y + 20))
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    assert pixel_under(page, (x + 20, y + 20)) == before
    assert float(page.locator("#zoom").input_value()) > 6


def test_undo_redo_and_a_reload_in_the_middle_of_a_stroke_keep_every_pixel(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    first = draw(page, [(x - 60 + step, y) for step in range(0, 120, 4)])
    second = draw(page, [(x, y - 90 + step) for step in range(0, 60, 4)])
    count = page.locator("#count-unlabelled")
    everything = 48 * 48
    expect(count).to_have_text(str(everything - len(first | second)))
    page.keyboard.press("Control+z")
    expect(count).to_have_text(str(everything - len(first)))
    page.keyboard.press("Control+z")
    expect(count).to_have_text(str(everything))
    page.keyboard.press("Control+Shift+Z")
    page.keyboard.press("Control+y")
    expect(count).to_have_text(str(everything - len(first | second)))
    page.mouse.move(x - 60, y + 60)
    page.mouse.down()
    third = {pixel_under(page, (x - 60 + step, y + 60)) for step in range(0, 40, 4)}
    page.reload()  # the button is still down
    expect(page.locator("#kept")).to_have_text("Your unfinished strokes are back.")
    expect(count).to_have_text(str(everything - len(first | second | third)))
    page.mouse.up()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    assert labelled_pixels(stored_mask(site.client, slice_)) == first | second | third


def test_a_mask_that_could_not_be_sent_is_kept_over_a_reload_and_sent_later(
    window: Window, context: BrowserContext, site: Site
) -> None:
    page, address = window.page, re.compile(r"/annotations\?")
    window.accepted = ("Failed to load resource",)
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    context.route(address, lambda route: route.abort())
    x, y = middle(page)
    touched = draw(page, [(x + step, y) for step in range(0, 60, 4)])
    page.keyboard.press("Control+Enter")
    expect(page.locator("#unsent")).to_have_text("1 mask waits for the connection")
    assert site.client.get(f"/v1/slices/{slice_['id']}")["annotation"] == "0"
    page.reload()
    expect(page.locator("#unsent")).to_be_visible()
    context.unroute(address)
    expect(page.locator("#unsent")).to_be_hidden()
    assert labelled_pixels(stored_mask(site.client, slice_)) == touched


def test_when_somebody_was_faster_nothing_is_overwritten_unless_the_person_says_so(window: Window, site: Site) -> None:
    page = window.page
    window.accepted = ("412",)
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    mine = draw(page, [(x + step, y) for step in range(0, 60, 4)])
    theirs = bytes([1]) + bytes([UNLABELLED]) * (48 * 48 - 1)
    path = f"/v1/slices/{slice_['id']}/annotations?kind=scribble&annotator=other"
    assert site.client._http.post(path, content=theirs, headers={"If-Match": '"0"'}).status_code == 201
    page.keyboard.press("Control+Enter")
    expect(page.locator("#message")).to_contain_text("Somebody annotated this slice while you did.")
    assert labelled_pixels(stored_mask(site.client, slice_)) == {(0, 0)}
    page.get_by_role("button", name="Open mine on top of theirs").click()
    expect(page.locator("#submit")).to_have_text("Submit new version")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    assert labelled_pixels(stored_mask(site.client, slice_)) == mine
    assert len(site.client.get(f"/v1/slices/{slice_['id']}/annotations")["items"]) == 2


def test_when_the_classes_were_changed_the_mask_is_kept_and_the_new_ones_are_shown(window: Window, site: Site) -> None:
    page = window.page
    window.accepted = ("422",)
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    mine = draw(page, [(x + step, y) for step in range(0, 60, 4)])
    classes = site.client.get(f"/v1/projects/{slug}")["label_schema"]
    more = {"label_schema": [*classes, {"value": 9, "name": "scar", "color": "#aa3377"}]}
    changed = httpx.patch(f"{site.url}/v1/projects/{slug}", json=more, headers={"If-Match": "*"})
    assert changed.status_code == 200
    page.keyboard.press("Control+Enter")
    expect(page.locator("#message")).to_contain_text("The classes of this project were changed meanwhile.")
    page.get_by_role("button", name="Show the classes").click()
    expect(page.get_by_text("scar").first).to_be_visible()
    expect(page.locator("#submit")).to_be_enabled()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    assert labelled_pixels(stored_mask(site.client, slice_)) == mine


def test_whole_masks_are_wanted_and_unlabelled_becomes_background_only_by_word(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice(supervision="full")
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    page.keyboard.press("b")
    page.keyboard.press("1")
    painted = draw(page, [(x, y), (x + 40, y)])
    page.keyboard.press("Control+Enter")
    expect(page.get_by_role("alert")).to_contain_text("pixels are unlabelled")
    assert site.client.get(f"/v1/slices/{slice_['id']}")["annotation"] == "0"
    page.keyboard.press("r")
    expect(page.locator("#count-unlabelled")).to_have_text("0")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    mask = stored_mask(site.client, slice_)
    assert set(np.unique(mask)) == {0, 1}
    assert all(mask[pixel] == 1 for pixel in painted)


def test_neighbours_are_read_only_and_background_looks_unlike_unlabelled(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    plain = screen_colours(page, [(x, y)])
    page.keyboard.press("0")
    draw(page, [(x, y), (x + 4, y)])
    page.mouse.move(0, 0)
    assert screen_colours(page, [(x, y)]) != plain
    page.mouse.move(x, y)
    page.mouse.wheel(0, 100)
    expect(page.locator("#position")).to_have_text("Slice 3 / 4")
    expect(page.locator("#read-only")).to_be_visible()
    draw(page, [(x, y + 50), (x + 50, y + 50)])
    page.keyboard.press("Escape")
    expect(page.locator("#position")).to_have_text("Slice 2 / 4")
    drawn = 48 * 48 - int(page.locator("#count-unlabelled").inner_text())
    assert drawn == int(page.locator("#count-0").inner_text()) <= 2


def test_every_control_has_a_name_and_the_keys_are_listed_on_a_question_mark(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    page.locator("#canvas").focus()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys and gestures")).to_contain_text("Ctrl+Enter")
    page.keyboard.press("Escape")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, input, select, a[href], canvas")]
          .filter((each) => !(each.getAttribute("aria-label") || each.labels?.length || each.textContent.trim()))
          .map((each) => each.outerHTML)"""
    )
    assert nameless == []
    expect(page.get_by_role("button", name="Scribble pen, 1 pixel")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Scribble pen, 1 pixel").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Brush", exact=True)).to_have_attribute("aria-pressed", "true")

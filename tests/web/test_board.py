"""The board in a real browser: a round from its start to a point of the curve."""

from __future__ import annotations

import re
from pathlib import Path

import httpx
import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Page, expect

from tests.web.axe import serious_violations
from tests.web.conftest import Site, Window
from tests.web.gestures import draw, labelled_pixels, middle, open_slice, stored_mask

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
    expect(page.locator("#time")).to_contain_text("spent on 1 slice")
    expect(page.locator("#losses figure").first).to_be_visible()
    expect(page.locator("#worst tbody tr").first).to_be_visible()
    assert serious_violations(page) == []
    _look_at_the_other_views(page, site, slug, first["id"])


def _look_at_the_other_views(page: Page, site: Site, slug: str, annotated: str) -> None:
    page.get_by_role("link", name="Coverage").click()
    page.get_by_role("button", name="Make the map").click()
    expect(page.locator("#map-facts")).to_contain_text("their pixels (no encoder is trained)", timeout=TRAINING_MS)
    expect(page.locator("#map-legend")).to_contain_text("annotated (3)")
    train = site.client.get(f"/v1/projects/{slug}")["slices"]["train"]
    points = site.client.get(f"/v1/projects/{slug}/coverage")["slices"]
    assert len(points) == train
    assert serious_violations(page) == []
    page.get_by_role("link", name="People").click()
    expect(page.locator("#pace")).to_contain_text("local")
    page.get_by_role("link", name="Models").click()
    expect(page.locator("#versions")).to_contain_text("in use")
    page.get_by_role("button", name="Always use the newest").click()
    expect(page.locator("#promotions")).to_contain_text("local chose always the newest")
    assert serious_violations(page) == []
    page.get_by_role("link", name="Coverage").click()
    expect(page.locator("#map")).to_be_visible()
    place = next(each for each in points if each["slice_id"] == annotated)
    box = page.locator("#map").bounding_box()
    assert box is not None
    margin = 18
    x = box["x"] + margin + place["x"] * (box["width"] - 2 * margin)
    y = box["y"] + margin + (1 - place["y"]) * (box["height"] - 2 * margin)
    page.mouse.click(x, y)
    page.wait_for_url(f"**/annotate.html?project={slug}&slice={annotated}")


def test_files_are_imported_on_the_board_and_a_bad_one_says_why(window: Window, site: Site, tmp_path: Path) -> None:
    slug, _ = site.make_slice()
    bad = tmp_path / "p9_notes.txt"
    bad.write_text("no image")
    window.page.goto(f"/#/{slug}/data")
    window.page.locator("#import-files").set_input_files([site.flat, bad])
    window.page.get_by_role("button", name="Import", exact=True).click()
    expect(window.page.locator("#import-said")).to_have_text("2 files done.", timeout=TRAINING_MS)
    expect(window.page.locator("#import-report")).to_contain_text("flat.nii.gz: 1 volume taken in")
    expect(window.page.locator("#import-report .state-failed").first).to_contain_text("p9_notes.txt")
    expect(window.page.locator("#volumes tbody tr")).to_have_count(2)


def test_a_file_that_tells_no_axis_is_asked_about_and_taken_in(window: Window, site: Site, tmp_path: Path) -> None:
    slug, _ = site.make_slice()
    nib.save(nib.Nifti1Image(np.zeros((7, 8, 9), np.int16), np.eye(4)), tmp_path / "cube.nii")
    window.page.goto(f"/#/{slug}/data")
    window.page.locator("#import-files").set_input_files([tmp_path / "cube.nii"])
    window.page.get_by_role("button", name="Import", exact=True).click()
    question = window.page.locator("#import-report").get_by_text("7 × 8 × 9 voxels of 1 × 1 × 1 mm")
    expect(question).to_be_visible(timeout=TRAINING_MS)
    assert serious_violations(window.page) == []
    window.page.get_by_role("button", name="8 coronal").click()
    expect(question).to_have_count(0, timeout=TRAINING_MS)
    expect(window.page.locator("#volumes")).to_contain_text("8 × 9 × 7")


def test_an_export_is_made_and_can_be_downloaded(page: Page, site: Site) -> None:
    slug, slice_ = site.make_slice()
    open_slice(page, slug, slice_["id"])
    x, y = middle(page)
    draw(page, [(x, y), (x + 30, y)])
    page.keyboard.press("Control+Enter")
    expect(page.locator("#kept")).to_have_text("Submitted.")
    page.goto(f"/#/{slug}")
    page.get_by_role("button", name="Export").click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download the export").click()
    assert download.value.path().read_bytes().startswith(b"PK")


def test_settings_are_changed_and_what_is_typed_outlives_the_board_s_looks(window: Window, site: Site) -> None:
    window.accepted = ("412",)
    page, slug = window.page, site.make_project(budgets=[20])
    page.goto(f"/#/{slug}/settings")
    budgets = page.get_by_label("Budgets, percent of the train slices")
    expect(budgets).to_have_value("20")
    budgets.fill("20, 40, 60.5")
    page.get_by_role("button", name="Add a class").click()
    page.keyboard.type("scar")
    with page.expect_response(re.compile(r"/rounds\?")):
        pass  # the board looked again
    expect(budgets).to_have_value("20, 40, 60.5")
    page.get_by_label("open the next round when one closes").check()
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#settings-said")).to_have_text("Saved.")
    project = site.client.get(f"/v1/projects/{slug}")
    assert (project["budgets"], project["auto_propose"], project["schema_version"]) == ([20, 40, 60.5], True, 2)
    assert project["label_schema"][-1]["name"] == "scar"
    expect(page.locator("#classes tbody tr")).to_have_count(len(project["label_schema"]))
    assert serious_violations(page) == []
    page.get_by_label("Name", exact=True).fill("Mine")
    theirs = httpx.patch(f"{site.url}/v1/projects/{slug}", json={"name": "Theirs"}, headers={"If-Match": "*"})
    assert theirs.status_code == 200
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("alert")).to_contain_text("changed meanwhile")
    expect(page.get_by_label("Name", exact=True)).to_have_value("Mine")
    page.get_by_role("button", name="As stored").click()
    expect(page.get_by_label("Name", exact=True)).to_have_value("Theirs")


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

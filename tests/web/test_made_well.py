"""Small, strict and reachable: what the pages weigh, where they ask, and what axe-core says of every screen."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from playwright.sync_api import Page, Request, expect

from app.api.security import CONTENT_SECURITY_POLICY
from tests.web.axe import serious_violations
from tests.web.conftest import Site
from tests.web.gestures import open_slice

pytestmark = pytest.mark.browser

WEB = Path(__file__).parents[2] / "app" / "web"
FIRST_VIEW_BYTES = 300_000
WIDTHS = (1280, 1920, 3840)


def test_everything_that_both_pages_could_ever_load_is_under_the_first_view_s_limit() -> None:
    files = [path for path in WEB.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert sum(len(gzip.compress(path.read_bytes(), mtime=0)) for path in files) < FIRST_VIEW_BYTES


def test_pages_ask_no_other_host_and_run_nothing_inline(page: Page, site: Site) -> None:
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(request.url)

    page.on("request", note)
    slug, slice_ = site.make_slice()
    answer = page.goto(f"/#/{slug}")
    assert answer is not None
    assert answer.headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    expect(page.locator("#name")).to_have_text("Phantoms")
    open_slice(page, slug, slice_["id"])
    assert asked
    assert all(url.startswith(site.url) for url in asked)


def test_the_documentation_of_the_api_comes_from_this_service_alone(page: Page, site: Site) -> None:
    asked: list[str] = []
    broken: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.goto(f"{site.url}/docs")
    page.get_by_text("/v1/projects/{project}/leases", exact=True).first.wait_for()
    assert all(url.startswith((site.url, "data:")) for url in asked)
    assert broken == []


@pytest.mark.parametrize("view", ["rounds", "coverage", "models", "people", "data", "exports", "settings", "audit"])
def test_axe_finds_nothing_serious_on_the_board(page: Page, site: Site, view: str, one_slice: tuple[str, str]) -> None:
    page.goto(f"/#/{one_slice[0]}/{view}")
    expect(page.locator(f"[data-view={view}]")).to_be_visible()
    assert serious_violations(page) == []


def test_axe_finds_nothing_serious_on_the_annotation_page_and_its_list_of_keys(
    page: Page, one_slice: tuple[str, str]
) -> None:
    open_slice(page, *one_slice)
    assert serious_violations(page) == []
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    assert serious_violations(page) == []


def test_nothing_is_cut_off_or_overlaps_from_small_to_very_large_screens(
    page: Page, one_slice: tuple[str, str]
) -> None:
    board = f"/#/{one_slice[0]}"
    for path in (f"{board}/rounds", f"{board}/settings", f"/annotate.html?project={one_slice[0]}&slice={one_slice[1]}"):
        page.goto(path)
        page.locator("#submit:enabled, #name:not(:empty)").first.wait_for()
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": width * 9 // 16})
            overflowing = page.evaluate(
                """() => [...document.querySelectorAll("body *")].filter((each) => {
                  const { left, right, width } = each.getBoundingClientRect();
                  const scrolls = each.closest(".scroll");
                  return width && !scrolls && (left < -1 || right > document.documentElement.clientWidth + 1);
                }).map((each) => each.outerHTML.slice(0, 90))"""
            )
            assert overflowing == [], width


@pytest.fixture(scope="module")
def one_slice(site: Site) -> tuple[str, str]:
    """A project with one volume, and one of its slices."""
    slug, slice_ = site.make_slice()
    return slug, slice_["id"]

"""A running service with small phantoms, and a real browser in front of it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Error, Page, Route, sync_playwright

from app.api.security import CONTENT_SECURITY_POLICY
from app.client import Client, connect, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.datasets.records import DatasetListing
from app.embedded import running_service
from app.settings import Settings

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
WAIT_MS = 15_000
FLAT_SPACING_MM = (1.0, 2.0)  # columns, rows: a pixel twice as high as it is wide


@dataclass
class Site:
    """The service and its small data set."""

    url: str
    client: Client
    listing: DatasetListing
    flat: Path  # one volume whose pixels are twice as high as wide

    def make_project(self, supervision: str = "scribble", **fields: Any) -> str:
        """A project of its own with every phantom in it; gives its slug."""
        slug = self._create(supervision, **fields)
        self._fill(slug, self.listing)
        return slug

    def make_slice(self, *, flat: bool = False, supervision: str = "scribble") -> tuple[str, dict[str, Any]]:
        """A project of its own with one volume in it; gives its slug and a slice of the volume."""
        slug = self._create(supervision)
        source = self.listing.volumes[0]
        if flat:
            source = replace(source, image=self.flat, full_mask=None, scribble_mask=None)
        (volume,) = self._fill(slug, replace(self.listing, volumes=(source,)))
        return slug, self.client.get(f"/v1/volumes/{volume['id']}/slices")["items"][1]

    def _fill(self, slug: str, listing: DatasetListing) -> list[dict[str, Any]]:
        import_listing(self.client, slug, listing, lambda *_: None)
        volumes = list(self.client.items(f"/v1/projects/{slug}/volumes"))
        assert len(volumes) == len(listing.volumes)
        return volumes

    def _create(self, supervision: str, **fields: Any) -> str:
        slug = f"p-{uuid.uuid4().hex[:8]}"
        draft = {
            "slug": slug,
            "name": "Phantoms",
            "label_schema": label_schema_of(self.listing),
            "supervision": supervision,
            "strategy": "random",
            "budgets": [20, 50],
            "preset": "tiny",
        }
        self.client.post("/v1/projects", draft | fields)
        return slug


@dataclass
class Window:
    """A page, and what its console said that was an error."""

    page: Page
    errors: list[str] = field(default_factory=list)
    accepted: tuple[str, ...] = ()  # parts of messages that a test provokes

    def note(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.errors.append(message.text)

    def note_exception(self, error: Error) -> None:
        self.errors.append(str(error))

    @property
    def unexpected(self) -> list[str]:
        return [each for each in self.errors if not any(part in each for part in self.accepted)]


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """The system's Chromium; skips where there is none.

    Not for the whole session: Playwright keeps an event loop running, and other tests start their own.
    """
    if not CHROMIUM.exists():
        pytest.skip(f"no Chromium at {CHROMIUM}")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="package")
def site(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The whole service with its workers, once for all tests of this folder."""
    home = tmp_path_factory.mktemp("site")
    config = PhantomConfig(patients=4, slices=4, height=48, width=48)
    listing = list_phantoms(home / "phantoms", config=config)
    with running_service(Settings(home=home / "service", port=0)) as url, connect(url) as client:
        yield Site(url, client, listing, _write_flat(home / "flat.nii.gz"))


@pytest.fixture
def context(browser: Browser, site: Site) -> Iterator[BrowserContext]:
    """A fresh browser profile; every page is held to the strict policy."""
    opened = browser.new_context(base_url=site.url, viewport={"width": 1440, "height": 900})
    opened.set_default_timeout(WAIT_MS)

    def protect(route: Route) -> None:
        answer = route.fetch()
        route.fulfill(response=answer, headers=answer.headers | {"content-security-policy": CONTENT_SECURITY_POLICY})

    opened.route(lambda url: url.split("?")[0].endswith((".html", "/")), protect)
    yield opened
    opened.close()


@pytest.fixture
def window(context: BrowserContext) -> Iterator[Window]:
    """A page that must not say a word on its console."""
    watched = Window(context.new_page())
    watched.page.on("console", watched.note)
    watched.page.on("pageerror", watched.note_exception)
    yield watched
    assert watched.unexpected == []


@pytest.fixture
def page(window: Window) -> Page:
    """The page of the window."""
    return window.page


def _write_flat(path: Path) -> Path:
    ramp = np.arange(40 * 24 * 3, dtype=np.int16).reshape(40, 24, 3)
    image = nib.Nifti1Image(ramp, np.diag([*FLAT_SPACING_MM, 8.0, 1.0]))
    nib.save(image, path)
    return path

"""A service killed and started again under somebody who draws: nothing is lost, and nobody has to do anything."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from playwright.sync_api import Browser, expect

from app.names import UNLABELLED
from benchmarks.drawing_trace import make_slice
from tests.web.gestures import draw, labelled_pixels, middle, open_slice

pytestmark = pytest.mark.browser

START_S = 60.0


class Service:
    """The service as a process of its own, on one port for all its lives."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._home = home
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        program = [sys.executable, "-c", "from app.cli import main; main()"]
        places = ["--home", str(self._home), "--port", str(self.port)]
        self._process = subprocess.Popen(
            [*program, "up", "--no-workers", "--no-demo", *places],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=os.environ | {"NEXTSLICE_DATABASE_URL": "", "NEXTSLICE_BROKER_URL": ""},
        )
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                httpx.get(f"{self.url}/healthz")
            except httpx.TransportError:
                time.sleep(0.1)
            else:
                return
        raise TimeoutError(self.url)

    def kill(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    started = Service(tmp_path / "home")
    started.start()
    yield started
    started.kill()


def test_a_service_killed_and_restarted_in_the_middle_of_a_stroke_loses_nothing(
    browser: Browser, service: Service, tmp_path: Path
) -> None:
    with httpx.Client(base_url=service.url) as client:
        slug, slice_ = make_slice(client, tmp_path)
        context = browser.new_context(base_url=service.url, viewport={"width": 1440, "height": 900})
        page = context.new_page()
        open_slice(page, slug, slice_["id"])
        x, y = middle(page)
        drawn = draw(page, [(x, y - 60), (x + 50, y - 60)])
        page.mouse.move(x, y)
        page.mouse.down()
        page.mouse.move(x + 40, y)
        service.kill()
        page.mouse.move(x + 80, y)
        page.mouse.up()
        drawn |= draw(page, [(x, y + 60), (x + 50, y + 60)])
        page.keyboard.press("Control+Enter")
        expect(page.locator("#unsent")).to_have_text("1 mask waits for the connection")
        service.start()
        expect(page.locator("#unsent")).to_be_hidden(timeout=20_000)
        answer = client.get(f"/v1/slices/{slice_['id']}/annotation")
        context.close()
    mask = np.frombuffer(answer.content, np.uint8).reshape(slice_["shape"])
    assert labelled_pixels(mask) >= drawn
    assert (mask != UNLABELLED).sum() > len(drawn) + 30  # the stroke during which it was killed

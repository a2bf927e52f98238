"""A minute of drawing in a real browser: event to paint, slow frames, and whether every pointer event was stored.

    python benchmarks/drawing_trace.py --seconds 60

A 1440x900 window of headless Chromium without a GPU draws on a slice of 512x512: strokes of the pen and of a brush of
12 pixels in turn. Event to paint is the time from the event's own time stamp (of the oldest of those that one frame
carries) to the end of the frame that shows it, as the page's main thread sees it; a frame is the time between two
animation frames. Afterwards the mask is submitted, and every place at which the browser reported the pointer with its
button down must be labelled in what the service gives back. It needs the development dependencies and a Chromium.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
from playwright.sync_api import Page, sync_playwright

from app.embedded import running_service
from app.log import configure_logging
from app.names import UNLABELLED
from app.settings import Settings

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
VIEWPORT = {"width": 1440, "height": 900}
SIDE = 512
STROKE_POINTS = 40
STEPS = 4  # pointer events from one point of a stroke to the next
SLOW_FRAME_MS = 50.0
LIMIT_MS = 33.0
SLOW_SHARE = 0.01

_WATCH = """() => {
  const canvas = document.getElementById("canvas");
  const watch = (window.watch = { events: [], latencies: [], frames: [], stopped: false });
  const channel = new MessageChannel();
  let waiting = [];
  channel.port1.onmessage = ({ data }) => {
    const now = performance.now();
    for (const stamp of data) watch.latencies.push(now - stamp);
  };
  const note = (event) => {
    if ((event.buttons & 1) === 0) return;
    const all = event.getCoalescedEvents?.() ?? [];
    for (const each of all.length ? all : [event]) watch.events.push([each.clientX, each.clientY]);
    const oldest = Math.min(event.timeStamp, ...all.map((each) => each.timeStamp));
    if (waiting.push(oldest) > 1) return;
    requestAnimationFrame(() => {
      channel.port2.postMessage(waiting); // arrives when this frame has been painted
      waiting = [];
    });
  };
  for (const type of ["pointerdown", "pointermove"]) canvas.addEventListener(type, note, { capture: true });
  let last = null;
  const frame = (now) => {
    if (last !== null) watch.frames.push(now - last);
    last = now;
    if (!watch.stopped) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}"""


@dataclass(frozen=True)
class Trace:
    """What a trace measured; times in milliseconds."""

    seconds: float
    events: int
    p50_ms: float
    p95_ms: float
    max_ms: float
    frames: int
    slow_frames: int
    missing: int  # places of pointer events that are not labelled in the stored mask

    @property
    def holds(self) -> bool:
        """True when the trace is within the limits that the page promises."""
        return self.missing == 0 and self.p95_ms <= LIMIT_MS and self.slow_frames <= SLOW_SHARE * self.frames


def make_slice(client: httpx.Client, folder: Path) -> tuple[str, dict[str, Any]]:
    """A project with one volume of 512x512 slices; gives its slug and a slice."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    plane = 500 + 300 * np.sin(rows / 23) * np.cos(columns / 31)
    path = folder / "wide.nii.gz"
    nib.save(nib.Nifti1Image(np.stack([plane] * 2, axis=-1).astype(np.int16), np.eye(4)), path)
    classes = [("background", "#000000"), ("one", "#e6194b"), ("two", "#3cb44b")]
    schema = [{"value": value, "name": name, "color": color} for value, (name, color) in enumerate(classes)]
    slug = "drawing-trace"
    draft = {"slug": slug, "name": "Drawing", "label_schema": schema, "preset": "tiny"}
    client.post("/v1/projects", json=draft).raise_for_status()
    fields = {"patient": "1", "name": "wide", "split": "train", "axis": "2"}
    volume = client.post(f"/v1/projects/{slug}/volumes", data=fields, files={"image": (path.name, path.read_bytes())})
    slices = client.get(f"/v1/volumes/{volume.raise_for_status().json()['id']}/slices")
    return slug, slices.raise_for_status().json()["items"][0]


def draw_trace(page: Page, client: httpx.Client, slug: str, slice_: dict[str, Any], seconds: float) -> Trace:
    """Draw for so long on an open browser page, submit, and compare."""
    page.goto(f"/annotate.html?project={slug}&slice={slice_['id']}")
    page.locator("#submit:enabled").wait_for()
    page.locator("#size").fill("12")
    page.locator("#canvas").focus()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    page.evaluate(_WATCH)
    started, stroke = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        _draw_stroke(page, box, stroke)
        stroke += 1
    elapsed = time.monotonic() - started
    watched = page.evaluate("() => { window.watch.stopped = true; return window.watch; }")
    view = json.loads(str(page.locator("#canvas").get_attribute("data-view")))
    page.keyboard.press("Control+Enter")
    page.get_by_text("Submitted.").wait_for()
    stored = client.get(f"/v1/slices/{slice_['id']}/annotation").raise_for_status()
    mask = np.frombuffer(stored.content, np.uint8).reshape(slice_["shape"])
    return _summarise(watched, view, mask, elapsed)


def _draw_stroke(page: Page, box: dict[str, float], stroke: int) -> None:
    page.keyboard.press("p" if stroke % 2 == 0 else "b")
    page.keyboard.press(str(1 + stroke % 2))
    x0, y0 = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    reach = min(box["width"], box["height"]) * 0.46
    for point in range(STROKE_POINTS):
        angle = stroke * 0.7 + point * 0.11
        radius = reach * (0.3 + 0.7 * abs(math.sin(stroke * 0.37 + point * 0.05)))
        page.mouse.move(x0 + radius * math.cos(angle), y0 + radius * math.sin(angle), steps=STEPS)
        if point == 0:
            page.mouse.down()
    page.mouse.up()


def _summarise(watched: dict[str, Any], view: dict[str, float], mask: np.ndarray, seconds: float) -> Trace:
    places = np.array(watched["events"]) + 0.5 / view["ratio"]
    columns = np.floor((places[:, 0] - view["x"]) / view["column"]).astype(int)
    rows = np.floor((places[:, 1] - view["y"]) / view["row"]).astype(int)
    inside = (rows >= 0) & (columns >= 0) & (rows < mask.shape[0]) & (columns < mask.shape[1])
    latencies, frames = np.array(watched["latencies"]), np.array(watched["frames"])
    return Trace(
        seconds=round(seconds, 1),
        events=len(places),
        p50_ms=round(float(np.percentile(latencies, 50)), 1),
        p95_ms=round(float(np.percentile(latencies, 95)), 1),
        max_ms=round(float(latencies.max()), 1),
        frames=len(frames),
        slow_frames=int((frames > SLOW_FRAME_MS).sum()),
        missing=int((mask[rows[inside], columns[inside]] == UNLABELLED).sum()),
    )


def main() -> None:
    """Start a service and a browser, draw, print one JSON line; the status is 1 where a limit does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    configure_logging(stream=sys.stderr)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        with running_service(Settings(home=folder / "home", port=0), ()) as url, httpx.Client(base_url=url) as client:
            page = browser.new_context(base_url=url, viewport=VIEWPORT).new_page()
            trace = draw_trace(page, client, *make_slice(client, folder), arguments.seconds)
        browser.close()
    print(json.dumps(asdict(trace)))
    raise SystemExit(0 if trace.holds else 1)


if __name__ == "__main__":
    main()

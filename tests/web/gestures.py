"""What a hand does on the annotation page, and what an eye sees there."""

from __future__ import annotations

import math
import re

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import CDPSession, Page, expect

from app.client import Client
from app.names import UNLABELLED

Point = tuple[float, float]

# Read from a copy: reading the canvas itself would change how the browser paints it.
_NEXT_FRAMES = (
    "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"  # what was set is painted
)
_COPY = """(given) => {
  const canvas = document.getElementById("canvas");
  const copy = document.createElement("canvas");
  [copy.width, copy.height] = [canvas.width, canvas.height];
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
"""


def open_slice(page: Page, slug: str, slice_id: str) -> None:
    """Open one slice by hand."""
    page.goto(f"/annotate.html?project={slug}&slice={slice_id}")
    expect(page.locator("#submit")).to_be_enabled()


def set_zoom(page: Page, zoom: float) -> None:
    """Type a zoom: screen pixels for the smaller side of a slice pixel."""
    page.locator("#zoom").fill(str(zoom))
    page.locator("#zoom").press("Enter")
    page.locator("#canvas").focus()


def middle(page: Page) -> Point:
    """The middle of the canvas on the screen, in whole pixels."""
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return round(box["x"] + box["width"] / 2), round(box["y"] + box["height"] / 2)


def pixel_under(page: Page, point: Point) -> tuple[int, int]:
    """Row and column that the page says are under the pointer."""
    page.mouse.move(*point)
    found = re.match(r"row (\d+), column (\d+)", page.locator("#cursor").inner_text())
    assert found is not None, f"{point} is outside of the slice"
    return int(found[1]), int(found[2])


def draw(page: Page, points: list[Point]) -> set[tuple[int, int]]:
    """Draw along points with the left button; gives the pixels that the pointer was over."""
    touched = {pixel_under(page, points[0])}
    page.mouse.down()
    touched |= {pixel_under(page, point) for point in points[1:]}
    page.mouse.up()
    return touched


def arc(centre: Point, radius: float, steps: int) -> list[Point]:
    """Points of three quarters of a circle, on whole screen pixels."""
    angles = [1.5 * math.pi * step / steps for step in range(steps + 1)]
    return [(round(centre[0] + radius * math.cos(a)), round(centre[1] + radius * math.sin(a))) for a in angles]


def screen_colours(page: Page, points: list[Point]) -> set[tuple[int, int, int]]:
    """The colours that are painted at these places of the canvas."""
    page.evaluate(_NEXT_FRAMES)
    found = page.evaluate(
        _COPY
        + """
          const box = canvas.getBoundingClientRect();
          return given.map(([x, y]) => [...context.getImageData(
            x - Math.round(box.left), y - Math.round(box.top), 1, 1).data].slice(0, 3));
        }""",
        points,
    )
    return {tuple(each) for each in found}


def count_painted(page: Page, colour: tuple[int, int, int]) -> int:
    """How many screen pixels of the canvas have exactly this colour."""
    page.evaluate(_NEXT_FRAMES)
    return int(
        page.evaluate(
            _COPY
            + """
              const [red, green, blue] = given;
              const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
              let found = 0;
              for (let at = 0; at < data.length; at += 4) {
                if (data[at] === red && data[at + 1] === green && data[at + 2] === blue) found += 1;
              }
              return found;
            }""",
            list(colour),
        )
    )


def stored_mask(client: Client, slice_: dict[str, object]) -> NDArray[np.uint8]:
    """The mask that the service has, straight from its own route."""
    answer = client._http.get(f"/v1/slices/{slice_['id']}/annotation")
    assert answer.status_code == 200, answer.text
    return np.frombuffer(answer.content, np.uint8).reshape(slice_["shape"])  # type: ignore[call-overload, no-any-return]


def labelled_pixels(mask: NDArray[np.uint8]) -> set[tuple[int, int]]:
    """Row and column of everything that is not unlabelled."""
    return {(int(row), int(column)) for row, column in np.argwhere(mask != UNLABELLED)}


def class_colour(client: Client, slug: str, value: int) -> tuple[int, int, int]:
    """The colour of a class in the project's schema."""
    schema = client.get(f"/v1/projects/{slug}")["label_schema"]
    text = next(each["color"] for each in schema if each["value"] == value)
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)


def pen_stroke(devtools: CDPSession, start: Point, force: float) -> None:
    """Draw a line of 120 screen pixels to the right with a pen, through the browser's own input."""
    pen = {"button": "left", "buttons": 1, "pointerType": "pen", "clickCount": 1}
    x, y = start
    devtools.send("Input.dispatchMouseEvent", {"type": "mousePressed", "x": x, "y": y, "force": force, **pen})
    for step in range(10, 130, 10):
        devtools.send("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x + step, "y": y, "force": force, **pen})
    devtools.send("Input.dispatchMouseEvent", {"type": "mouseReleased", "x": x + 120, "y": y, **pen})

"""The modules without DOM, run where they run for people: strokes, areas, undo, geometry, coding."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, Page

pytestmark = pytest.mark.browser

HEIGHT, WIDTH = 30, 24


@pytest.fixture(scope="module")
def core(browser: Any, site: Any) -> Iterator[Page]:
    """A page that has loaded nothing but the core modules."""
    context: BrowserContext = browser.new_context(base_url=site.url)
    page = context.new_page()
    page.goto("/icon.svg")
    page.evaluate(
        """async () => {
          const names = ["mask", "history", "geometry", "grey", "overlay", "coding", "difference"];
          const loaded = await Promise.all(names.map((name) => import(`/core/${name}.js`)));
          window.core = Object.assign({}, ...loaded);
        }"""
    )
    yield page
    context.close()


def drawn(core: Page, script: str, **given: Any) -> NDArray[np.uint8]:
    """The pixels of a fresh mask after a script that knows `mask`, `core` and `given`."""
    values = core.evaluate(
        f"""(given) => {{
          const mask = new core.Mask({HEIGHT}, {WIDTH});
          {script};
          return [...mask.pixels];
        }}""",
        given,
    )
    return np.array(values, np.uint8).reshape(HEIGHT, WIDTH)


@pytest.mark.parametrize("end", [(3, 20), (28, 5), (10, 4), (25, 10), (2, 2)])
def test_a_line_is_one_pixel_thin_unbroken_and_never_half_a_pixel_off(core: Page, end: tuple[int, int]) -> None:
    start = (10, 10)
    mask = drawn(
        core, "core.drawPen(mask, given.start, given.end, 1)", start=[10.5, 10.5], end=[end[0] + 0.5, end[1] + 0.5]
    )
    pixels = np.argwhere(mask == 1)
    longer = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    assert len(pixels) == longer + 1
    along = pixels[np.argsort(np.abs(pixels - start).max(axis=1))]
    assert np.abs(np.diff(along, axis=0)).max() == 1
    ideal = np.linspace(start, end, longer + 1)
    assert np.abs(along - ideal).max() <= 0.5


def test_a_brush_is_round_on_the_patient_where_pixels_are_not_square(core: Page) -> None:
    aspect, radius = (2.0, 1.0), 5.0
    mask = drawn(
        core,
        "core.drawBrush(mask, given.from, given.to, 1, given.radius, given.aspect)",
        **{"from": [10.0, 8.0], "to": [16.0, 15.0]},
        radius=radius,
        aspect=list(aspect),
    )
    path = np.linspace((20.0, 8.0), (32.0, 15.0), 4001)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    middles = np.stack([(rows + 0.5) * aspect[0], (columns + 0.5) * aspect[1]], axis=-1)
    distance = np.linalg.norm(middles[:, :, None] - path, axis=-1).min(axis=-1)
    assert np.array_equal(mask == 1, distance <= radius)


def test_an_area_is_filled_up_to_its_edges_and_not_through_corners(core: Page) -> None:
    box = """for (let at = 5; at <= 15; at += 1) {
      for (const edge of [5, 15]) { mask.set(edge, at, 1); mask.set(at, edge, 1); }
    }"""
    mask = drawn(core, f"{box} core.fillArea(mask, 10, 10, 2)")
    assert (mask[6:15, 6:15] == 2).all()
    assert (mask == 2).sum() == 81
    diagonal = drawn(core, f"for (let at = 0; at < {WIDTH}; at += 1) mask.set(at, at, 1); core.fillArea(mask, 0, 5, 2)")
    assert diagonal[0, 5] == 2
    assert (diagonal[np.tril_indices(WIDTH, -1)] != 2).all()


def test_a_polygon_holds_the_pixels_whose_middles_it_holds_and_its_outline(core: Page) -> None:
    mask = drawn(core, "core.fillPolygon(mask, [[2.5, 2.5], [2.5, 12.5], [10.5, 12.5], [10.5, 2.5]], 3)")
    assert (mask[2:11, 2:13] == 3).all()
    assert (mask == 3).sum() == 9 * 11


def test_undo_and_redo_walk_through_every_step_and_a_new_stroke_forgets_what_was_undone(core: Page) -> None:
    states = core.evaluate(
        """() => {
          const mask = new core.Mask(4, 4);
          const history = new core.History();
          const seen = [];
          const note = () => seen.push(mask.pixels.join());
          const stroke = (row, value) => {
            for (let column = 0; column < 4; column += 1) mask.set(row, column, value);
            history.push(mask.takeStep());
            note();
          };
          note();
          stroke(0, 1); stroke(0, 2); stroke(1, 1);
          while (history.undo(mask)) note();
          while (history.redo(mask)) note();
          history.undo(mask);
          stroke(3, 3);
          seen.push(String(history.redo(mask)));
          return seen;
        }"""
    )
    blank, one, two, three = states[:4]
    assert states[4:10] == [two, one, blank, one, two, three]
    assert states[11] == "false"
    assert len({blank, one, two, three}) == 4


def test_what_lies_under_the_cursor_stays_there_when_the_zoom_changes(core: Page) -> None:
    off = core.evaluate(
        """() => {
          const view = new core.View([100, 60], core.pixelAspect([3, 1.5]));
          view.fit(800, 600);
          let worst = 0;
          for (const zoom of [0.5, 1, 3.7, 20, 64]) {
            const before = view.toSlice(312, 207);
            view.zoomAt(312, 207, zoom);
            const { x, y } = view.toScreen(...before);
            worst = Math.max(worst, Math.abs(x - 312), Math.abs(y - 207));
          }
          return [worst, view.aspect];
        }"""
    )
    assert off[0] <= 0.5
    assert off[1] == [2, 1]


def test_kept_masks_come_back_whole_and_damaged_ones_are_refused(core: Page) -> None:
    pixels = np.random.default_rng(3).choice([0, 1, 7, 255], size=500, p=[0.2, 0.1, 0.1, 0.6]).tolist()
    assert core.evaluate("(given) => [...core.unpackRuns(core.packRuns(given), given.length)]", pixels) == pixels
    for damaged in ("", "1*5", "1*dx", "256*dw", "1*-3,1*e1"):
        refused = core.evaluate(
            "(text) => { try { core.unpackRuns(text, 500); return false; } catch { return true; } }", damaged
        )
        assert refused, damaged


def test_gzip_is_what_the_service_unpacks(core: Page) -> None:
    packed = core.evaluate("async () => [...await core.gzip(Uint8Array.from([0, 1, 255, 255, 3]))]")
    assert gzip.decompress(bytes(packed)) == bytes([0, 1, 255, 255, 3])


def test_window_and_level_map_real_values_to_grey_and_follow_slope_and_intercept(core: Page) -> None:
    grey = core.evaluate(
        """() => {
          const stored = Int16Array.from([-10, 0, 55, 100, 300, 30]);
          const plane = core.decodePlane(stored.buffer, "int16", [2, 3], 2, 10);
          const rgba = new Uint8ClampedArray(24);
          core.paintGrey(plane, { window: 200, level: 110 }, rgba);
          return [...rgba].filter((_, at) => at % 4 === 0);
        }"""
    )
    assert grey == [0, 0, 140, 255, 255, 76]


def test_outlines_run_once_around_every_class(core: Page) -> None:
    found = core.evaluate(
        """() => {
          const mask = new core.Mask(6, 6, new Uint8Array(36));
          for (const [row, column] of [[1, 1], [1, 2], [2, 1], [2, 2]]) mask.set(row, column, 4);
          mask.set(2, 3, 5);
          return [...core.findOutlines(mask.pixels, [6, 6])].map(([value, corners]) => [value, corners.length / 4]);
        }"""
    )
    assert dict(map(tuple, found)) == {4: 8, 5: 4}


def test_masks_are_compared_where_the_first_one_says_anything(core: Page) -> None:
    found = core.evaluate(
        """() => {
          const submitted = Uint8Array.of(0, 1, 1, 2, 0, 255, 2);
          const predicted = Uint8Array.of(0, 1, 0, 1, 2, 1, 2);
          const { pixels, counts, dice } = core.compareMasks(submitted, predicted);
          return { pixels: [...pixels], counts, dice: [...dice] };
        }"""
    )
    assert found["counts"] == [3, 1, 1, 1]  # both agree, only submitted, only predicted, another class
    assert found["pixels"] == [255, 255, 1, 3, 2, 255, 255]
    assert found["dice"] == [[1, 2 * 1 / (2 + 2)], [2, 2 * 1 / (2 + 2)]]

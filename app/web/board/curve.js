// The learning curve as SVG: mean Dice with the members' band, the ensemble, and each class.

import { svg } from "../dom.js";
import { strings } from "../strings.js";

const WIDTH = 720;
const HEIGHT = 400;
const MARGIN = { top: 18, right: 160, bottom: 52, left: 60 };
const LABEL_GAP = 18;

/**
 * `points`: [{percent, dice, ensemble, least, most, byClass: Map(value -> dice)}], ascending in percent.
 * A class has {dice, least, most}: its mean and its band over the members. `classes`: [{value, name, color}] of the
 * foreground; `planned`: the largest budget of the project, percent; `random`: [{percent, dice}] of a project that
 * draws at random under the same protocol, or null.
 */
export function drawCurve(points, classes, planned, random = null) {
  const most = niceTop(Math.max(planned, ...points.map(({ percent }) => percent)));
  const x = (percent) => MARGIN.left + (percent / most) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (dice) => HEIGHT - MARGIN.bottom - dice * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const label = strings.curveLabel(points);
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve", role: "img", "aria-label": label });
  drawing.append(...drawAxes(x, y, most));
  const band = [...points.map((each) => [x(each.percent), y(each.most)]), ...points.map((each) => [x(each.percent), y(each.least)]).reverse()];
  drawing.append(svg("polygon", { class: "band", points: band.map((each) => each.join(",")).join(" ") }));
  for (const { value, color } of classes) {
    const own = points.filter(({ byClass }) => byClass.has(value)).map((each) => [x(each.percent), each.byClass.get(value)]);
    const edges = [...own.map(([at, { most }]) => [at, y(most)]), ...own.map(([at, { least }]) => [at, y(least)]).reverse()];
    drawing.append(svg("polygon", { class: "class-band", fill: color, points: edges.map((each) => each.join(",")).join(" ") }));
  }
  if (random !== null && random.length) {
    drawing.append(...drawRandom(random, x, y));
  }
  const series = [
    ...classes.map(({ value, name, color }) => ({ name, color, of: (point) => point.byClass.get(value)?.dice ?? null })),
    { name: strings.ensemble, kind: "ensemble", of: (point) => point.ensemble },
    { name: strings.mean, kind: "mean", of: (point) => point.dice },
  ];
  const ends = series.map((each) => drawSeries(drawing, points, each, x, y)).filter((end) => end !== null);
  drawing.append(...spreadLabels(ends, y(0)));
  return drawing;
}

function drawAxes(x, y, most) {
  const made = [];
  for (const dice of [0, 0.2, 0.4, 0.6, 0.8, 1]) {
    made.push(svg("line", { class: "grid", x1: x(0), x2: x(most), y1: y(dice), y2: y(dice) }));
    made.push(svg("text", { x: x(0) - 8, y: y(dice) + 4, "text-anchor": "end" }, dice.toFixed(1)));
  }
  for (let step = 0; step <= 5; step += 1) {
    const percent = (most * step) / 5;
    made.push(svg("text", { x: x(percent), y: y(0) + 20, "text-anchor": "middle" }, String(Number(percent.toPrecision(3)))));
  }
  made.push(svg("text", { x: (x(0) + x(most)) / 2, y: HEIGHT - 6, "text-anchor": "middle" }, strings.curveX));
  made.push(svg("text", { x: 14, y: y(0.5), transform: `rotate(-90 14 ${y(0.5)})`, "text-anchor": "middle" }, strings.curveY));
  return made;
}

function drawSeries(drawing, points, { name, kind, color, of }, x, y) {
  const measured = points.filter((point) => of(point) !== null);
  if (!measured.length) return null;
  const known = measured.map((point) => [x(point.percent), y(of(point))]);
  const paint = color === undefined ? {} : { stroke: color };
  drawing.append(svg("polyline", { class: `line ${kind ?? ""}`, points: known.map((each) => each.join(",")).join(" "), ...paint }));
  for (const [cx, cy] of known) {
    const fill = color === undefined ? {} : { fill: color };
    drawing.append(svg("circle", { class: `dot ${kind ?? "class"}-dot`, cx, cy, r: kind === "mean" ? 5 : 3.5, ...fill }));
  }
  return { name: `${name} ${of(measured.at(-1)).toFixed(3)}`, kind, color, x: known.at(-1)[0], y: known.at(-1)[1] };
}

function drawRandom(random, x, y) {
  const places = random.map(({ percent, dice }) => [x(percent), y(dice)]);
  const last = places.at(-1);
  return [
    svg("polyline", { class: "line random", points: places.map((each) => each.join(",")).join(" ") }),
    ...places.map(([cx, cy]) => svg("rect", { class: "random-dot", x: cx - 4, y: cy - 4, width: 8, height: 8 })),
    svg("text", { x: last[0] - 6, y: last[1] + 18, "text-anchor": "end" }, strings.randomCurve(random.at(-1).dice)),
  ];
}

// Names at the ends of the lines, pushed apart where the lines end close together, and none below the axis.
function spreadLabels(ends, bottom) {
  const sorted = [...ends].sort((a, b) => a.y - b.y);
  const places = [];
  for (const { y } of sorted) places.push(Math.max(y, (places.at(-1) ?? -Infinity) + LABEL_GAP));
  let limit = bottom - LABEL_GAP / 3;
  for (let at = places.length - 1; at >= 0; at -= 1) {
    places[at] = Math.min(places[at], limit);
    limit = places[at] - LABEL_GAP;
  }
  return sorted.flatMap(({ name, kind, color, x }, at) => [
    svg("circle", { class: `${kind ?? "class"}-dot`, cx: x + 16, cy: places[at], r: 4, fill: color }),
    svg("text", { x: x + 25, y: places[at] + 5 }, name),
  ]);
}

function niceTop(percent) {
  return [1, 2, 5, 10, 15, 20, 25, 30, 40, 50, 75, 100].find((each) => each >= percent) ?? 100;
}

// Losses and validation Dice of what was trained last, from the models' own history; live ones from the job's messages.

import { element, svg } from "../dom.js";
import { strings } from "../strings.js";

const [WIDTH, HEIGHT] = [340, 150];
const MARGIN = { top: 12, right: 12, bottom: 28, left: 54 };
const COLOURS = ["#7cc4ff", "#ffcf6b", "#7fd6a0", "#ff9b8f", "#c9a6ff"];

let live = { job: null, loss: [] };

/** Note what a job says of its loss; a new job begins anew. */
export function noteLive(job) {
  if (live.job !== job.id) live = { job: job.id, loss: [] };
  const found = /loss (-?[\d.]+)/.exec(job.message);
  if (found !== null && job.state === "running") live.loss.push([job.progress_done, Number(found[1])]);
}

/** Small charts: the encoder's loss by epoch, the members' loss and validation Dice by step. */
export function trainingCurves(models, rounds) {
  const encoder = models.findLast(({ kind }) => kind === "encoder");
  const newest = rounds.findLast(({ id }) => models.some((model) => model.round_id === id && model.kind === "segmentation"));
  const members = models.filter(({ kind, round_id: id }) => kind === "segmentation" && id === newest?.id);
  const made = [];
  if (live.loss.length > 1) made.push(chart(strings.liveLoss, [live.loss]));
  if (encoder?.metrics.loss?.length > 1) made.push(chart(strings.encoderLoss, [encoder.metrics.loss.map((loss, at) => [at + 1, loss])], null, strings.epoch));
  const histories = members.map(({ metrics }) => metrics.history ?? []).filter((history) => history.length > 1);
  if (histories.length) {
    // An entry is [step, loss, validation Dice or null].
    made.push(chart(strings.memberLoss(newest.number), histories.map((some) => some.map(([step, loss]) => [step, loss]))));
    const dice = histories.map((some) => some.filter(([, , each]) => each !== null && each !== undefined).map(([step, , each]) => [step, each]));
    if (dice.every((some) => some.length > 0)) made.push(chart(strings.memberDice(newest.number), dice, 1));
  }
  return made.length ? made : [element("p", { class: "faint" }, strings.noLosses)];
}

function chart(title, lines, top = null, unit = strings.step) {
  const all = lines.flat();
  const [left, right] = [Math.min(...all.map(([x]) => x)), Math.max(...all.map(([x]) => x))];
  const values = all.map(([, y]) => y);
  const [low, high] = [top === null ? Math.min(0, ...values) : 0, top ?? Math.max(...values)];
  const x = (value) => MARGIN.left + ((value - left) / Math.max(right - left, 1)) * (WIDTH - MARGIN.left - MARGIN.right);
  const y = (value) => HEIGHT - MARGIN.bottom - ((value - low) / Math.max(high - low, 1e-9)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const last = lines.map((line) => line.at(-1)[1].toFixed(3)).join(", ");
  const drawing = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "curve small-curve", role: "img", "aria-label": strings.chartLabel(title, last) });
  for (const value of [low, (low + high) / 2, high]) {
    drawing.append(
      svg("line", { class: "grid", x1: x(left), x2: x(right), y1: y(value), y2: y(value) }),
      svg("text", { x: x(left) - 6, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(2)).toString()),
    );
  }
  drawing.append(
    svg("text", { x: x(left), y: HEIGHT - 6 }, String(left)),
    svg("text", { x: x(right), y: HEIGHT - 6, "text-anchor": "end" }, unit(right)),
  );
  lines.forEach((line, index) => {
    const points = line.map(([at, value]) => `${x(at).toFixed(1)},${y(value).toFixed(1)}`).join(" ");
    drawing.append(svg("polyline", { class: "line", points, stroke: COLOURS[index % COLOURS.length] }));
    if (line.length === 1) drawing.append(svg("circle", { cx: x(line[0][0]), cy: y(line[0][1]), r: 3, fill: COLOURS[index % COLOURS.length] }));
  });
  return element("figure", {}, element("figcaption", {}, title), drawing);
}

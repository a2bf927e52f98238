// Rounds and picks as tables.

import { element } from "../dom.js";
import { strings } from "../strings.js";

const NUMBERS = new Set(["Budget", "Slices", "Waiting", "Dice", "Ensemble", "HD95", "Value", "#", "Dice, mean", "Missed", "Labels", "Predicted", "Versions", "Median", "Total", "Slices / hour", "Shape", "Spacing, mm", "Kappa"]);

/** All rounds, the newest first. */
export function roundsTable(rounds) {
  const rows = [...rounds].reverse().map((round) => {
    const { summary } = round;
    return row([
      String(round.number),
      element("span", { class: `state-${round.state}` }, strings.states[round.state]),
      [`${round.budget_percent} %`],
      [String(round.target)],
      [String(round.open_picks)],
      [share(summary.dice)],
      [share(summary.dice_ensemble)],
      [summary.hd95 == null ? "–" : `${summary.hd95.toFixed(1)} ${summary.hd95_unit}`],
    ]);
  });
  return table(strings.roundColumns, rows);
}

/** The picks of a round in their order. */
export function picksTable(picks, project) {
  const rows = picks.map((pick) => {
    const name = strings.sliceName(pick);
    const href = `/annotate.html?project=${encodeURIComponent(project.slug)}&slice=${pick.slice_id}`;
    const state = element("span", { class: pick.annotated ? "good" : "faint" }, pick.annotated ? strings.done : strings.waiting);
    return row(
      [[String(pick.order)], element("a", { href }, name), pick.reason, [pick.value.toPrecision(3)], state],
      ["", "name", "why"],
    );
  });
  return table(strings.pickColumns, rows);
}

/** A table; a cell in brackets is a number. */
export function table(columns, rows) {
  const heads = columns.map((name) => element("th", { scope: "col", class: NUMBERS.has(name) ? "number" : null }, name));
  const lines = rows.map((each) => (Array.isArray(each) ? row(each) : each));
  return element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...lines));
}

function row(cells, classes = []) {
  return element("tr", {}, ...cells.map((cell, index) => {
    const number = Array.isArray(cell);
    return element("td", { class: number ? "number" : classes[index] || null }, number ? cell[0] : cell);
  }));
}

function share(value) {
  return value == null ? "–" : value.toFixed(3);
}

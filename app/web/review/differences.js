// The kinds of difference and their colours: told apart by people who see red and green alike, too.

import { ONLY_PREDICTED, ONLY_SUBMITTED, OTHER_CLASS } from "../core/difference.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";

export const DIFFERENCES = [
  { value: ONLY_SUBMITTED, color: "#ff9f43" },
  { value: ONLY_PREDICTED, color: "#4fb3ff" },
  { value: OTHER_CLASS, color: "#f4f4f4" },
];

/** The figures of a comparison: Dice of each class, pixels of each kind of difference; null: nothing to compare. */
export function showFigures(compared, schema) {
  byId("no-prediction").hidden = compared !== null;
  if (compared === null) {
    replaceChildren(byId("figures").tBodies[0]);
    return;
  }
  const classes = schema.filter(({ value }) => compared.dice.has(value));
  replaceChildren(
    byId("figures").tBodies[0],
    ...classes.map(({ value, name, color }) => row(color, strings.review.diceOf(name), compared.dice.get(value).toFixed(3))),
    ...DIFFERENCES.map(({ value, color }) => row(color, strings.review.kinds[value], strings.pixels(compared.counts[value]))),
  );
}

function row(color, name, figure) {
  const swatch = element("span", { class: "swatch", "aria-hidden": "true" });
  swatch.style.backgroundColor = color;
  return element("tr", {}, element("th", { scope: "row" }, swatch, name), element("td", { class: "number" }, figure));
}

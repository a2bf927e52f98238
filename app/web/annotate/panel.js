// The controls around the canvas: they show the desk's state and change it.

import { byId, element } from "../dom.js";
import { BACKGROUND, UNLABELLED } from "../core/mask.js";
import { strings } from "../strings.js";

/** The list of classes in the order of their keys: foreground from 1 on, background on 0. */
export function classesByKey(schema) {
  const sorted = [...schema].sort((a, b) => a.value - b.value);
  return [...sorted.filter((each) => each.value !== BACKGROUND), ...sorted.filter((each) => each.value === BACKGROUND)];
}

/** Buttons for the classes; gives a function that marks the chosen one. */
export function buildClasses(schema, choose) {
  const buttons = new Map();
  classesByKey(schema).forEach((each, index) => {
    const swatch = element("span", { class: each.value === BACKGROUND ? "swatch hatched" : "swatch", "aria-hidden": "true" });
    if (each.value !== BACKGROUND) swatch.style.backgroundColor = each.color;
    const key = each.value === BACKGROUND ? "0" : index < 9 ? String(index + 1) : "";
    const button = element(
      "button",
      { type: "button", class: "class", "aria-pressed": "false", onclick: () => choose(each.value) },
      swatch,
      element("span", { class: "grow" }, each.name),
      element("span", { class: "count", id: `count-${each.value}` }),
      element("kbd", {}, key),
    );
    buttons.set(each.value, button);
    byId("classes").append(button);
  });
  return (value) => buttons.forEach((button, own) => button.setAttribute("aria-pressed", String(own === value)));
}

/** Pixels of each class and the unlabelled ones. */
export function showCounts(schema, mask) {
  const { counts } = mask;
  for (const { value } of schema) byId(`count-${value}`).textContent = counts[value] ? String(counts[value]) : "";
  byId("count-unlabelled").textContent = String(counts[UNLABELLED]);
  return counts[UNLABELLED];
}

/** What the reviewer said who sent the slice back; null: nobody did. */
export function showRejection(review) {
  byId("rejected").hidden = review === null;
  byId("rejected").textContent = review === null ? "" : strings.sentBack(review);
}

/** Why the slice was proposed, and where it is. */
export function showSlice(work, round) {
  const { slice } = work;
  byId("slice-name").textContent = strings.sliceName(slice);
  byId("reason").textContent = slice.proposal?.reason ?? strings.noReason;
  byId("round").textContent = round === null ? "" : strings.round(round.number);
  byId("left").textContent = round === null ? "" : strings.left(round.open_picks);
}

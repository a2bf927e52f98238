// The controls around the canvas: they show the desk's state and change it.

import { byId, element, replaceChildren } from "../dom.js";
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

/** Why the slice was proposed, and where it is. */
export function showSlice(work, round) {
  const { slice } = work;
  byId("slice-name").textContent = strings.sliceName(slice);
  byId("reason").textContent = slice.proposal?.reason ?? strings.noReason;
  byId("round").textContent = round === null ? "" : strings.round(round.number);
  byId("left").textContent = round === null ? "" : strings.left(round.open_picks);
}

/** Window presets into their menu. */
export function showPresets(presets) {
  const options = presets.map(({ name }, index) => element("option", { value: String(index) }, name));
  replaceChildren(byId("preset"), ...options, element("option", { value: "" }, strings.presetOwn));
}

/** One thing to tell, with buttons where it asks for a decision; null hides it. */
export function tell(text, { kind = "info", buttons = [] } = {}) {
  const bar = byId("message");
  bar.hidden = text === null;
  bar.className = `message ${kind}`;
  bar.setAttribute("role", kind === "error" ? "alert" : "status");
  const made = buttons.map(([label, action]) => element("button", { type: "button", onclick: action }, label));
  const dismiss = element("button", { type: "button", class: "quiet", onclick: () => tell(null) }, strings.dismiss);
  bar.replaceChildren(element("span", { class: "grow" }, text ?? ""), ...made, dismiss);
}

/** Cover the canvas while there is no slice; null uncovers it. */
export function cover(title, text = "") {
  byId("cover").hidden = title === null;
  byId("cover-title").textContent = title ?? "";
  byId("cover-text").textContent = text;
}

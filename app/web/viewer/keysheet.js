// The list of keys: shown on `?`, and changed there.

import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { combinationOf, keysInForce, nameOf, remap, resetKeys } from "./keys.js";

let listening = null; // the action that waits for its new key
let page = { texts: {}, gestures: [] }; // action -> what it does, and [gesture, what it does]

/** Bind the dialog; `texts` say what each action does on this page, `gestures` what has no key. */
export function buildKeySheet(texts, gestures) {
  page = { texts, gestures };
  showKeys();
  byId("help").addEventListener("keydown", (event) => take(event));
  byId("help").addEventListener("close", () => (listening = null));
  byId("reset-keys").addEventListener("click", () => {
    resetKeys();
    said(strings.keysReset);
    showKeys();
  });
}

/** Put the keys in force beside every control, into its hover text and into the list. */
export function showKeys() {
  const keys = keysInForce();
  for (const cap of document.querySelectorAll("kbd[data-keys]")) cap.textContent = nameOf(keys[cap.dataset.keys][0]);
  for (const button of document.querySelectorAll("[data-action][data-label]")) {
    const own = keys[button.dataset.action];
    if (own !== undefined) button.title = `${button.getAttribute("aria-label")} (${own.map(nameOf).join(", ")})`;
  }
  const cap = (text) => element("kbd", {}, text);
  const rows = Object.entries(keys).map(([action, own]) => line(own.map((each) => cap(nameOf(each))), page.texts[action], action));
  replaceChildren(byId("help-rows"), ...rows, ...page.gestures.map(([gesture, meaning]) => line([gesture], meaning)));
}

function line(caps, text, action = null) {
  const change = () => {
    listening = action;
    said(strings.pressKey(text));
  };
  const button = action === null ? null : element("button", {
    type: "button", class: "quiet small", "data-remap": action, "aria-label": strings.changeKeyOf(text), onclick: change,
  }, strings.changeKey);
  return element("tr", {}, element("th", { scope: "row" }, ...caps), element("td", {}, text), element("td", {}, button ?? ""));
}

function take(event) {
  if (listening === null) return;
  const combination = combinationOf(event);
  if (combination === null && event.key !== "Tab") {
    if (/^[0-9]$/.test(event.key)) said(strings.digitsAreClasses);
    return;
  }
  const action = listening;
  listening = null;
  if (combination === null || combination === "escape") {
    said("");
    if (combination !== null) event.preventDefault(); // Esc ends the question, not the list
    return;
  }
  event.preventDefault();
  const taken = remap(action, combination);
  said(taken === null ? strings.keyChanged(nameOf(combination), page.texts[action]) : strings.keyTaken(nameOf(combination), page.texts[taken]));
  showKeys();
  document.querySelector(`[data-remap="${action}"]`).focus();
}

function said(text) {
  byId("help-said").textContent = text;
}

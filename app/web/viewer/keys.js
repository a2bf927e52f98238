// One table of keys: what the page listens to, what it shows beside its controls, and what a person made of it.

import { keptKeys, keepKeys } from "../kept.js";

/** Action -> its keys: the key as KeyboardEvent.key names it, lower case, after Ctrl+ and Shift+. Of every page: */
const VIEWING = {
  fainter: [","],
  stronger: ["."],
  hide: ["h"],
  preset: ["w"],
  smooth: ["i"],
  up: ["arrowup", "pageup"],
  down: ["arrowdown", "pagedown"],
  back: ["escape"],
  zoomIn: ["+", "="],
  zoomOut: ["-"],
  fit: ["home"],
  press: ["d"],
  penUp: ["shift+arrowup"],
  penDown: ["shift+arrowdown"],
  penLeft: ["shift+arrowleft"],
  penRight: ["shift+arrowright"],
  penFarUp: ["Ctrl+shift+arrowup"],
  penFarDown: ["Ctrl+shift+arrowdown"],
  penFarLeft: ["Ctrl+shift+arrowleft"],
  penFarRight: ["Ctrl+shift+arrowright"],
  help: ["?"],
};
/** As shipped, page by page. */
const SHIPPED = {
  annotate: {
    submit: ["Ctrl+enter"],
    skip: ["Ctrl+shift+enter"],
    undo: ["Ctrl+z"],
    redo: ["Ctrl+shift+z", "Ctrl+y"],
    save: ["Ctrl+s"],
    pen: ["p"],
    brush: ["b"],
    eraser: ["e"],
    fill: ["f"],
    polygon: ["l"],
    close: ["enter"],
    smaller: ["["],
    larger: ["]"],
    prediction: ["o"],
    uncertainty: ["u"],
    accept: ["a"],
    copy: ["c"],
    rest: ["r"],
    ...VIEWING,
  },
  review: {
    approve: ["a"],
    correct: ["x"],
    reject: ["r"],
    comment: ["c"],
    ...VIEWING,
  },
};
const NAMES = {
  arrowup: "↑", arrowdown: "↓", arrowleft: "←", arrowright: "→", pageup: "Page Up", pagedown: "Page Down",
  escape: "Esc", "-": "−", enter: "Enter", " ": "Space", home: "Home",
};

let shipped = SHIPPED.annotate;

/** Say whose keys are meant from now on: "annotate" or "review". */
export function usePage(page) {
  shipped = SHIPPED[page];
}

/** The keys in force on this page, action -> combinations; a person's own take the place of those shipped. */
export function keysInForce(of = shipped) {
  const own = keptKeys();
  return Object.fromEntries(Object.entries(of).map(([action, keys]) => [action, own[action] ?? keys]));
}

/** A combination as it is shown on a key cap. */
export function nameOf(combination) {
  const [, signs, key] = /^((?:(?:Ctrl|shift)\+)*)(.+)$/.exec(combination);
  return signs.replace("shift", "Shift") + (NAMES[key] ?? key.charAt(0).toUpperCase() + key.slice(1));
}

/** The combination of an event; null for a sign key by itself and for the digits, which are the classes. */
export function combinationOf(event) {
  const key = event.key.toLowerCase();
  if (["control", "shift", "alt", "meta", "altgraph", "dead", "tab"].includes(key)) return null;
  const ctrl = event.ctrlKey || event.metaKey;
  if (!ctrl && /^[0-9]$/.test(key)) return null;
  // A sign like ? or + is itself typed with Shift on many keyboards.
  const shift = event.shiftKey && (key.length > 1 || key.toUpperCase() !== key.toLowerCase());
  return `${ctrl ? "Ctrl+" : ""}${shift ? "shift+" : ""}${key}`;
}

/** Give an action one key of a person's own; gives the action that has it already, or null when it was done. */
export function remap(action, combination) {
  // An action of two pages must be free to take the key on both.
  const pages = Object.values(SHIPPED).filter((page) => action in page);
  const taken = pages.map((page) => actionOf(combination, page)).find((each) => each !== null && each !== action);
  if (taken !== undefined) return taken;
  keepKeys({ ...keptKeys(), [action]: [combination] });
  return null;
}

/** All keys as shipped again. */
export function resetKeys() {
  keepKeys({});
}

/** Call `actions[name]()`, or `pickClass(0..9)`, for keys that are not being typed into a field. */
export function listenToKeys(actions, pickClass) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]") !== null || event.altKey) return;
    const ctrl = event.ctrlKey || event.metaKey;
    if (!ctrl && isTaken(event)) return;
    if (!ctrl && /^[0-9]$/.test(event.key)) {
      pickClass(Number(event.key));
      return;
    }
    const combination = combinationOf(event);
    const action = combination === null ? null : actionOf(combination);
    if (action === null) return;
    event.preventDefault();
    actions[action]();
  });
}

function actionOf(combination, of = shipped) {
  return Object.entries(keysInForce(of)).find(([, keys]) => keys.includes(combination))?.[0] ?? null;
}

// A control that has the focus keeps the keys that it answers to itself.
function isTaken({ target, key }) {
  if (target.matches("input:not([type=range], [type=checkbox]), select, textarea")) return true;
  if (target.matches("input")) return key.startsWith("Arrow") || key === " " || key === "Home";
  return target.matches("button, a, summary") && (key === "Enter" || key === " ");
}

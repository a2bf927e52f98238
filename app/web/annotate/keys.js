// One table of keys: what the page listens to and what the help shows.

/** Each: the key as KeyboardEvent.key names it (lower case), with Ctrl or Shift where needed, and the action's name. */
export const KEYS = [
  { key: "enter", ctrl: true, action: "submit", shown: "Ctrl+Enter" },
  { key: "z", ctrl: true, action: "undo", shown: "Ctrl+Z" },
  { key: "z", ctrl: true, shift: true, action: "redo", shown: "Ctrl+Shift+Z" },
  { key: "y", ctrl: true, action: "redo", shown: "Ctrl+Y" },
  { key: "s", ctrl: true, action: "save", shown: "Ctrl+S" },
  { key: "p", action: "pen", shown: "P" },
  { key: "b", action: "brush", shown: "B" },
  { key: "e", action: "eraser", shown: "E" },
  { key: "f", action: "fill", shown: "F" },
  { key: "l", action: "polygon", shown: "L" },
  { key: "[", action: "smaller", shown: "[" },
  { key: "]", action: "larger", shown: "]" },
  { key: ",", action: "fainter", shown: "," },
  { key: ".", action: "stronger", shown: "." },
  { key: "h", action: "hide", shown: "H" },
  { key: "o", action: "prediction", shown: "O" },
  { key: "a", action: "accept", shown: "A" },
  { key: "r", action: "rest", shown: "R" },
  { key: "w", action: "preset", shown: "W" },
  { key: "i", action: "smooth", shown: "I" },
  { key: "arrowup", action: "up", shown: "↑" },
  { key: "pageup", action: "up", shown: "Page Up" },
  { key: "arrowdown", action: "down", shown: "↓" },
  { key: "pagedown", action: "down", shown: "Page Down" },
  { key: "escape", action: "back", shown: "Esc" },
  { key: "enter", action: "close", shown: "Enter" },
  { key: "+", action: "zoomIn", shown: "+" },
  { key: "=", action: "zoomIn", shown: "=" },
  { key: "-", action: "zoomOut", shown: "−" },
  { key: "home", action: "fit", shown: "Home" },
  { key: "?", action: "help", shown: "?" },
];

const SHIFTED_SIGNS = new Set(["?", "+", "["]); // typed with Shift on some keyboards

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
    const found = KEYS.find((each) => matches(each, event, ctrl));
    if (found === undefined) return;
    event.preventDefault();
    actions[found.action]();
  });
}

function matches(each, event, ctrl) {
  if (each.key !== event.key.toLowerCase() || Boolean(each.ctrl) !== ctrl) return false;
  return SHIFTED_SIGNS.has(each.key) || Boolean(each.shift) === event.shiftKey;
}

// A control that has the focus keeps the keys that it answers to itself.
function isTaken({ target, key }) {
  if (target.matches("input[type=text], input[type=number], select, textarea")) return true;
  if (target.matches("input")) return key.startsWith("Arrow") || key === " " || key === "Home";
  return target.matches("button, a, summary") && (key === "Enter" || key === " ");
}

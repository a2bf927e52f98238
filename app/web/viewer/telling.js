// What a page says in words: a bar above the picture, and a cover where there is none.

import { byId, element } from "../dom.js";
import { strings } from "../strings.js";

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

// The question why a slice is skipped.

import { byId, element } from "../dom.js";
import { strings } from "../strings.js";

/** Build the dialog; `skip(reason, note)` is called when somebody has answered. */
export function buildSkip(skip) {
  const reasons = Object.entries(strings.skipReasons).map(([value, text], index) =>
    element("label", { class: "check" }, element("input", { type: "radio", name: "reason", value, checked: index === 0 }), element("span", {}, text)),
  );
  byId("skip-reasons").append(...reasons);
  byId("skip-cancel").addEventListener("click", () => byId("skip").close());
  byId("skip-form").addEventListener("submit", (event) => {
    event.preventDefault();
    byId("skip").close();
    const form = new FormData(byId("skip-form"));
    skip(form.get("reason"), form.get("note").trim());
    byId("skip-note").value = "";
  });
}

/** Ask. */
export function askWhySkip() {
  byId("skip").showModal();
}

// One's own account: tokens for programs, made and revoked.

import { list, post, Problem, remove } from "./api.js";
import { element, replaceChildren } from "./dom.js";
import { strings } from "./strings.js";

const SCOPES = ["read", "annotate", "manage", "admin"];

/** Show the dialog. */
export async function showAccount() {
  const said = element("p", { role: "status", class: "made-token" });
  const tokens = element("ul", { class: "plain-list" });
  const name = element("input", { id: "token-name", type: "text", maxlength: "100", required: true });
  const scope = element("select", { id: "token-scope" }, ...SCOPES.map((each) => element("option", { value: each }, each)));
  const days = element("input", { id: "token-days", type: "number", min: "1", value: "90", required: true });
  const field = (text, control) => element("label", { class: "field" }, element("span", {}, text), control);
  const form = element("form", { class: "form" }, field(strings.tokenName, name), field(strings.tokenScope, scope), field(strings.tokenDays, days),
    element("button", { type: "submit", class: "primary" }, strings.makeToken));
  const attempt = (ask) => async (event) => {
    event.preventDefault();
    said.textContent = "";
    try {
      await ask();
      await look();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      said.textContent = problem.message;
    }
  };
  const look = async () => {
    const found = await list("/v1/tokens");
    const lines = found.map((each) => element("li", {}, `${strings.token(each)} `, element("button", {
      type: "button", class: "small", "aria-label": strings.revokeOf(each.name), onclick: attempt(() => remove(`/v1/tokens/${each.id}`)),
    }, strings.revoke)));
    replaceChildren(tokens, ...(lines.length ? lines : [element("li", { class: "faint" }, strings.noTokens)]));
  };
  form.addEventListener("submit", attempt(async () => {
    const made = await post("/v1/tokens", { name: name.value, scope: scope.value, days: days.valueAsNumber });
    said.textContent = strings.tokenMade(made.token);
    form.reset();
  }));
  const close = element("button", { type: "button", onclick: () => dialog.close() }, strings.close);
  const dialog = element("dialog", { id: "account", "aria-labelledby": "account-title", onclose: () => dialog.remove() },
    element("h2", { id: "account-title" }, strings.tokens), tokens, form, said, close);
  await look();
  document.body.append(dialog);
  dialog.showModal();
}

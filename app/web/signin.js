// The sign-in screen: shown over whatever is there when the service says that it does not know who asks.

import { element } from "./dom.js";
import { setAnnotatorName } from "./kept.js";
import { strings } from "./strings.js";

export const RETURN_TO = "nextslice.return-to";

let shown = false;

/** Ask for name and password until the service accepts them; then the page begins anew, with its drafts. */
export function askToSignIn() {
  if (shown) return;
  shown = true;
  const said = element("p", { class: "signin-said", role: "alert" });
  const field = (name, text, kind, complete) =>
    element("label", { class: "field" }, element("span", {}, text), element("input", { name, type: kind, autocomplete: complete, required: true }));
  const form = element(
    "form",
    { class: "signin-form" },
    element("h2", { id: "signin-title" }, strings.signInTitle),
    field("name", strings.signInName, "text", "username"),
    field("password", strings.signInPassword, "password", "current-password"),
    said,
    element("button", { type: "submit", class: "primary" }, strings.signIn),
  );
  const dialog = element("dialog", { id: "signin", "aria-labelledby": "signin-title", oncancel: (event) => event.preventDefault() }, form);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(form));
    const answer = await fetch("/v1/auth/login", {
      method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(given),
    }).catch(() => null);
    if (answer?.ok) {
      setAnnotatorName((await answer.json()).name);
      window.location.reload();
      return;
    }
    const problem = (await answer?.json().catch(() => null)) ?? {};
    said.textContent = problem.detail ?? strings.unreachable;
  });
  document.body.append(dialog);
  dialog.showModal();
  offerProvider(form, said);
}

/** Where the service knows a provider: a button that leaves for it, and comes back to this very page. */
async function offerProvider(form, said) {
  const provider = await fetch("/v1/auth/provider").then((answer) => answer.json()).catch(() => null);
  if (!provider?.configured) return;
  const leave = async () => {
    const answer = await fetch("/v1/auth/provider/begin", { method: "POST" }).catch(() => null);
    const told = (await answer?.json().catch(() => null)) ?? {};
    if (!answer?.ok) {
      said.textContent = told.detail ?? strings.unreachable;
      return;
    }
    const { pathname, search, hash } = window.location;
    window.sessionStorage.setItem(RETURN_TO, pathname + search + hash);
    window.location.assign(told.url);
  };
  form.append(element("button", { type: "button", id: "signin-provider", onclick: leave }, strings.signInThrough(provider.name)));
}

// Where a provider sends the browser back to: what it sent along is handed to the service, then the work goes on.

import { setAnnotatorName } from "./kept.js";
import { RETURN_TO } from "./signin.js";
import { strings } from "./strings.js";

const given = new URLSearchParams(window.location.search);
document.querySelector("#signing-in").textContent = strings.signingIn;
// A code is good for one use: it has no place in the history.
window.history.replaceState(null, "", window.location.pathname);

const left = window.sessionStorage.getItem(RETURN_TO) ?? "/";
window.sessionStorage.removeItem(RETURN_TO);
const back = left.startsWith("/") && !left.startsWith("//") ? left : "/";

const body = { state: given.get("state") ?? "", code: given.get("code") ?? "", error: given.get("error") ?? "" };
const answer = await fetch("/v1/auth/provider/complete", {
  method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
}).catch(() => null);
const told = (await answer?.json().catch(() => null)) ?? {};
if (answer?.ok) {
  setAnnotatorName(told.name);
  window.location.replace(back);
} else {
  document.querySelector("#said").textContent = told.detail ?? strings.unreachable;
  const again = document.querySelector("#again");
  again.textContent = strings.signInAgain;
  again.href = back;
  again.hidden = false;
}

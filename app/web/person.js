// Who works here: a name to type where nobody signs in, else the account and the way out.

import { get, post } from "./api.js";
import { element } from "./dom.js";
import { annotatorName, setAnnotatorName } from "./kept.js";
import { strings } from "./strings.js";

/** Fill the header's place and give the person of `/v1/me`; `renamed` is called when somebody types another name. */
export async function showPerson(place, renamed = () => {}) {
  const me = await get("/v1/me");
  if (me.local) place.replaceChildren(...nameField(renamed));
  else {
    setAnnotatorName(me.name);
    const open = async () => (await import("./account.js")).showAccount();
    place.replaceChildren(
      element("button", { type: "button", class: "quiet", title: strings.tokens, onclick: open }, me.name),
      element("button", { type: "button", onclick: signOut }, strings.signOut),
    );
  }
  return me;
}

function nameField(renamed) {
  const field = element("input", {
    id: "annotator", type: "text", maxlength: "200", autocomplete: "off", spellcheck: "false", value: annotatorName(),
    onchange: (event) => {
      setAnnotatorName(event.target.value);
      renamed();
    },
  });
  return [element("label", { for: "annotator" }, strings.annotatorName), field];
}

async function signOut() {
  await post("/v1/auth/logout");
  window.location.assign("/");
}

// Model versions: which one predictions come from, and the way back.

import { list, post } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { annotatorName } from "../kept.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

/** Fill the view; `act` does what is asked for and shows refusals. */
export async function showModels(project, act) {
  const path = `/v1/projects/${project.slug}`;
  const [versions, promotions] = await Promise.all([list(`${path}/model-versions`), list(`${path}/promotions`)]);
  const promote = (version) => () => act(() => post(`${path}/promotions`, { version, author: annotatorName() }));
  const rows = [...versions].reverse().map((each) => [
    strings.version(each.version),
    each.in_use ? element("strong", { class: "good" }, strings.inUse) : each.complete ? "" : strings.incompleteModel,
    [share(each.metrics.dice)],
    [share(each.metrics.dice_ensemble)],
    [String(each.annotation_versions.length)],
    [String(each.predicted_volumes)],
    element("span", { class: "links" }, ...each.model_ids.map((id, member) =>
      element("a", { href: `/v1/models/${id}/weights`, download: true, "aria-label": strings.weightsOf(each.version, member) }, String(member + 1)))),
    each.in_use || !each.complete ? "" : button(strings.promote, promote(each.version), strings.promoteVersion(each.version)),
  ]);
  replaceChildren(byId("versions"), versions.length ? table(strings.versionColumns, rows) : element("p", { class: "faint" }, strings.noVersions));
  const follow = button(strings.followNewest, promote(null));
  const back = button(strings.rollBack, () => act(() => post(`${path}/rollback`, { author: annotatorName() })));
  follow.disabled = !versions.length;
  back.disabled = versions.length < 2;
  replaceChildren(byId("version-actions"), follow, back);
  const log = promotions.map((each) => element("li", {}, strings.promotion(each)));
  replaceChildren(byId("promotions"), ...(log.length ? log : [element("li", { class: "faint" }, strings.noPromotions)]));
}

function button(text, onclick, label = null) {
  return element("button", { type: "button", onclick, "aria-label": label }, text);
}

function share(value) {
  return value == null ? "–" : value.toFixed(3);
}

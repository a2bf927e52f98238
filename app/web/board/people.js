// Who annotated how much, and in what time.

import { get } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

export async function showPeople(project) {
  const { annotators } = await get(`/v1/projects/${project.slug}/statistics`);
  const rows = annotators.map((each) => [
    each.author,
    each.source,
    [String(each.slices)],
    [String(each.versions)],
    [each.median_ms === null ? "–" : strings.duration(each.median_ms)],
    [each.total_ms === null ? "–" : strings.duration(each.total_ms)],
    [each.total_ms ? ((each.slices * 3_600_000) / each.total_ms).toFixed(0) : "–"],
    strings.moment(each.last_at),
  ]);
  replaceChildren(byId("pace"), rows.length ? table(strings.paceColumns, rows) : element("p", { class: "faint" }, strings.nobodyYet));
}

// Exports: which format, which masks, of which snapshot; and what was exported before.

import { ifAllowed, list, post } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

/** Bind the forms; `project` gives the one in front, `act` does what is asked for and shows refusals. */
export function bindExports(project, act) {
  byId("export-format").append(...Object.entries(strings.exportFormats).map(([value, text]) => element("option", { value }, text)));
  byId("export-parts").append(...Object.entries(strings.exportParts).map(([value, text]) =>
    element("label", { class: "check" }, element("input", { type: "checkbox", name: "part", value }), element("span", {}, text))));
  byId("export-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const form = new FormData(byId("export-form"));
    const wanted = { format: form.get("format"), parts: form.getAll("part"), snapshot_id: form.get("snapshot") || null };
    act(() => post(`/v1/projects/${project().slug}/exports`, wanted));
  });
  byId("snapshot-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("snapshot-name").value.trim();
    act(async () => {
      await post(`/v1/projects/${project().slug}/snapshots`, { name });
      byId("snapshot-name").value = "";
    });
  });
}

/** Fill the view. */
export async function showExports(project, jobs) {
  const snapshots = await ifAllowed(list, `/v1/projects/${project.slug}/snapshots`);
  byId("export-form").hidden = byId("snapshot-form").hidden = snapshots === null;
  const chosen = byId("export-snapshot").value;
  const named = (snapshots ?? []).map((each) => element("option", { value: each.id }, strings.snapshot(each)));
  replaceChildren(byId("export-snapshot"), element("option", { value: "" }, strings.snapshotNow), ...named);
  if ([...byId("export-snapshot").options].some(({ value }) => value === chosen)) byId("export-snapshot").value = chosen;
  const rows = jobs.filter(({ kind }) => kind === "export").map((job) => [
    strings.moment(job.created_at),
    element("span", { class: `state-${job.state}` }, strings.states[job.state]),
    job.state === "succeeded" ? element("a", { href: `/v1/exports/${job.id}/file`, download: true }, strings.exportReady) : job.error?.detail ?? job.message,
  ]);
  const none = snapshots === null ? strings.forManagers : strings.noExports;
  replaceChildren(byId("exports"), rows.length ? table(strings.exportColumns, rows) : element("p", { class: "faint" }, none));
}

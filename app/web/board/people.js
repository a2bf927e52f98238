// Who annotated how much and in what time, how far the readers agree, and who is what in the project.

import { get, ifAllowed, list, post, remove } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

const ROLES = ["viewer", "annotator", "reviewer", "manager", "owner"];

let measured = { key: null, found: null }; // agreement is computed anew only when something was annotated

/** Bind the form that gives somebody a role; `project` gives the one in front, `act` shows refusals. */
export function bindMembers(project, act) {
  byId("member-role").append(...ROLES.map((role) => element("option", { value: role }, strings.roles[role])));
  byId("member-role").value = "annotator";
  byId("member-form").addEventListener("submit", (event) => {
    event.preventDefault();
    const name = byId("member-name").value.trim();
    act(async () => {
      await post(memberPath(project(), name), { role: byId("member-role").value }, "PUT");
      byId("member-name").value = "";
    });
  });
}

/** Fill the view. */
export async function showPeople(project, act) {
  const path = `/v1/projects/${project.slug}`;
  const [statistics, members] = await Promise.all([ifAllowed(get, `${path}/statistics`), ifAllowed(list, `${path}/members`)]);
  showPace(statistics);
  showMembers(project, members, act);
  await showAgreement(project);
}

function showPace(statistics) {
  const rows = (statistics?.annotators ?? []).map((each) => [
    each.author,
    each.source,
    [String(each.slices)],
    [String(each.versions)],
    [each.median_ms === null ? "–" : strings.duration(each.median_ms)],
    [each.total_ms === null ? "–" : strings.duration(each.total_ms)],
    [each.total_ms ? ((each.slices * 3_600_000) / each.total_ms).toFixed(0) : "–"],
    strings.moment(each.last_at),
  ]);
  const none = statistics === null ? strings.forReviewers : strings.nobodyYet;
  replaceChildren(byId("pace"), rows.length ? table(strings.paceColumns, rows) : faint(none));
}

async function showAgreement(project) {
  if (project.overlap === 1) {
    replaceChildren(byId("agreement"), faint(strings.oneReader));
    return;
  }
  const key = `${project.id} ${project.annotated}`;
  if (measured.key !== key) measured = { key, found: await ifAllowed(get, `/v1/projects/${project.slug}/agreement`) };
  const names = new Map(project.label_schema.map(({ value, name }) => [value, name]));
  const rows = (measured.found?.items ?? []).map((each) => [
    each.readers.join(" – "),
    names.get(each.class_value) ?? String(each.class_value),
    [String(each.slices)],
    [share(each.dice)],
    [each.hd95 === null ? "–" : `${each.hd95.toFixed(1)} ${each.hd95_unit}`],
    [share(each.kappa)],
  ]);
  replaceChildren(byId("agreement"), rows.length ? table(strings.agreementColumns, rows) : faint(strings.noAgreement));
}

function showMembers(project, members, act) {
  byId("member-form").hidden = members === null;
  const rows = (members ?? []).map((each) => [
    each.name,
    strings.roles[each.role],
    element("button", {
      type: "button", class: "small", "aria-label": strings.removeMemberOf(each.name), onclick: () => act(() => remove(memberPath(project, each.name))),
    }, strings.removeMember),
  ]);
  const none = members === null ? strings.forManagers : strings.noMembers;
  replaceChildren(byId("members"), rows.length ? table(strings.memberColumns, rows) : faint(none));
}

function memberPath(project, name) {
  return `/v1/projects/${project.slug}/members/${encodeURIComponent(name)}`;
}

function faint(text) {
  return element("p", { class: "faint" }, text);
}

function share(value) {
  return value === null ? "–" : value.toFixed(3);
}

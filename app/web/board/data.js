// Files in, and what came of each.

import { get, post, Problem, uploadFile } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { isFinal } from "./jobs.js";
import { table } from "./tables.js";

const LOOK_EVERY_MS = 500;

/** Bind the form that takes files in; `project` gives the one in front, `done` is called after each file. */
export function bindImport(project, done) {
  byId("import-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    const files = [...byId("import-files").files];
    const [send, bar] = [byId("import-send"), byId("import-bar")];
    const { slug } = project();
    send.disabled = true;
    bar.hidden = false;
    byId("import-report").replaceChildren();
    for (const [at, file] of files.entries()) {
      const share = (part, text) => {
        bar.value = (at + part) / files.length;
        byId("import-said").textContent = text;
      };
      byId("import-report").append(...(await importOne(slug, file, share, done)));
      await done();
    }
    bar.hidden = true;
    byId("import-said").textContent = strings.imported(files.length);
    send.disabled = false;
  });
}

// Half of the bar is the way to the service, half is its work.
async function importOne(slug, file, share, done) {
  try {
    const upload = await uploadFile(slug, file, (part) => share(part / 2, strings.importing(file.name)));
    const split = byId("import-split").value || null;
    return await takeIn(slug, file.name, { upload: upload.id, split }, share, done);
  } catch (problem) {
    return refusal(file.name, problem);
  }
}

async function takeIn(slug, name, order, share, done) {
  let job = await post(`/v1/projects/${slug}/imports`, order);
  while (!isFinal(job)) {
    share(0.5 + (job.progress_total ? job.progress_done / job.progress_total / 2 : 0), `${name}: ${job.message || strings.states[job.state]}`);
    await new Promise((wait) => setTimeout(wait, LOOK_EVERY_MS));
    job = await get(`/v1/jobs/${job.id}`);
  }
  if (job.state !== "succeeded") return [line("state-failed", `${name}: ${job.error?.detail ?? strings.states[job.state]}`)];
  const report = await get(`/v1/imports/${job.id}`);
  return [...reportLines(name, report), ...questions(slug, name, report, order, done)];
}

function refusal(name, problem) {
  if (!(problem instanceof Problem)) throw problem;
  return [line("state-failed", `${name}: ${problem.message}`)];
}

// One question for all volumes of one voxel size whose axes point alike; the answer imports again, with the axis for them.
function questions(slug, name, report, order, done) {
  const alike = Map.groupBy(report.needs_axis, (each) => JSON.stringify([each.spacing_mm, each.views]));
  return [...alike.values()].map((volumes) => {
    const choices = volumes[0].views.map((view, axis) => element("button", { type: "button", onclick: () => answer(axis) }, strings.axis(axis, view, volumes[0].shape)));
    const asked = element("li", {}, element("span", {}, strings.axisUnclear(volumes)), " ", ...choices);
    async function answer(axis) {
      choices.forEach((choice) => { choice.disabled = true; });
      const axes = { ...order.axes, ...Object.fromEntries(volumes.map((each) => [each.name, axis])) };
      const said = (_share, text) => { asked.firstChild.textContent = text; };
      asked.replaceWith(...(await takeIn(slug, name, { ...order, axes }, said, done).catch((problem) => refusal(name, problem))));
      await done();
    }
    return asked;
  });
}

function reportLines(name, report) {
  return [
    line(report.volumes.length ? "good" : "state-failed", strings.imports(name, report.volumes.length)),
    ...[...report.refused, ...report.left_out].map((each) => line("state-failed", `${each.name}: ${each.reason}`)),
    ...report.remarks.map((text) => line("faint", text)),
  ];
}

function line(kind, text) {
  return element("li", { class: kind }, text);
}

/** The volumes, by patient. */
export function showVolumes(volumes) {
  const rows = volumes.map((each) => [
    each.patient, each.name, each.split, [each.shape.join(" × ")], each.dtype,
    [each.spacing_mm === null ? "–" : each.spacing_mm.map((mm) => Number(mm.toPrecision(3))).join(" × ")],
    each.ground_truth.join(", "),
  ]);
  replaceChildren(byId("volumes"), rows.length ? table(strings.volumeColumns, rows) : element("p", { class: "faint" }, strings.noVolumes));
}

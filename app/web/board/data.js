// Volumes in, exports out.

import { uploadVolume } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

/** Bind the form that takes files in; `done` is called after each file. */
export function bindImport(project, done) {
  const form = byId("import-form");
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const files = [...byId("import-files").files];
    if (!files.length) return;
    const send = byId("import-send");
    send.disabled = true;
    byId("import-bar").hidden = false;
    const lines = [];
    for (const [at, file] of files.entries()) {
      const share = (part) => {
        byId("import-bar").value = (at + part) / files.length;
        byId("import-said").textContent = strings.importing(file.name, at + 1, files.length);
      };
      share(0);
      lines.push(await uploadOne(project(), file, files.length > 1, share));
      replaceChildren(byId("import-report"), ...lines);
      await done();
    }
    byId("import-bar").hidden = true;
    byId("import-said").textContent = strings.imported(files.length);
    send.disabled = false;
  });
}

async function uploadOne(project, file, many, share) {
  const stem = file.name.replace(/\.(nii(\.gz)?|nrrd|mha|mhd|dcm|zip)$/i, "");
  const [patient, ...rest] = stem.split(/[_-]/);
  const typed = byId("import-patient").value.trim();
  const fields = { patient: many || !typed ? patient : typed, name: rest.join("_") || "scan", split: byId("import-split").value };
  try {
    const volume = await uploadVolume(project.slug, file, fields, share);
    return element("li", { class: "good" }, strings.volumeIn(file.name, volume));
  } catch (problem) {
    return element("li", { class: "state-failed" }, `${file.name}: ${problem.message}`);
  }
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

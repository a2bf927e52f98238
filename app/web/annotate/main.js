// The annotation page: whose project, whose name, which slice.

import { get, Problem } from "../api.js";
import { byId, element } from "../dom.js";
import { dropOldDrafts } from "../kept.js";
import { showPerson } from "../person.js";
import { applyStrings, strings } from "../strings.js";
import { cover } from "../viewer/telling.js";
import { Page, reviewPath } from "./page.js";

async function main() {
  applyStrings(document);
  dropOldDrafts();
  const query = new URLSearchParams(window.location.search);
  const slug = query.get("project");
  if (slug === null) {
    cover(strings.noProject);
    return;
  }
  const purpose = query.get("purpose") === "review" ? "review" : "annotate";
  byId("board").href = `/#/${encodeURIComponent(slug)}`;
  if (purpose === "review") {
    byId("board").href = reviewPath(slug);
    byId("board").querySelector("span").textContent = strings.review.back;
  }
  try {
    const [project] = await Promise.all([
      get(`/v1/projects/${encodeURIComponent(slug)}`),
      showPerson(byId("who"), () => window.location.reload()),
    ]);
    byId("project").textContent = project.name;
    document.title = `${project.name} · ${strings.annotateTitle} · ${strings.product}`;
    await new Page(project, query.get("slice"), purpose).start();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    cover(problem.message);
    byId("cover").append(element("button", { type: "button", onclick: () => window.location.reload() }, strings.retryJob));
  }
}

await main();

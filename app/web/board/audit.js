// The audit log, the newest first: who did what to what, filtered, page after page.

import { get, ifAllowed } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

const FILTERS = ["actor", "action", "object"];

export class Audit {
  constructor(act) {
    this.act = act;
    this.slug = null;
    this.rows = [];
    this.cursor = null;
    byId("audit-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.act(() => this.begin(this.slug));
    });
    byId("audit-older").addEventListener("click", () => this.act(() => this.more()));
  }

  /** Show the log of a project; what is shown already stays until somebody asks anew. */
  async show(project) {
    if (this.slug !== project.slug) await this.begin(project.slug);
  }

  async begin(slug) {
    Object.assign(this, { slug, rows: [], cursor: null });
    await this.more();
  }

  async more() {
    const query = this.query();
    byId("audit-csv").href = `/v1/projects/${this.slug}/audit?${query}&format=csv&limit=500`;
    if (this.cursor !== null) query.set("cursor", this.cursor);
    const page = await ifAllowed(get, `/v1/projects/${this.slug}/audit?${query}`);
    byId("audit-form").hidden = page === null;
    this.rows.push(...(page?.items ?? []));
    this.cursor = page?.next_cursor ?? null;
    byId("audit-older").hidden = this.cursor === null;
    const cells = this.rows.map((each) => [strings.moment(each.at), each.actor, each.action, each.object, each.address]);
    const none = page === null ? strings.forManagers : strings.noAudit;
    replaceChildren(byId("audit"), cells.length ? table(strings.auditColumns, cells) : element("p", { class: "faint" }, none));
  }

  query() {
    const query = new URLSearchParams({ order: "newest" });
    for (const name of FILTERS) {
      const value = byId(`audit-${name}`).value.trim();
      if (value !== "") query.set(name, value);
    }
    const since = byId("audit-since").value;
    if (since !== "") query.set("since", new Date(since).toISOString());
    return query;
  }
}

// The annotation page: lease a slice, draw, submit, next.

import { get, post, Problem, release } from "../api.js";
import { byId, element } from "../dom.js";
import { annotatorName, dropOldDrafts, keepDraft, listUnsent, setAnnotatorName } from "../kept.js";
import { applyStrings, strings } from "../strings.js";
import { bindControls, showState } from "./controls.js";
import { Desk } from "./desk.js";
import { cover, showSlice, tell } from "./panel.js";
import { Sender } from "./sender.js";
import { Stage } from "./stage.js";
import { TabLock } from "./tabs.js";
import { prefetchWork, Work } from "./work.js";

const AHEAD = 2; // the slice in hand and the next one, so that it is there at once
const RENEW_MS = 5 * 60 * 1000;
const ASK_AGAIN_MS = 2000;

class Page {
  constructor(project, wanted) {
    this.project = project;
    this.wanted = wanted; // a slice id that somebody opened by hand, or null
    this.leases = [];
    this.round = null;
    this.moving = false; // from one slice to the next
    this.tabs = new TabLock((slice) => {
      this.keepUnfinished();
      this.lock(slice, strings.takenOver);
    });
    this.stage = new Stage(byId("canvas"), project.label_schema);
    this.desk = new Desk(project, this.stage);
    this.desk.changed = () => showState(this.desk);
    this.sender = new Sender({
      sent: (record) => this.sent(record),
      refused: (record, problem) => this.refused(record, problem),
      changed: (count) => {
        byId("unsent").hidden = count === 0;
        byId("unsent").textContent = strings.waitingToSend(count);
      },
    });
    this.desk.submit = () => this.submit();
    bindControls(this.desk);
  }

  async start() {
    window.addEventListener("pagehide", () => this.keepUnfinished());
    document.addEventListener("visibilitychange", () => document.hidden && this.keepUnfinished());
    setInterval(() => this.desk.work !== null && this.lease().catch(() => {}), RENEW_MS);
    byId("board").addEventListener("click", (event) => this.leave(event));
    // What could not be sent last time goes first, so that its slice is not handed out again.
    await this.sender.flush();
    if (this.wanted === null) await this.next();
    else await this.open(await get(`/v1/slices/${this.wanted}`));
  }

  /** Lease (or renew) the slice in hand and those that come next. */
  async lease() {
    const asked = { annotator: annotatorName(), n: AHEAD };
    const held = (await post(`/v1/projects/${this.project.slug}/leases`, asked))?.items ?? [];
    const unsent = new Set(listUnsent().map((record) => record.slice));
    this.leases = held.filter(({ slice }) => slice.id !== this.desk.work?.slice.id && !unsent.has(slice.id));
    return held;
  }

  /** Go on to the next slice: at once where it is here already, else as soon as there is one. */
  async next() {
    const ready = this.leases.shift();
    if (ready !== undefined) {
      await this.open(ready.slice);
      this.lookAhead();
      return;
    }
    this.desk.close();
    cover(strings.loading);
    try {
      await this.lease();
      if (this.leases.length) await this.next();
      else cover(strings.allDoneTitle, strings.allDone);
    } catch (problem) {
      this.wait(problem);
    }
  }

  wait(problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.code !== "round-pending" && !problem.passes) {
      cover(problem.message);
      return;
    }
    cover(problem.code === "round-pending" ? strings.pendingTitle : strings.waitingTitle, problem.message);
    setTimeout(() => this.next(), ASK_AGAIN_MS);
  }

  async open(slice, { claimed = false } = {}) {
    try {
      const mine = claimed || (await this.tabs.claim(slice.id));
      const work = await Work.load(slice);
      cover(null);
      this.desk.locked = false;
      this.desk.open(work);
      if (!mine) this.lock(slice.id, strings.otherTab);
      if (work.restored) byId("kept").textContent = strings.restored;
      await this.showRound(work);
    } catch (problem) {
      if (this.desk.work?.slice.id !== slice.id) this.leases.unshift({ slice });
      this.wait(problem);
    }
  }

  async showRound(work) {
    const id = work.slice.proposal?.round_id;
    showSlice(work, this.round?.id === id ? this.round : null);
    this.round = id === undefined ? null : await get(`/v1/rounds/${id}`).catch(() => this.round);
    if (this.desk.work === work) showSlice(work, this.round);
  }

  /** Have the slice after this one leased and its pixels here. */
  async lookAhead() {
    await this.lease().catch(() => {});
    for (const { slice } of this.leases) prefetchWork(slice);
  }

  async submit() {
    const { work } = this.desk;
    if (work === null || this.desk.readOnly || this.moving) return;
    this.desk.drawn();
    const kind = this.kindOf(work);
    if (kind === null) return;
    tell(null);
    this.moving = true;
    const { slice, version, mask, leadTimeMs } = work;
    const project = this.project.slug;
    const sent = this.sender.submit({
      project, slice: slice.id, version, kind, annotator: annotatorName(), leadTimeMs, pixels: mask.pixels,
    });
    work.drop();
    // The next slice is here already as a rule: nobody waits for the answer then.
    if (!this.leases.length) await sent;
    await this.next();
    this.moving = false;
    await sent;
    if (this.desk.work !== null) await Promise.all([this.lookAhead(), this.showRound(this.desk.work)]);
  }

  /** The kind to submit as; null where the mask cannot be submitted, and why was said. */
  kindOf({ mask }) {
    const unlabelled = this.desk.count();
    if (unlabelled === mask.pixels.length) tell(strings.nothingDrawn, { kind: "error" });
    else if (this.project.supervision === "scribble") return "scribble";
    else if (unlabelled === 0) return "full";
    else if (this.project.supervision === "mixed") return "scribble";
    else tell(strings.incomplete(unlabelled), { kind: "error" });
    return null;
  }

  sent() {
    byId("kept").textContent = strings.submitted;
  }

  /** The service said no for good: the mask becomes a draft again, and the person decides. */
  refused(record, problem) {
    const stale = problem.status === 412;
    const version = stale ? (problem.etag ?? record.version) : record.version;
    keepDraft(record.slice, version, record.pixels, record.leadTimeMs);
    const reopen = async () => {
      tell(null);
      await this.open(await get(`/v1/slices/${record.slice}`));
    };
    const buttons = [[stale ? strings.openMine : strings.refusedOnce, reopen]];
    tell(stale ? strings.stale : problem.message, { kind: "error", buttons });
  }

  /** Another tab draws on this slice, or has just taken it over. */
  lock(slice, text) {
    if (this.desk.work?.slice.id !== slice) return;
    this.desk.locked = true;
    this.desk.changed();
    const takeOver = async () => {
      tell(null);
      await this.tabs.claim(slice, true);
      await this.open(await get(`/v1/slices/${slice}`), { claimed: true });
    };
    tell(text, { kind: "error", buttons: [[strings.takeOver, takeOver]] });
  }

  keepUnfinished() {
    const { work } = this.desk;
    if (work !== null && !this.desk.locked && (work.begun || work.mask.changed.size > 0)) this.desk.keep();
  }

  /** Give back what was not begun, so that others need not wait for it to expire. */
  async leave(event) {
    event.preventDefault();
    this.keepUnfinished();
    const held = await this.lease().catch(() => []);
    const begun = this.desk.work?.begun ? this.desk.work.slice.id : null;
    await Promise.allSettled(held.filter(({ slice }) => slice.id !== begun).map(({ id }) => release(id)));
    window.location.assign(byId("board").href);
  }
}

async function main() {
  applyStrings(document);
  dropOldDrafts();
  byId("annotator").value = annotatorName();
  byId("annotator").addEventListener("change", (event) => {
    setAnnotatorName(event.target.value);
    window.location.reload();
  });
  const query = new URLSearchParams(window.location.search);
  const slug = query.get("project");
  if (slug === null) {
    cover(strings.noProject);
    return;
  }
  byId("board").href = `/#/${encodeURIComponent(slug)}`;
  try {
    const project = await get(`/v1/projects/${encodeURIComponent(slug)}`);
    byId("project").textContent = project.name;
    document.title = `${project.name} · ${strings.annotateTitle} · ${strings.product}`;
    await new Page(project, query.get("slice")).start();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    cover(problem.message);
    byId("cover").append(element("button", { type: "button", onclick: () => window.location.reload() }, strings.retryJob));
  }
}

await main();

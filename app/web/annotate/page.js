// The work on the annotation page: lease a slice, draw, submit, next.

import { get, list, Problem } from "../api.js";
import { byId } from "../dom.js";
import { annotatorName, keepDraft } from "../kept.js";
import { strings } from "../strings.js";
import { Holding } from "../viewer/holding.js";
import { Stage } from "../viewer/stage.js";
import { cover, tell } from "../viewer/telling.js";
import { Autosave } from "./autosave.js";
import { bindControls, showState } from "./controls.js";
import { Desk } from "./desk.js";
import { showRejection, showSlice } from "./panel.js";
import { Sender } from "./sender.js";
import { askWhySkip, buildSkip } from "./skipping.js";
import { TabLock } from "./tabs.js";
import { prefetchWork, Work } from "./work.js";

const ASK_AGAIN_MS = 2000;

export class Page {
  constructor(project, wanted, purpose) {
    this.project = project;
    this.wanted = wanted; // a slice id that somebody opened by hand, or null
    this.purpose = purpose; // "review": somebody else's mask is fixed, then the review goes on
    this.holding = new Holding(project, () => tell(strings.leaseLost, { kind: "error" }), purpose);
    this.autosave = new Autosave({
      kind: project.supervision === "full" ? "full" : "scribble",
      saved: (work) => {
        if (this.desk.work === work) this.desk.keep(strings.savedThere);
      },
      stale: (work, tag) => this.draftedElsewhere(work, tag),
    });
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
    this.desk.fixes = this.fixes;
    this.desk.submit = () => this.submit();
    this.desk.skip = () => this.holding.inHand !== null && !this.moving && askWhySkip();
    this.desk.edited = () => this.autosave.note();
    buildSkip((reason, note) => this.skip(reason, note));
    bindControls(this.desk);
  }

  async start() {
    window.addEventListener("pagehide", () => this.keepUnfinished());
    document.addEventListener("visibilitychange", () => document.hidden && this.keepUnfinished());
    byId("board").addEventListener("click", (event) => this.leave(event));
    // What could not be sent last time goes first, so that its slice is not handed out again.
    await this.sender.flush();
    if (this.wanted === null) {
      await this.next();
      return;
    }
    if (this.fixes) {
      await this.holding.renew();
      this.holding.takeThis(this.wanted);
    }
    await this.open(await get(`/v1/slices/${this.wanted}`));
  }

  get fixes() {
    return this.purpose === "review";
  }

  /** Go on to the next slice: at once where it is here already, else as soon as there is one. */
  async next() {
    const ready = this.holding.take();
    if (ready !== null) {
      await this.open(ready.slice);
      this.lookAhead();
      return;
    }
    this.desk.close();
    cover(strings.loading);
    try {
      await this.holding.renew();
      if (this.holding.ahead.length) await this.next();
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
      // Until the person has said what becomes of a draft from before, nothing is saved in its place.
      this.autosave.open(mine && work.outdated === null ? work : null);
      if (work.changes > 0) this.autosave.note(); // what this browser kept while the service was away
      byId("skip-slice").disabled = this.fixes || this.holding.inHand?.slice.id !== slice.id;
      if (work.otherDraft !== null) this.offerOther(work);
      if (work.outdated !== null) this.offerOutdated(work);
      if (!mine) this.lock(slice.id, strings.otherTab);
      if (work.restored) byId("kept").textContent = strings.restored;
      await Promise.all([this.showRound(work), this.showReviews(work)]);
    } catch (problem) {
      if (this.desk.work?.slice.id !== slice.id && this.holding.inHand?.slice.id === slice.id) this.holding.putBack();
      this.wait(problem);
    }
  }

  async showRound(work) {
    const id = work.slice.proposal?.round_id;
    showSlice(work, this.round?.id === id ? this.round : null);
    this.round = id === undefined ? null : await get(`/v1/rounds/${id}`).catch(() => this.round);
    if (this.desk.work === work) showSlice(work, this.round);
  }

  /** What a reviewer said of the version in hand, and where. */
  async showReviews(work) {
    const reviews = work.version === "0" ? [] : await list(`/v1/slices/${work.slice.id}/reviews`);
    if (this.desk.work !== work) return;
    const sentBack = reviews.findLast((each) => each.verdict === "reject" && each.version_id === work.version) ?? null;
    showRejection(sentBack);
    this.desk.pinned(sentBack?.x == null ? null : { row: sentBack.y, column: sentBack.x });
  }

  /** Have the slice after this one leased and its pixels here. */
  async lookAhead() {
    await this.holding.renew().catch(() => {});
    for (const { slice } of this.holding.ahead) prefetchWork(slice);
  }

  async submit() {
    const { work } = this.desk;
    if (work === null || this.desk.readOnly || this.moving) return;
    if (work.outdated !== null) return this.offerOutdated(work); // submitting would end that draft unseen
    this.desk.drawn();
    const kind = this.kindOf(work);
    if (kind === null) return;
    tell(null);
    this.moving = true;
    const { slice, version, mask, leadTimeMs, draftTag } = work;
    const { slug: project, schema_version: schemaVersion } = this.project;
    this.sender.keep({
      project, slice: slice.id, version, kind, purpose: this.purpose, annotator: annotatorName(), leadTimeMs,
      draftTag, schemaVersion, pixels: mask.pixels,
    });
    // A draft that is on its way arrives first: the submission ends it.
    const sent = this.autosave.stop().then(() => this.sender.flush());
    work.drop();
    if (this.fixes) {
      await sent;
      this.moving = false;
      if (!byId("message").classList.contains("error")) window.location.assign(reviewPath(project));
      return;
    }
    // The next slice is here already as a rule: nobody waits for the answer then.
    if (!this.holding.ahead.length) await sent;
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
    keepDraft(record.slice, version, record.pixels, { leadTimeMs: record.leadTimeMs, tag: record.draftTag });
    const reopen = async () => {
      tell(null);
      await this.open(await get(`/v1/slices/${record.slice}`));
    };
    if (problem.code === "schema-version-stale") {
      const reload = () => window.location.assign(slicePath(record.project, record.slice));
      tell(strings.classesChanged, { kind: "error", buttons: [[strings.showClasses, reload]] });
      return;
    }
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

  /** Pass the slice on; its draft stays where it is until somebody annotates it. */
  async skip(reason, note) {
    const { work } = this.desk;
    this.moving = true;
    try {
      await this.holding.skip(reason, note);
      await this.autosave.stop();
      work.drop();
      await this.next();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      tell(problem.message, { kind: "error" });
    }
    this.moving = false;
  }

  /** The same person has drawn on this slice in another browser: both drafts are there, and the person decides. */
  draftedElsewhere(work, tag) {
    this.autosave.open(null);
    const mine = () => {
      tell(null);
      work.draftTag = tag;
      this.autosave.open(work);
      this.autosave.note(0);
    };
    const theirs = async () => {
      tell(null);
      work.drop();
      await this.open(await get(`/v1/slices/${work.slice.id}`));
    };
    tell(strings.draftElsewhere, { kind: "error", buttons: [[strings.goOnWithMine, mine], [strings.takeOther, theirs]] });
  }

  /** Somebody's version came after the person's draft, and they have seen neither beside the other. */
  offerOutdated(work) {
    const decide = (take) => () => {
      tell(null);
      if (this.desk.work !== work) return;
      const { pixels, tag } = work.outdated;
      work.draftTag = tag;
      work.outdated = null;
      this.autosave.open(work);
      if (take) this.desk.replace(pixels);
      else this.autosave.note(0);
    };
    tell(strings.outdatedDraft, { kind: "error", buttons: [[strings.takeDraft, decide(true)], [strings.leaveDraft, decide(false)]] });
  }

  offerOther(work) {
    const take = () => {
      tell(null);
      this.desk.replace(work.otherDraft);
    };
    tell(strings.otherDraft, { buttons: [[strings.takeOther, take]] });
  }

  /** Give back what was not begun, so that others need not wait for it to expire. */
  async leave(event) {
    event.preventDefault();
    this.keepUnfinished();
    await this.autosave.save();
    if (!this.fixes) await this.holding.leave(this.desk.work?.begun ?? false);
    window.location.assign(byId("board").href);
  }
}

function slicePath(project, slice) {
  return `/annotate.html?${new URLSearchParams({ project, slice })}`;
}

/** The address of the review page of a project. */
export function reviewPath(project) {
  return `/review.html?${new URLSearchParams({ project })}`;
}

// The draft at the service: it follows its author to another browser, and holds the lease while somebody draws.

import { Problem, saveDraft } from "../api.js";
import { gzip } from "../core/coding.js";
import { annotatorName } from "../kept.js";

const SAVE_EVERY_MS = 2000;
const AGAIN_MS = 5000;

export class Autosave {
  /** `saved` is called after each save; `stale` with (work, tag) when another browser has saved meanwhile. */
  constructor({ kind, saved, stale }) {
    this.kind = kind;
    this.tell = { saved, stale };
    this.work = null;
    this.timer = null;
    this.running = null;
  }

  /** From now on this slice's mask is what is saved. */
  open(work) {
    clearTimeout(this.timer);
    this.timer = null;
    this.work = work;
  }

  /** Something was drawn: it is saved within two seconds. */
  note(soonMs = SAVE_EVERY_MS) {
    if (this.work !== null) this.timer ??= setTimeout(() => this.save(), soonMs);
  }

  /** No more of this slice: it is submitted or skipped. Resolves when nothing is on its way. */
  async stop() {
    this.open(null);
    await this.running;
  }

  async save() {
    this.timer = null;
    const { work } = this;
    if (work === null || this.running !== null) return;
    this.running = this.put(work);
    const again = await this.running;
    this.running = null;
    if (again && this.work === work) this.note(AGAIN_MS);
  }

  async put(work) {
    const steps = work.changes;
    try {
      const bytes = await gzip(work.mask.pixels);
      const { tag } = await saveDraft(work.slice.id, bytes, {
        kind: this.kind, annotator: annotatorName(), tag: work.draftTag, version: work.version, leadTimeMs: work.leadTimeMs,
      });
      work.draftTag = tag;
      work.savedChanges = steps;
      if (this.work === work) this.tell.saved(work);
      return work.changes !== steps;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.status === 412 && this.work === work) this.tell.stale(work, problem.etag);
      return problem.passes;
    }
  }
}

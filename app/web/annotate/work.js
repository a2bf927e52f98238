// The slice that is being annotated: its mask, what was done to it, and its draft.

import { get, readAnnotation, readDraft, readPrediction, readUncertainty } from "../api.js";
import { History } from "../core/history.js";
import { Mask } from "../core/mask.js";
import { annotatorName, dropDraft, findDraft, keepDraft, listUnsent } from "../kept.js";
import { loadPlane, prefetchPlanes } from "../viewer/planes.js";
import { loadVolume } from "../viewer/volumes.js";

const IDLE_MS = 30_000; // a longer pause is not counted as time of annotation
const CONTEXT = 2; // neighbours on either side that are fetched ahead

export class Work {
  constructor(slice, { volume, slices }, plane, mask) {
    this.slice = slice;
    this.volume = volume;
    this.siblings = slices;
    this.plane = plane;
    this.mask = mask;
    this.version = slice.annotation;
    this.history = new History();
    this.leadTimeMs = 0;
    this.restored = false;
    this.touchedAt = performance.now();
    this.draftTag = "0"; // of the draft at the service
    this.otherDraft = null; // pixels of a draft from another browser that this one's was preferred to
    this.outdated = null; // {pixels, tag} of a draft that was drawn over an earlier version: it waits for the person's word
    this.changes = 0; // counted, so that a draft knows what it holds
    this.savedChanges = 0; // so many of them are in the draft at the service
    this.begun = false; // something was drawn that is not submitted
  }

  /** Load everything that the first view of a slice needs; a draft of this version comes back. */
  static async load(slice) {
    const [context, plane, stored, saved] = await Promise.all([
      loadVolume(slice.volume_id),
      loadPlane(slice.id),
      slice.annotation === "0" ? null : readAnnotation(slice.id),
      loadDraft(slice.id),
    ]);
    const version = stored?.version ?? slice.annotation;
    const kept = findDraft(slice.id, version, slice.shape[0] * slice.shape[1]);
    const follows = saved === null || saved.base === version || saved.tag === kept?.tag;
    const [draft, other] = chooseDraft(kept, follows ? saved : null);
    const work = new Work(slice, context, plane, new Mask(...slice.shape, draft?.pixels ?? stored?.pixels ?? null));
    work.version = version;
    if (follows) work.draftTag = saved?.tag ?? "0";
    else work.outdated = saved;
    work.otherDraft = other;
    if (draft === kept && kept?.unsaved) work.changes = 1;
    if (draft !== null) {
      work.leadTimeMs = draft.leadTimeMs;
      work.restored = work.begun = true;
    }
    prefetchPlanes(work.neighbours());
    return work;
  }

  /** Slice ids around this one, the nearest first. */
  neighbours() {
    return this.siblings
      .filter((each) => each.id !== this.slice.id && Math.abs(each.index - this.slice.index) <= CONTEXT)
      .sort((a, b) => Math.abs(a.index - this.slice.index) - Math.abs(b.index - this.slice.index))
      .map((each) => each.id);
  }

  /** Note what the last stroke changed; true when it changed something. */
  commit() {
    const step = this.mask.takeStep();
    this.history.push(step);
    if (step !== null) {
      this.begun = true;
      this.changes += 1;
    }
    return step !== null;
  }

  undo() {
    return this.walked(this.history.undo(this.mask));
  }

  redo() {
    return this.walked(this.history.redo(this.mask));
  }

  walked(done) {
    if (done) this.changes += 1;
    return done;
  }

  /** Count the time that somebody works on this slice. */
  touch() {
    const now = performance.now();
    this.leadTimeMs += Math.min(now - this.touchedAt, IDLE_MS);
    this.touchedAt = now;
  }

  keep() {
    const unsaved = this.changes > this.savedChanges || this.mask.changed.size > 0;
    keepDraft(this.slice.id, this.version, this.mask.pixels, { leadTimeMs: this.leadTimeMs, tag: this.draftTag, unsaved });
  }

  drop() {
    dropDraft(this.slice.id, this.version);
  }
}

// What was drawn last wins: this browser's draft follows on the one at the service, or was never sent; else the
// service's is newer. Gives the draft to go on with, and the pixels of the other one where nobody can tell.
function chooseDraft(kept, saved) {
  if (kept === null || saved === null) return [kept ?? saved, null];
  if (kept.tag === saved.tag) return [kept, null];
  return kept.unsaved ? [kept, saved.pixels] : [saved, null];
}

function loadDraft(slice) {
  return readDraft(slice, annotatorName()).catch(() => null); // this browser has one of its own
}

/** The newest prediction of a slice or null; one that cannot be had now is no reason to stop anybody. */
export function loadPrediction(slice) {
  return readPrediction(slice).catch(() => null);
}

/** How unsure the models are of each pixel, or null. */
export function loadUncertainty(slice) {
  return readUncertainty(slice).catch(() => null);
}

/** What somebody last said about a slice, sent or still waiting to be; null: nothing. */
export async function findMask(slice) {
  const waiting = listUnsent().find((record) => record.slice === slice);
  if (waiting !== undefined) return waiting.pixels;
  const { annotation } = await get(`/v1/slices/${slice}`);
  return annotation === "0" ? null : ((await readAnnotation(slice))?.pixels ?? null);
}

/** Have at hand what opening a slice will ask for. */
export function prefetchWork(slice) {
  loadVolume(slice.volume_id).catch(() => {});
  prefetchPlanes([slice.id]);
}

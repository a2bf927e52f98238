// The slices that this person holds: the one in hand and those that come next.

import { post, release } from "../api.js";
import { annotatorName, listUnsent } from "../kept.js";

const AHEAD = 2; // the slice in hand and the next one, so that it is there at once
const BEAT_MS = 30_000; // the service takes a client for gone after 90 s of silence

export class Holding {
  /** `lost` is called when the lease of the slice in hand is gone; `purpose` is "annotate" or "review". */
  constructor(project, lost, purpose = "annotate") {
    this.project = project;
    this.purpose = purpose;
    this.inHand = null; // a lease; null: opened by hand
    this.ahead = [];
    setInterval(() => this.beat(lost), BEAT_MS);
  }

  /** Hold the slice in hand and those that come next; gives all leases. */
  async renew() {
    const asked = { annotator: annotatorName(), n: AHEAD, purpose: this.purpose };
    const held = (await post(`/v1/projects/${this.project.slug}/leases`, asked))?.items ?? [];
    const unsent = new Set(listUnsent().map((record) => record.slice));
    this.ahead = held.filter(({ slice }) => slice.id !== this.inHand?.slice.id && !unsent.has(slice.id));
    return held;
  }

  /** The next slice comes into the hand; null: none is held. */
  take() {
    this.inHand = this.ahead.shift() ?? null;
    return this.inHand;
  }

  /** This slice, held already, comes into the hand. */
  takeThis(slice) {
    this.inHand = this.ahead.find((lease) => lease.slice.id === slice) ?? null;
    this.ahead = this.ahead.filter((lease) => lease !== this.inHand);
  }

  /** It could not be opened: it is the next one again. */
  putBack() {
    if (this.inHand !== null) this.ahead.unshift(this.inHand);
    this.inHand = null;
  }

  /** Pass the slice in hand on, with the reason. */
  async skip(reason, note) {
    await post(`/v1/leases/${this.inHand.id}/skip`, { reason, note });
    this.inHand = null;
  }

  /** Give back what was not begun, so that others need not wait for it to expire. */
  async leave(begun) {
    const given = begun || this.inHand === null ? this.ahead : [this.inHand, ...this.ahead];
    await Promise.allSettled(given.map(({ id }) => release(id)));
  }

  async beat(lost) {
    for (const lease of [this.inHand, ...this.ahead]) {
      if (lease === null) continue;
      try {
        await post(`/v1/leases/${lease.id}/heartbeat`);
      } catch (problem) {
        if (problem.passes) return;
        this.ahead = this.ahead.filter((each) => each !== lease);
        if (lease === this.inHand) {
          this.inHand = null;
          lost();
        }
      }
    }
  }
}

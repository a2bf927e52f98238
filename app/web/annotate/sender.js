// Submissions on their way: kept first, sent then, tried again until the service has answered.

import { Problem, readAnnotation, submitMask } from "../api.js";
import { gzip } from "../core/coding.js";
import { dropUnsent, keepUnsent, listUnsent } from "../kept.js";

const AGAIN_MS = 3000;

/** `sent` is called with each record that the service stored, `refused` with (record, problem), `changed` with the number that waits. */
export class Sender {
  constructor({ sent, refused, changed }) {
    this.tell = { sent, refused, changed };
    this.running = null;
    this.timer = null;
    window.addEventListener("online", () => this.flush());
  }

  /** Keep a submission in this browser; flush sends it. */
  keep(record) {
    keepUnsent(record);
    this.tell.changed(listUnsent().length);
  }

  /** Send everything that waits. */
  async flush() {
    // One after the other: a flush during a flush would send the same mask twice.
    while (this.running !== null) await this.running;
    this.running = this.sendAll();
    await this.running;
    this.running = null;
  }

  async sendAll() {
    clearTimeout(this.timer);
    for (const record of listUnsent()) {
      const problem = await sendOne(record);
      if (problem?.passes) {
        this.timer = setTimeout(() => this.flush(), AGAIN_MS);
        break;
      }
      dropUnsent(record);
      if (problem === null) this.tell.sent(record);
      else this.tell.refused(record, problem);
    }
    this.tell.changed(listUnsent().length);
  }
}

async function sendOne(record) {
  try {
    await submitMask(record.slice, await gzip(record.pixels), record);
    return null;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    if (problem.status !== 412) return problem;
    return (await wasStored(record)) ? null : problem;
  }
}

// The answer to an earlier try may have been lost after the mask was stored.
async function wasStored(record) {
  const stored = await readAnnotation(record.slice).catch(() => null);
  return stored !== null && stored.pixels.every((value, index) => value === record.pixels[index]);
}

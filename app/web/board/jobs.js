// The job card, live: server-sent events of the newest job.

import { element, replaceChildren, byId } from "../dom.js";
import { strings } from "../strings.js";

const FINAL = new Set(["succeeded", "failed", "cancelled"]);

export const isFinal = (job) => FINAL.has(job.state);

/** Follows one job at a time; `changed` is called with each of its events. */
export class JobFollower {
  constructor(changed) {
    this.changed = changed;
    this.id = null;
    this.source = null;
  }

  follow(id) {
    if (id === this.id) return;
    this.stop();
    this.id = id;
    this.source = new EventSource(`/v1/jobs/${id}/events`);
    this.source.addEventListener("job", (event) => {
      const job = JSON.parse(event.data);
      if (isFinal(job)) this.stop(); // else the browser would open the finished stream again and again
      this.changed(job);
    });
  }

  stop() {
    this.source?.close();
    this.source = null;
    this.id = null;
  }
}

/** Show a job; null: none has run yet. */
export function showJob(job, { cancel, retry }) {
  if (job === null) {
    replaceChildren(byId("job"), element("p", { class: "faint" }, strings.noJob));
    return;
  }
  const { done, total } = { done: job.progress_done, total: job.progress_total };
  const value = job.state === "running" && total === 0 ? {} : { value: job.state === "succeeded" ? 1 : done / Math.max(total, 1) };
  const buttons = [];
  if (!isFinal(job)) buttons.push(element("button", { type: "button", onclick: cancel }, strings.cancelJob));
  if (job.state === "failed" || job.state === "cancelled") {
    buttons.push(element("button", { type: "button", onclick: retry }, strings.retryJob));
  }
  if (job.kind === "export" && job.state === "succeeded") {
    buttons.push(element("a", { class: "button", href: `/v1/exports/${job.id}/file`, download: true }, strings.exportReady));
  }
  replaceChildren(
    byId("job"),
    element(
      "div",
      { class: "job-line" },
      element("strong", {}, strings.jobKinds[job.kind] ?? job.kind),
      element("span", { class: `state-${job.state}`, role: "status" }, strings.states[job.state]),
      element("span", { class: "faint" }, timeOf(job)),
    ),
    element("progress", { max: "1", "aria-label": strings.jobKinds[job.kind] ?? job.kind, ...value }),
    job.error === null ? "" : element("p", { class: "job-error" }, job.error.detail ?? job.error.code),
    describe(job) || buttons.length
      ? element("div", { class: "job-foot" }, element("span", { class: "grow" }, describe(job)), ...buttons)
      : "",
  );
}

function describe(job) {
  const share = job.progress_total > 0 && !isFinal(job) ? `${job.progress_done} / ${job.progress_total}` : "";
  return [job.state === "succeeded" ? "" : job.message, share].filter(Boolean).join(" · ");
}

function timeOf(job) {
  if (job.state === "queued") return job.queue_position === null ? "" : strings.queuePlace(job.queue_position);
  if (job.state === "running") return job.time_left_s === null ? "" : strings.timeLeft(job.time_left_s);
  if (job.started_at === null || job.finished_at === null) return "";
  return strings.tookTime((new Date(job.finished_at) - new Date(job.started_at)) / 1000);
}

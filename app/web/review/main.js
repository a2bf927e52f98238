// The review page: lease what somebody else drew, look, accept, fix or reject, next.

import { get, post, Problem } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { annotatorName } from "../kept.js";
import { showPerson } from "../person.js";
import { applyStrings, strings } from "../strings.js";
import { Holding } from "../viewer/holding.js";
import { cover, tell } from "../viewer/telling.js";
import { Windowing } from "../viewer/windowing.js";
import { bindControls } from "./controls.js";
import { showFigures } from "./differences.js";
import { bindPointer } from "./pointer.js";
import { Sights } from "./sights.js";
import { loadSight, loadWork } from "./work.js";

const ASK_AGAIN_MS = 2000;
const FAR = 10; // pixels of a long step of the keys

class Review {
  constructor(project) {
    this.project = project;
    this.holding = new Holding(project, () => tell(strings.review.leaseLost, { kind: "error" }), "review");
    this.sights = new Sights(project.label_schema);
    this.windowing = new Windowing(() => this.sights.window(this.windowing.setting));
    this.work = null;
    this.viewed = null; // the slice on the screen; another than work.slice is context
    this.pin = null; // {row, column}
    this.pointed = null; // the pixel where the keys stand
    this.busy = false;
    bindControls(this);
    bindPointer(this.sights, {
      pinned: (place) => this.setPin(place),
      windowed: (dx, dy) => this.windowing.drag(dx, dy),
      stepped: (by) => this.stepped(by),
      hovered: (row, column) => this.hovered(row, column),
    });
  }

  get looksElsewhere() {
    return this.work !== null && this.viewed.id !== this.work.slice.id;
  }

  /** Go on to the next slice that waits for a reviewer. */
  async next() {
    this.close();
    try {
      if (!this.holding.ahead.length) await this.holding.renew();
      const lease = this.holding.take();
      if (lease === null) cover(strings.review.doneTitle, strings.review.done);
      else await this.open(lease.slice);
    } catch (problem) {
      this.wait(problem);
    }
  }

  wait(problem) {
    if (!(problem instanceof Problem)) throw problem;
    this.holding.putBack();
    const pending = problem.code === "round-pending";
    if (!pending && !problem.passes) {
      cover(problem.message);
      return;
    }
    cover(pending ? strings.pendingTitle : strings.waitingTitle, problem.message);
    setTimeout(() => this.next(), ASK_AGAIN_MS);
  }

  close() {
    this.work = null;
    this.setBusy(true);
    cover(strings.loading);
  }

  async open(slice) {
    const work = await loadWork(slice);
    this.work = work;
    this.viewed = work.slice;
    byId("comment").value = "";
    this.windowing.open(work.volume, work.sight.plane);
    cover(null);
    this.sights.open(work.sight.plane, work.slice.spacing_mm);
    this.showWork();
    this.setPin(null);
    this.showFacts();
    this.setBusy(false);
    this.holding.beat(() => {}); // from now on a closed page frees the slice for others
  }

  showWork() {
    this.showSight(this.work.sight);
    this.sights.pin(this.pin);
    this.showPlace();
  }

  showSight({ plane, submitted, predicted }) {
    const compared = this.sights.set(plane, this.windowing.setting, submitted, predicted);
    showFigures(compared, this.project.label_schema);
    byId("submitted-said").textContent = submitted === null ? strings.review.notAnnotated : "";
    byId("predicted-said").textContent = predicted === null ? strings.review.notPredicted : "";
    byId("difference-said").textContent = compared === null ? strings.review.notCompared : strings.review.differ(compared.counts);
  }

  showPlace() {
    const { work, viewed, looksElsewhere } = this;
    byId("position").textContent = strings.position(viewed.index, work.slice.depth);
    byId("read-only").hidden = !looksElsewhere;
    byId("read-only-text").textContent = strings.review.neighbour(viewed.index, work.slice.depth);
  }

  showFacts() {
    const { slice, version, reviews } = this.work;
    byId("slice-name").textContent = strings.sliceName(slice);
    byId("author").textContent = strings.review.author(version);
    byId("reason").textContent = slice.proposal?.reason ?? "";
    replaceChildren(byId("earlier"), ...reviews.map((each) => element("li", {}, strings.review.said(each))));
  }

  /** Look at a neighbour of the volume. */
  async stepped(by) {
    if (this.work === null) return;
    const { siblings } = this.work;
    const slice = siblings[Math.min(siblings.length - 1, Math.max(0, this.viewed.index + by))];
    if (slice.id === this.viewed.id) return;
    this.viewed = slice;
    if (!this.looksElsewhere) {
      this.showWork();
      return;
    }
    this.showPlace();
    try {
      const sight = await loadSight(slice);
      if (this.viewed.id !== slice.id) return;
      this.showSight(sight);
      this.sights.pin(null);
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      tell(problem.message, { kind: "error" });
      this.back();
    }
  }

  back() {
    if (this.pointed !== null) this.point(null);
    else if (this.looksElsewhere) {
      this.viewed = this.work.slice;
      this.showWork();
    }
    tell(null);
  }

  /** Pin the comment to a place, {row, column}; null: to none. */
  setPin(place) {
    if (this.work === null || this.looksElsewhere) return;
    this.pin = place;
    this.sights.pin(place);
    byId("pin-said").textContent = place === null ? strings.review.noPin : strings.review.pinned(Math.floor(place.row), Math.floor(place.column));
    byId("unpin").hidden = place === null;
    if (place === null) this.point(null);
  }

  point(place) {
    this.pointed = place;
    this.sights.point(place);
    if (place !== null) this.hovered(place.row, place.column);
  }

  /** Move the place of the keys by whole pixels; the first key shows where they stand. */
  walk(rows, columns, far = false) {
    if (this.work === null || this.looksElsewhere) return;
    const { shape } = this.sights.view;
    const from = this.pointed ?? { row: Math.floor(shape[0] / 2), column: Math.floor(shape[1] / 2) };
    const step = this.pointed === null ? 0 : far ? FAR : 1;
    const within = (value, most) => Math.min(most - 1, Math.max(0, value));
    this.point({ row: within(from.row + rows * step, shape[0]), column: within(from.column + columns * step, shape[1]) });
  }

  /** Pin where the keys stand. */
  press() {
    if (this.pointed === null) this.walk(0, 0);
    else this.setPin({ row: this.pointed.row + 0.5, column: this.pointed.column + 0.5 });
  }

  hovered(row, column) {
    const { shape, values, channels } = this.sights.plane;
    const inside = row >= 0 && column >= 0 && row < shape[0] && column < shape[1];
    const value = inside ? Number(values[(row * shape[1] + column) * channels].toPrecision(5)) : "";
    byId("cursor").textContent = inside ? strings.cursor(row, column, value) : "";
  }

  setBusy(busy) {
    this.busy = busy;
    for (const name of ["approve", "correct", "reject"]) byId(name).disabled = busy;
  }

  /** Say what is to become of the version, then go on. */
  async decide(verdict) {
    if (this.busy || this.work === null) return;
    const comment = byId("comment").value.trim();
    if (verdict === "reject" && comment === "") {
      tell(strings.review.commentNeeded, { kind: "error" });
      byId("comment").focus();
      return;
    }
    this.setBusy(true);
    const { version, slice } = this.work;
    const place = this.pin === null ? {} : { x: this.pin.column, y: this.pin.row };
    try {
      await post(`/v1/annotation-versions/${version.id}/reviews`, { annotator: annotatorName(), verdict, comment, ...place });
      tell(null);
      byId("said").textContent = strings.review.decided[verdict];
      await this.next();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      this.setBusy(false);
      const again = async () => (tell(null), this.open(await get(`/v1/slices/${slice.id}`)));
      tell(problem.message, { kind: "error", buttons: problem.code === "version-superseded" ? [[strings.refusedOnce, again]] : [] });
    }
  }

  /** Draw it right oneself: on the annotation page, which saves the fix and comes back. */
  correct() {
    if (this.busy || this.work === null) return;
    const query = new URLSearchParams({ project: this.project.slug, slice: this.work.slice.id, purpose: "review" });
    window.location.assign(`/annotate.html?${query}`);
  }

  /** Give back what was not judged, so that others need not wait for it to expire. */
  async leave(event) {
    event.preventDefault();
    await this.holding.leave(false);
    window.location.assign(byId("board").href);
  }
}

async function main() {
  applyStrings(document);
  const slug = new URLSearchParams(window.location.search).get("project");
  if (slug === null) {
    cover(strings.noProject);
    return;
  }
  byId("board").href = `/#/${encodeURIComponent(slug)}`;
  try {
    const [project] = await Promise.all([
      get(`/v1/projects/${encodeURIComponent(slug)}`),
      showPerson(byId("who"), () => window.location.reload()),
    ]);
    byId("project").textContent = project.name;
    document.title = `${project.name} · ${strings.review.title} · ${strings.product}`;
    const review = new Review(project);
    byId("board").addEventListener("click", (event) => review.leave(event));
    await review.next();
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    cover(problem.message);
  }
}

await main();

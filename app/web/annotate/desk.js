// What the annotator has in hand: the slice, the tool, window and level, the neighbour that is looked at.

import { readAnnotation } from "../api.js";
import { copyLabelled, fillRest, Mask, replaceAll, BACKGROUND } from "../core/mask.js";
import { byId } from "../dom.js";
import { strings } from "../strings.js";
import { loadPlane, prefetchPlanes } from "../viewer/planes.js";
import { tell } from "../viewer/telling.js";
import { Windowing } from "../viewer/windowing.js";
import { classesByKey, showCounts } from "./panel.js";
import { findMask, loadPrediction, loadUncertainty } from "./work.js";

export const TOOLS = ["pen", "brush", "eraser", "fill", "polygon"];
const SIZE_MOST = 60;
const KEEP_EVERY_MS = 250;

export class Desk {
  constructor(project, stage) {
    this.project = project;
    this.stage = stage;
    this.work = null;
    this.viewed = null; // the slice on the screen; another than work.slice is context
    this.tool = { name: "pen", size: 5, value: classesByKey(project.label_schema)[0].value };
    this.windowing = new Windowing(() => this.rewindowed());
    this.keptAt = 0;
    this.pin = null; // {row, column} of a reviewer's comment
    this.fixes = false; // a reviewer draws over somebody else's mask
    this.locked = false; // another tab draws on this slice
    this.changed = () => {};
    this.opened = () => {};
    this.skip = () => {};
    this.edited = () => {};
  }

  get readOnly() {
    return this.work === null || this.locked || this.looksElsewhere;
  }

  /** True while a neighbour is on the screen. */
  get looksElsewhere() {
    return this.work !== null && this.viewed.id !== this.work.slice.id;
  }

  /** Begin with a slice. */
  open(work) {
    this.work = work;
    this.viewed = work.slice;
    this.windowing.open(work.volume, work.plane);
    this.stage.polygon = [];
    this.pin = null;
    this.stage.open(work.plane, work.slice.spacing_mm);
    this.opened();
    this.showWork();
  }

  /** Nothing in hand. */
  close() {
    this.work = null;
    this.viewed = null;
  }

  /** The place that a reviewer's comment means, {row, column} or null. */
  pinned(place) {
    this.pin = place;
    if (!this.looksElsewhere) this.stage.setPin(place);
  }

  showWork() {
    this.plane = this.work.plane;
    this.stage.setPin(this.pin);
    this.stage.setImage(this.plane, this.windowing.setting);
    this.stage.setMask(this.work.mask);
    this.showPrediction(this.work.slice);
    this.changed();
  }

  async showPrediction(slice) {
    this.prediction = null;
    this.stage.setPrediction(null);
    this.stage.setUncertainty(null);
    const [found, unsure] = await Promise.all([loadPrediction(slice.id), loadUncertainty(slice.id)]);
    if (this.viewed?.id !== slice.id) return; // somebody went on meanwhile
    this.prediction = found;
    this.stage.setPrediction(found);
    this.stage.setUncertainty(unsure);
    this.changed();
  }

  /** Look at a neighbour of the volume; its own slice can be drawn on again. */
  async stepped(by) {
    if (this.work === null) return;
    const { siblings } = this.work;
    const index = Math.min(siblings.length - 1, Math.max(0, this.viewed.index + by));
    if (index === this.viewed.index) return;
    const slice = siblings[index];
    this.viewed = slice;
    if (slice.id === this.work.slice.id) {
      this.showWork();
      return;
    }
    this.changed();
    prefetchPlanes([siblings[index + by]?.id].filter(Boolean));
    try {
      const annotated = slice.annotation === "0" ? null : readAnnotation(slice.id);
      const [plane, stored] = await Promise.all([loadPlane(slice.id), annotated]);
      if (this.viewed.id !== slice.id) return;
      this.plane = plane;
      this.stage.setPin(null);
      this.stage.setImage(plane, this.windowing.setting);
      this.stage.setMask(new Mask(...slice.shape, stored?.pixels ?? null));
      await this.showPrediction(slice);
    } catch (problem) {
      tell(problem.message, { kind: "error" });
      this.back();
    }
  }

  back() {
    if (this.looksElsewhere) {
      this.viewed = this.work.slice;
      this.showWork();
    }
  }

  /** A stroke goes on: show it, and keep it now and then in case the page goes away in the middle of it. */
  drawing() {
    this.stage.changed();
    if (performance.now() - this.keptAt > KEEP_EVERY_MS) this.keep();
  }

  /** A stroke has ended. */
  drawn() {
    this.work.touch();
    if (this.work.commit()) {
      this.keep();
      this.edited();
    }
    this.stage.changed();
    this.changed();
  }

  keep(said = strings.saved) {
    this.keptAt = performance.now();
    try {
      this.work.keep();
      byId("kept").textContent = said;
    } catch (error) {
      if (error.name !== "QuotaExceededError") throw error;
      tell(strings.notKept, { kind: "error" });
    }
  }

  undo() {
    this.walk(() => this.work.undo());
  }

  redo() {
    this.walk(() => this.work.redo());
  }

  walk(step) {
    // In the middle of a stroke there is nothing whole yet that could be taken back.
    if (this.readOnly || this.work.mask.changed.size > 0 || !step()) return;
    this.keep();
    this.edited();
    this.drawn();
  }

  /** Every pixel that nobody labelled becomes background: only ever when somebody says so. */
  restIsBackground() {
    if (this.readOnly) return;
    fillRest(this.work.mask, BACKGROUND);
    this.drawn();
  }

  /** Draw what the slice above has (or, without any there, the one below) over this one. */
  async copyNeighbour() {
    if (this.readOnly) return;
    try {
      await this.copyFrom(this.work);
    } catch (problem) {
      tell(problem.message, { kind: "error" });
    }
  }

  async copyFrom(work) {
    for (const by of [-1, 1]) {
      const beside = work.siblings[work.slice.index + by];
      const stored = beside === undefined ? null : await findMask(beside.id);
      if (stored === null) continue;
      if (this.work !== work || this.readOnly) return;
      copyLabelled(work.mask, stored);
      this.drawn();
      tell(strings.copied(beside.index));
      return;
    }
    tell(strings.nothingToCopy, { kind: "error" });
  }

  usePrediction() {
    if (this.prediction !== null) this.replace(this.prediction);
  }

  /** Put other pixels in the place of what is drawn, as one step that can be undone. */
  replace(pixels) {
    if (this.readOnly) return;
    replaceAll(this.work.mask, pixels);
    this.drawn();
  }

  chooseTool(name) {
    this.tool.name = name;
    this.stage.polygon = [];
    this.stage.repaint();
    this.changed();
  }

  chooseClass(value) {
    this.tool.value = value;
    if (this.tool.name === "eraser") this.tool.name = "pen";
    this.changed();
  }

  resize(by) {
    this.tool.size = Math.min(SIZE_MOST, Math.max(1, this.tool.size + by));
    this.changed();
  }

  windowed(dx, dy) {
    this.windowing.drag(dx, dy);
  }

  rewindowed() {
    this.stage.setImage(this.plane, this.windowing.setting);
    this.changed();
  }

  hovered(row, column) {
    const { shape, values, channels } = this.plane;
    const inside = row >= 0 && column >= 0 && row < shape[0] && column < shape[1];
    const at = (row * shape[1] + column) * channels;
    const value = Array.from(values.subarray(at, at + channels), (each) => Number(each.toPrecision(5))).join(", ");
    byId("cursor").textContent = inside ? strings.cursor(row, column, value) : "";
  }

  zoomed() {
    this.stage.draw();
    this.changed();
  }

  zoomBy(factor) {
    const { width, height, view } = this.stage;
    if (view === null) return;
    view.zoomAt(width / 2, height / 2, view.zoom * factor);
    this.zoomed();
  }

  /** Unlabelled pixels of the mask in hand. */
  count() {
    return showCounts(this.project.label_schema, this.work.mask);
  }
}

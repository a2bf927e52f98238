// Three pictures of one slice, moved together: what was submitted, what the models say, and where the two differ.

import { compareMasks } from "../core/difference.js";
import { BACKGROUND, Mask, UNLABELLED } from "../core/mask.js";
import { byId } from "../dom.js";
import { Stage } from "../viewer/stage.js";
import { DIFFERENCES } from "./differences.js";

const NAMES = ["submitted", "predicted", "difference"];
const OPACITY = 0.6; // tissue stays visible below: a reviewer judges the edge

export class Sights {
  constructor(schema) {
    this.stages = NAMES.map((name) => new Stage(byId(name), name === "difference" ? DIFFERENCES : schema));
    this.change({ opacity: OPACITY });
    this.plane = null;
  }

  get view() {
    return this.stages[0].view;
  }

  get show() {
    return this.stages[0].show;
  }

  /** Begin with a slice: the whole of it in view. */
  open(plane, spacingMm) {
    const [first, ...others] = this.stages;
    first.open(plane, spacingMm);
    for (const stage of others) stage.open(plane, spacingMm, first.view);
  }

  /** Show a plane with its two masks, each null where there is none; gives how they compare, or null. */
  set(plane, setting, submitted, predicted) {
    this.plane = plane;
    const compared = submitted === null || predicted === null ? null : compareMasks(submitted, predicted);
    const masks = [submitted === null ? null : bare(submitted), predicted === null ? null : bare(predicted), compared?.pixels ?? null];
    this.stages.forEach((stage, index) => {
      stage.setImage(plane, setting);
      stage.setMask(new Mask(...plane.shape, masks[index]));
    });
    return compared;
  }

  /** Another window or level. */
  window(setting) {
    for (const stage of this.stages) stage.setImage(this.plane, setting);
  }

  /** Show or hide, fainter or stronger, on all three. */
  change(wanted) {
    for (const stage of this.stages) {
      Object.assign(stage.show, wanted);
      stage.draw();
    }
  }

  /** The pin of the comment, {row, column} or null. */
  pin(place) {
    for (const stage of this.stages) stage.setPin(place);
  }

  /** Where the keys stand, {row, column} or null. */
  point(place) {
    for (const stage of this.stages) stage.moveKeyPen(place === null ? null : { ...place, down: false });
  }

  fit() {
    if (this.view !== null) this.stages[0].fit();
    this.draw();
  }

  zoomBy(factor) {
    if (this.view === null) return;
    const { width, height } = this.stages[0];
    this.view.zoomAt(width / 2, height / 2, this.view.zoom * factor);
    this.draw();
  }

  draw() {
    if (this.view !== null) for (const stage of this.stages) stage.draw();
  }
}

// A whole mask says background wherever nothing else is: hatching all of it would hide the image.
function bare(pixels) {
  return pixels.includes(UNLABELLED) ? pixels : pixels.map((value) => (value === BACKGROUND ? UNLABELLED : value));
}

// The canvas: the slice in its true proportions, the mask, the prediction, the cursor.
// A frame repaints only what changed: the scaled image is kept, and a stroke touches no more than its own box.

import { pixelAspect, View } from "../core/geometry.js";
import { paintGrey } from "../core/grey.js";
import { BACKGROUND } from "../core/mask.js";
import { backgroundPalette, classPalette, findOutlines, paintMask, uncertaintyPalette } from "../core/overlay.js";
import { drawHatch, Layer } from "./layers.js";
import { paintCursor, paintKeyPen, paintPin, paintPolygon } from "./marks.js";

const BACKDROP = "#000000";
const OUTLINE_PX = 2;
const CURSOR_EDGE_PX = 3;
const UNKNOWN_COLOUR = "#ffffff"; // a class that the schema no longer has

export class Stage {
  constructor(canvas, classes) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.palette = classPalette(classes);
    this.stencilPalette = backgroundPalette();
    this.uncertaintyPalette = uncertaintyPalette();
    this.colours = new Map(classes.map(({ value, color }) => [value, color]));
    this.outlines = new Map(); // of the prediction
    this.hatch = this.context.createPattern(drawHatch(), "repeat");
    this.scratch = document.createElement("canvas");
    this.base = document.createElement("canvas"); // the image as it stands on the screen, without anything drawn
    this.show = { mask: true, prediction: true, uncertainty: false, smooth: true, opacity: 0.85 };
    this.cursor = null; // {x, y, radius} on the screen
    this.keyPen = null; // {row, column, down}: the pixel of the pen that keys move
    this.pin = null; // {row, column}: the place that a reviewer's comment means
    this.polygon = []; // [row, column] points of an unfinished polygon
    this.mask = null;
    this.hasUncertainty = false;
    this.stale = []; // screen boxes {left, top, right, bottom} to repaint; null: everything
    this.baseStale = true;
    this.frameWanted = false;
    this.view = null;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Begin with a slice of another volume or shape: whole slice in view, or as a stage beside this one shows it. */
  open(plane, spacingMm, view = new View(plane.shape, pixelAspect(spacingMm))) {
    this.view = view;
    const names = ["image", "mask", "background", "uncertainty"];
    this.layers = Object.fromEntries(names.map((name) => [name, new Layer(...plane.shape)]));
    this.mask = null;
    this.hasUncertainty = false;
    this.fit();
  }

  fit() {
    this.resize();
    this.view.fit(this.width, this.height);
    this.draw();
  }

  setImage(plane, setting) {
    paintGrey(plane, setting, this.layers.image.bytes);
    this.layers.image.update();
    this.draw();
  }

  /** Show a mask from now on; `changed` paints what was drawn into it since. */
  setMask(mask) {
    this.mask = mask;
    mask.takeDirty();
    this.paintLayers({ top: 0, left: 0, bottom: mask.height - 1, right: mask.width - 1 });
    this.draw();
  }

  /** Something was drawn into the mask: show it with the next frame. */
  changed() {
    this.request();
  }

  paintLayers(box) {
    const { pixels, width } = this.mask;
    paintMask(pixels, this.palette, this.layers.mask.words, width, box);
    paintMask(pixels, this.stencilPalette, this.layers.background.words, width, box);
    this.layers.mask.update(box);
    this.layers.background.update(box);
  }

  /** Show the outlines of a prediction; null: none. */
  setPrediction(pixels) {
    this.outlines = pixels === null ? new Map() : findOutlines(pixels, this.view.shape);
    this.draw();
  }

  /** Show where the model is unsure: a byte a pixel, 0 sure, 255 most unsure; null: not known. */
  setUncertainty(pixels) {
    this.hasUncertainty = pixels !== null;
    if (pixels !== null) {
      const [height, width] = this.view.shape;
      const box = { top: 0, left: 0, bottom: height - 1, right: width - 1 };
      paintMask(pixels, this.uncertaintyPalette, this.layers.uncertainty.words, width, box);
      this.layers.uncertainty.update();
    }
    this.draw();
  }

  /** Show the cursor elsewhere; null: nowhere. */
  moveCursor(cursor) {
    const shown = this.cursor;
    this.cursor = cursor;
    if (this.polygon.length) this.repaint();
    else if (shown?.radius || cursor?.radius) {
      for (const each of [shown, cursor]) if (each?.radius) this.stale?.push(boxAround(each));
      this.request();
    }
  }

  /** Paint everything once before the next frame, however often this is called. */
  draw() {
    this.stale = null;
    this.baseStale = true;
    this.request();
  }

  /** The same where neither the image nor its place on the screen has changed. */
  repaint() {
    this.stale = null;
    this.request();
  }

  /** Show the pen that keys move: {row, column, down}; null: not shown. */
  moveKeyPen(pen) {
    this.keyPen = pen;
    this.repaint();
  }

  /** Show the pin of a comment: {row, column}; null: none. */
  setPin(pin) {
    this.pin = pin;
    this.repaint();
  }

  request() {
    if (this.frameWanted || this.view === null) return;
    this.frameWanted = true;
    requestAnimationFrame(() => {
      this.frameWanted = false;
      this.paint();
    });
  }

  resize() {
    const box = this.canvas.getBoundingClientRect();
    const ratio = window.devicePixelRatio;
    // The box may lie between device pixels; it is painted on whole ones.
    const [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom].map((each) => Math.round(each * ratio));
    const [width, height] = [right - left, bottom - top];
    [this.left, this.top, this.width, this.height] = [left, top, width, height].map((each) => each / ratio);
    this.ratio = ratio;
    if (this.canvas.width !== width || this.canvas.height !== height) {
      for (const each of [this.canvas, this.scratch, this.base]) [each.width, each.height] = [width, height];
      this.draw();
    }
  }

  paint() {
    const dirty = this.mask?.takeDirty() ?? null;
    if (dirty !== null) {
      this.paintLayers(dirty);
      this.stale?.push(this.boxOf(dirty));
    }
    if (this.baseStale) this.paintBase();
    const box = this.stale === null ? { left: 0, top: 0, right: this.width, bottom: this.height } : union(this.stale);
    this.stale = [];
    if (box !== null) this.paintBox(box);
  }

  paintBase() {
    const { layers, ratio, show, view } = this;
    const context = this.base.getContext("2d", { alpha: false });
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = BACKDROP;
    context.fillRect(0, 0, this.base.width, this.base.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const place = [view.left, view.top, view.size[1], view.size[0]];
    this.tellView();
    context.imageSmoothingEnabled = show.smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(layers.image.canvas, ...place);
    if (show.uncertainty && this.hasUncertainty) context.drawImage(layers.uncertainty.canvas, ...place);
    this.baseStale = false;
  }

  // Where slice pixels are on the page, for whoever measures from outside.
  tellView() {
    const { view, left, top, ratio } = this;
    const place = { x: left + view.left, y: top + view.top, row: view.zoom * view.aspect[0], column: view.zoom * view.aspect[1], ratio };
    this.canvas.dataset.view = JSON.stringify(place);
  }

  // A box on the screen, widened to whole device pixels: painting a part gives the same pixels as painting all.
  paintBox({ left, top, right, bottom }) {
    const { context, layers, ratio, show, view } = this;
    const x = Math.max(0, Math.floor(left * ratio) - 1);
    const y = Math.max(0, Math.floor(top * ratio) - 1);
    const width = Math.min(this.canvas.width, Math.ceil(right * ratio) + 1) - x;
    const height = Math.min(this.canvas.height, Math.ceil(bottom * ratio) + 1) - y;
    if (width <= 0 || height <= 0) return;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(x, y, width, height);
    context.clip();
    context.drawImage(this.base, x, y, width, height, x, y, width, height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const place = [view.left, view.top, view.size[1], view.size[0]];
    if (show.mask && this.mask !== null) {
      context.imageSmoothingEnabled = false; // a mask pixel is one colour with sharp edges
      context.globalAlpha = show.opacity;
      if (this.mask.count(BACKGROUND) > 0) this.paintHatch(place, { x, y, width, height });
      context.drawImage(layers.mask.canvas, ...place);
      context.globalAlpha = 1;
    }
    if (show.prediction) this.paintOutlines(context);
    if (this.polygon.length) paintPolygon(context, this.polygon.map((each) => view.toScreen(...each)), this.cursor);
    if (this.pin !== null) paintPin(context, view.toScreen(this.pin.row, this.pin.column));
    if (this.cursor?.radius) paintCursor(context, this.cursor);
    if (this.keyPen !== null) paintKeyPen(context, this.boxOf(boxOfPixel(this.keyPen)), this.keyPen.down);
    context.restore();
  }

  paintHatch(place, { x, y, width, height }) {
    const { ratio } = this;
    const scratch = this.scratch.getContext("2d");
    scratch.save();
    scratch.beginPath();
    scratch.rect(x, y, width, height);
    scratch.clip();
    scratch.clearRect(x, y, width, height);
    scratch.setTransform(ratio, 0, 0, ratio, 0, 0);
    scratch.imageSmoothingEnabled = false;
    scratch.drawImage(this.layers.background.canvas, ...place);
    scratch.setTransform(1, 0, 0, 1, 0, 0);
    scratch.globalCompositeOperation = "source-in";
    scratch.fillStyle = this.hatch;
    scratch.fillRect(x, y, width, height);
    scratch.restore();
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(this.scratch, x, y, width, height, x, y, width, height);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  // Thin at any zoom, so that a prediction is never taken for strokes.
  paintOutlines(context) {
    for (const [value, corners] of this.outlines) {
      context.beginPath();
      for (let at = 0; at < corners.length; at += 4) {
        const from = this.view.toScreen(corners[at], corners[at + 1]);
        const to = this.view.toScreen(corners[at + 2], corners[at + 3]);
        context.moveTo(from.x, from.y);
        context.lineTo(to.x, to.y);
      }
      context.lineWidth = OUTLINE_PX;
      context.strokeStyle = this.colours.get(value) ?? UNKNOWN_COLOUR;
      context.stroke();
    }
  }

  boxOf({ top, left, bottom, right }) {
    const [from, to] = [this.view.toScreen(top, left), this.view.toScreen(bottom + 1, right + 1)];
    return { left: from.x, top: from.y, right: to.x, bottom: to.y };
  }
}

function boxOfPixel({ row, column }) {
  return { top: row, left: column, bottom: row, right: column };
}

function boxAround({ x, y, radius }) {
  const reach = radius + CURSOR_EDGE_PX;
  return { left: x - reach, top: y - reach, right: x + reach, bottom: y + reach };
}

function union(boxes) {
  if (!boxes.length) return null;
  const [lows, highs] = [["left", "top"], ["right", "bottom"]];
  return Object.fromEntries([
    ...lows.map((side) => [side, Math.min(...boxes.map((box) => box[side]))]),
    ...highs.map((side) => [side, Math.max(...boxes.map((box) => box[side]))]),
  ]);
}

// The canvas: the slice in its true proportions, the mask, the prediction, the cursor.

import { pixelAspect, View } from "../core/geometry.js";
import { paintGrey } from "../core/grey.js";
import { backgroundPalette, classPalette, findOutlines, paintMask } from "../core/overlay.js";
import { BACKGROUND } from "../core/mask.js";

const HATCH_PX = 8;
const HATCH_FILL = "rgb(96 132 170 / 70%)";
const HATCH_LINE = "rgb(190 214 240 / 90%)";
const BACKDROP = "#000000";
const OUTLINE_PX = 2;
const UNKNOWN_COLOUR = "#ffffff"; // a class that the schema no longer has

export class Stage {
  constructor(canvas, classes) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.palette = classPalette(classes);
    this.stencilPalette = backgroundPalette();
    this.colours = new Map(classes.map(({ value, color }) => [value, color]));
    this.outlines = new Map(); // of the prediction
    this.hatch = this.context.createPattern(drawHatch(), "repeat");
    this.scratch = document.createElement("canvas");
    this.show = { mask: true, prediction: true, smooth: true, opacity: 0.7 };
    this.cursor = null; // {x, y, radius} on the screen
    this.polygon = []; // [row, column] points of an unfinished polygon
    this.drawWanted = false;
    this.view = null;
    new ResizeObserver(() => this.resize()).observe(canvas);
  }

  /** Begin with a slice of another volume or shape: whole slice in view. */
  open(plane, spacingMm) {
    this.view = new View(plane.shape, pixelAspect(spacingMm));
    const [height, width] = plane.shape;
    this.layers = Object.fromEntries(
      ["image", "mask", "background"].map((name) => [name, new Layer(height, width)]),
    );
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

  setMask(pixels) {
    this.hasBackground = pixels.includes(BACKGROUND);
    paintMask(pixels, this.palette, this.layers.mask.words);
    this.layers.mask.update();
    if (this.hasBackground) {
      paintMask(pixels, this.stencilPalette, this.layers.background.words);
      this.layers.background.update();
    }
    this.draw();
  }

  /** Show the outlines of a prediction; null: none. */
  setPrediction(pixels) {
    this.outlines = pixels === null ? new Map() : findOutlines(pixels, this.view.shape);
    this.draw();
  }

  /** Paint once before the next frame, however often this is called. */
  draw() {
    if (this.drawWanted || this.view === null) return;
    this.drawWanted = true;
    requestAnimationFrame(() => {
      this.drawWanted = false;
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
      for (const each of [this.canvas, this.scratch]) [each.width, each.height] = [width, height];
      this.draw();
    }
  }

  paint() {
    const { context, layers, show, view } = this;
    const { ratio } = this;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.globalAlpha = 1;
    context.fillStyle = BACKDROP;
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    const [height, width] = view.size;
    const place = [view.left, view.top, width, height];
    context.imageSmoothingEnabled = show.smooth;
    context.imageSmoothingQuality = "high";
    context.drawImage(layers.image.canvas, ...place);
    context.imageSmoothingEnabled = false; // a mask pixel is one colour with sharp edges
    if (show.mask) {
      context.globalAlpha = show.opacity;
      if (this.hasBackground) this.paintHatch(place);
      context.drawImage(layers.mask.canvas, ...place);
      context.globalAlpha = 1;
    }
    if (show.prediction) this.paintOutlines(context);
    this.paintPolygon(context);
    if (this.cursor !== null) this.paintCursor(context);
  }

  paintHatch(place) {
    const { ratio } = this;
    const scratch = this.scratch.getContext("2d");
    scratch.setTransform(ratio, 0, 0, ratio, 0, 0);
    scratch.globalCompositeOperation = "copy";
    scratch.imageSmoothingEnabled = false;
    scratch.drawImage(this.layers.background.canvas, ...place);
    scratch.setTransform(1, 0, 0, 1, 0, 0);
    scratch.globalCompositeOperation = "source-in";
    scratch.fillStyle = this.hatch;
    scratch.fillRect(0, 0, this.scratch.width, this.scratch.height);
    this.context.setTransform(1, 0, 0, 1, 0, 0);
    this.context.drawImage(this.scratch, 0, 0);
    this.context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  // Thin at any zoom, so that a prediction is never taken for strokes.
  paintOutlines(context) {
    for (const [value, corners] of this.outlines) {
      context.beginPath();
      for (let at = 0; at < corners.length; at += 4) {
        const [from, to] = [this.view.toScreen(corners[at], corners[at + 1]), this.view.toScreen(corners[at + 2], corners[at + 3])];
        context.moveTo(from.x, from.y);
        context.lineTo(to.x, to.y);
      }
      context.lineWidth = OUTLINE_PX;
      context.strokeStyle = this.colours.get(value) ?? UNKNOWN_COLOUR;
      context.stroke();
    }
  }

  paintPolygon(context) {
    if (!this.polygon.length) return;
    const points = this.polygon.map(([row, column]) => this.view.toScreen(row, column));
    if (this.cursor !== null) points.push(this.cursor);
    context.beginPath();
    points.forEach(({ x, y }, index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    strokeTwice(context);
  }

  paintCursor(context) {
    const { x, y, radius } = this.cursor;
    if (radius === 0) return;
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    strokeTwice(context);
  }
}

class Layer {
  constructor(height, width) {
    this.canvas = document.createElement("canvas");
    [this.canvas.height, this.canvas.width] = [height, width];
    this.context = this.canvas.getContext("2d");
    this.data = this.context.createImageData(width, height);
    this.bytes = this.data.data;
    this.words = new Uint32Array(this.bytes.buffer);
  }

  update() {
    this.context.putImageData(this.data, 0, 0);
  }
}

// Dark under light, so that the line is seen on any tissue.
function strokeTwice(context) {
  for (const [style, width] of [["rgb(0 0 0 / 80%)", 3], ["#ffffff", 1]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}

function drawHatch() {
  const tile = document.createElement("canvas");
  tile.width = tile.height = HATCH_PX;
  const context = tile.getContext("2d");
  context.fillStyle = HATCH_FILL;
  context.fillRect(0, 0, HATCH_PX, HATCH_PX);
  context.strokeStyle = HATCH_LINE;
  context.lineWidth = 1.5;
  for (const shift of [-HATCH_PX, 0, HATCH_PX]) {
    context.beginPath();
    context.moveTo(shift - 1, HATCH_PX + 1);
    context.lineTo(shift + HATCH_PX + 1, -1);
    context.stroke();
  }
  return tile;
}

// Mouse, pen and touch on the canvas: what a gesture means, and the tools that draw.

import { drawBrush, drawPen, fillArea, fillPolygon, UNLABELLED } from "../core/mask.js";

const PAN_BUTTON = 1;
const WINDOW_BUTTON = 2;
const PEN_ERASER = 32; // bit of `buttons` when the other end of a pen touches
const WHEEL_STEP = 50;
const ZOOM_PER_PIXEL = 1.0015;

/**
 * `desk` gives: work (null: nothing to draw on), readOnly, tool {name, size, value}, and is told: drawing(), drawn(),
 * windowed(dx, dy), stepped(by), hovered(row, column), zoomed().
 */
export class Pointer {
  constructor(stage, desk) {
    this.stage = stage;
    this.desk = desk;
    this.gesture = null;
    this.spaceDown = false;
    this.scrolled = 0;
    const { canvas } = stage;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", (event) => this.end(event));
    canvas.addEventListener("pointerleave", () => this.leave());
    canvas.addEventListener("dblclick", () => this.closePolygon());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  begin(event) {
    if (this.gesture !== null || this.stage.view === null) return;
    this.stage.canvas.focus({ preventScroll: true });
    this.stage.canvas.setPointerCapture(event.pointerId);
    const at = this.place(event);
    const shift = { x: event.clientX, y: event.clientY, pointer: event.pointerId };
    if (event.button === WINDOW_BUTTON) this.gesture = { kind: "window", ...shift };
    else if (event.button === PAN_BUTTON || this.spaceDown) this.gesture = { kind: "pan", ...shift };
    else if (this.desk.work !== null && !this.desk.readOnly) this.beginTool(event, at);
  }

  beginTool(event, at) {
    const { mask } = this.desk.work;
    const { name, value } = this.desk.tool;
    if (name === "polygon") {
      this.stage.polygon.push(at);
      this.stage.draw();
    } else if (name === "fill") {
      fillArea(mask, Math.floor(at[0]), Math.floor(at[1]), value);
      this.desk.drawn();
    } else {
      const erases = name === "eraser" || (event.buttons & PEN_ERASER) !== 0;
      this.gesture = { kind: "draw", last: at, erases, pointer: event.pointerId };
      this.drawTo(at);
      this.desk.drawing();
    }
  }

  move(event) {
    if (this.stage.view === null) return;
    this.hover(event);
    const { gesture } = this;
    if (gesture === null || gesture.pointer !== event.pointerId) return;
    if (gesture.kind === "draw") {
      // Every place that the pointer was at, also those between two frames.
      const events = event.getCoalescedEvents?.() ?? [];
      for (const each of events.length ? events : [event]) this.drawTo(this.place(each));
      this.desk.drawing();
      return;
    }
    const [dx, dy] = [event.clientX - gesture.x, event.clientY - gesture.y];
    [gesture.x, gesture.y] = [event.clientX, event.clientY];
    if (gesture.kind === "window") this.desk.windowed(dx, dy);
    else {
      this.stage.view.pan(dx, dy);
      this.stage.draw();
    }
  }

  end(event) {
    const { gesture } = this;
    if (gesture === null || gesture.pointer !== event.pointerId) return;
    this.gesture = null;
    if (gesture.kind === "draw") this.desk.drawn();
  }

  leave() {
    this.stage.cursor = null;
    this.stage.draw();
  }

  drawTo(at) {
    const { mask } = this.desk.work;
    const { name, size, value } = this.desk.tool;
    const { last, erases } = this.gesture;
    if (name === "pen" && !erases) drawPen(mask, last, at, value);
    else drawBrush(mask, last, at, erases ? UNLABELLED : value, size / 2, this.stage.view.aspect);
    this.gesture.last = at;
  }

  /** Fill the polygon that was begun; Enter does this too. */
  closePolygon() {
    const points = this.stage.polygon;
    if (points.length < 2 || this.desk.work === null) return;
    fillPolygon(this.desk.work.mask, points, this.desk.tool.value);
    this.dropPolygon();
    this.desk.drawn();
  }

  dropPolygon() {
    this.stage.polygon = [];
    this.stage.draw();
  }

  wheel(event) {
    if (this.stage.view === null) return;
    event.preventDefault();
    if (event.ctrlKey) {
      const { x, y } = this.point(event);
      this.stage.view.zoomAt(x, y, this.stage.view.zoom * ZOOM_PER_PIXEL ** -event.deltaY);
      this.desk.zoomed();
      return;
    }
    this.scrolled += event.deltaY;
    if (Math.abs(this.scrolled) < WHEEL_STEP) return; // touch pads send many small steps
    this.desk.stepped(Math.sign(this.scrolled));
    this.scrolled = 0;
  }

  hover(event) {
    const { x, y } = this.point(event);
    const { name, size } = this.desk.tool;
    const round = name === "brush" || name === "eraser";
    this.stage.cursor = { x, y, radius: round && !this.desk.readOnly ? (size / 2) * this.stage.view.zoom : 0 };
    this.desk.hovered(...this.stage.view.toSlice(x, y).map(Math.floor));
    if (round || this.stage.polygon.length) this.stage.draw();
  }

  place(event) {
    const { x, y } = this.point(event);
    return this.stage.view.toSlice(x, y);
  }

  point(event) {
    // A mouse says which screen pixel it is on, a pen where on it: the mouse means the middle of its pixel.
    const { left, top, ratio } = this.stage;
    const middle = event.pointerType === "pen" ? 0 : 0.5 / ratio;
    return { x: event.clientX - left + middle, y: event.clientY - top + middle };
  }
}

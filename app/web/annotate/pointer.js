// Mouse, pen and touch on the canvas: what a gesture means. One finger draws, two move and zoom.

const PAN_BUTTON = 1;
const WINDOW_BUTTON = 2;
const PEN_ERASER = 32; // bit of `buttons` when the other end of a pen touches
const WHEEL_STEP = 50;
const ZOOM_PER_PIXEL = 1.0015;

/**
 * `desk` gives: work (null: nothing to draw on), readOnly, tool {name, size, value}, and is told: windowed(dx, dy),
 * stepped(by), hovered(row, column), zoomed(). `brushes` draw.
 */
export class Pointer {
  constructor(stage, desk, brushes) {
    this.stage = stage;
    this.desk = desk;
    this.brushes = brushes;
    this.gesture = null;
    this.fingers = new Map(); // pointer id -> place on the canvas
    this.spaceDown = false;
    this.scrolled = 0;
    const { canvas } = stage;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", (event) => this.end(event));
    canvas.addEventListener("pointerleave", () => stage.moveCursor(null));
    canvas.addEventListener("dblclick", () => brushes.closePolygon());
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  begin(event) {
    if (this.stage.view === null) return;
    this.stage.canvas.focus({ preventScroll: true });
    this.stage.canvas.setPointerCapture(event.pointerId);
    if (event.pointerType === "touch") {
      this.fingers.set(event.pointerId, this.point(event));
      if (this.fingers.size === 2) {
        this.brushes.cancel();
        this.gesture = { kind: "pinch" };
        return;
      }
    }
    if (this.gesture !== null) return;
    const shift = { x: event.clientX, y: event.clientY, pointer: event.pointerId };
    if (event.button === WINDOW_BUTTON) this.gesture = { kind: "window", ...shift };
    else if (event.button === PAN_BUTTON || this.spaceDown) this.gesture = { kind: "pan", ...shift };
    else if (this.desk.work !== null && !this.desk.readOnly) this.beginTool(event);
  }

  beginTool(event) {
    const atOnce = ["fill", "polygon"].includes(this.desk.tool.name);
    const erases = (event.buttons & PEN_ERASER) !== 0;
    // A finger may be the first of two: what acts at one point waits until it is lifted.
    if (atOnce && !erases && event.pointerType === "touch") {
      this.gesture = { kind: "tap", at: this.place(event), pointer: event.pointerId };
      return;
    }
    if (!atOnce || erases) this.gesture = { kind: "draw", pointer: event.pointerId };
    this.brushes.begin(this.place(event), { erases, pressure: pressureOf(event) });
  }

  move(event) {
    if (this.stage.view === null) return;
    const { gesture } = this;
    if (gesture?.kind === "pinch") {
      this.pinch(event);
      return;
    }
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, this.point(event));
    this.hover(event);
    if (gesture === null || gesture.pointer !== event.pointerId) return;
    if (gesture.kind === "draw") {
      // Every place that the pointer was at, also those between two frames.
      const events = event.getCoalescedEvents?.() ?? [];
      const all = events.length ? events : [event];
      this.brushes.goOn(all.map((each) => ({ at: this.place(each), pressure: pressureOf(each) })));
      return;
    }
    const [dx, dy] = [event.clientX - gesture.x, event.clientY - gesture.y];
    [gesture.x, gesture.y] = [event.clientX, event.clientY];
    if (gesture.kind === "window") this.desk.windowed(dx, dy);
    else if (gesture.kind === "pan") {
      this.stage.view.pan(dx, dy);
      this.stage.draw();
    }
  }

  end(event) {
    this.fingers.delete(event.pointerId);
    const { gesture } = this;
    if (gesture?.kind === "pinch") {
      if (this.fingers.size === 0) this.gesture = null; // the second finger may be lifted later: it draws nothing
      return;
    }
    if (gesture === null || gesture.pointer !== event.pointerId) return;
    this.gesture = null;
    if (gesture.kind === "draw") this.brushes.end();
    if (gesture.kind === "tap" && event.type === "pointerup") this.brushes.begin(gesture.at);
  }

  // What lies between the two fingers stays there.
  pinch(event) {
    const before = [...this.fingers.values()];
    if (!this.fingers.has(event.pointerId) || before.length < 2) return;
    this.fingers.set(event.pointerId, this.point(event));
    const after = [...this.fingers.values()];
    const [from, to] = [before, after].map(([a, b]) => ({
      x: (a.x + b.x) / 2, y: (a.y + b.y) / 2, apart: Math.max(1, Math.hypot(a.x - b.x, a.y - b.y)),
    }));
    const { view } = this.stage;
    view.pan(to.x - from.x, to.y - from.y);
    view.zoomAt(to.x, to.y, (view.zoom * to.apart) / from.apart);
    this.desk.zoomed();
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
    this.stage.moveCursor({ x, y, radius: round && !this.desk.readOnly ? (size / 2) * this.stage.view.zoom : 0 });
    this.desk.hovered(...this.stage.view.toSlice(x, y).map(Math.floor));
  }

  place(event) {
    const { x, y } = this.point(event);
    return this.stage.view.toSlice(x, y);
  }

  point(event) {
    // A mouse says which screen pixel it is on, a pen where on it: the mouse means the middle of its pixel.
    const { left, top, ratio } = this.stage;
    const middle = event.pointerType === "mouse" ? 0.5 / ratio : 0;
    return { x: event.clientX - left + middle, y: event.clientY - top + middle };
  }
}

// A mouse always says 0.5 and a finger what its driver likes: only a pen's pressure means something.
function pressureOf(event) {
  return event.pointerType === "pen" && event.pressure > 0 ? event.pressure : null;
}

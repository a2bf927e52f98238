// Mouse, pen and touch on the three pictures: a click pins, a drag moves or sets the window, the wheel steps or zooms.

const WINDOW_BUTTON = 2;
const WHEEL_STEP = 50;
const ZOOM_PER_PIXEL = 1.0015;
const CLICK_PX = 4; // a pointer that went no farther has clicked

/** `told` hears pinned({row, column}), windowed(dx, dy), stepped(by) and hovered(row, column). */
export function bindPointer(sights, told) {
  for (const stage of sights.stages) new Pointer(stage, sights, told);
}

class Pointer {
  constructor(stage, sights, told) {
    this.stage = stage;
    this.sights = sights;
    this.told = told;
    this.drag = null; // {x, y, moved, windows}
    this.scrolled = 0;
    const { canvas } = stage;
    canvas.addEventListener("pointerdown", (event) => this.begin(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.end(event));
    canvas.addEventListener("pointercancel", () => (this.drag = null));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  begin(event) {
    if (this.stage.view === null || this.drag !== null) return;
    this.stage.canvas.focus({ preventScroll: true });
    this.stage.canvas.setPointerCapture(event.pointerId);
    this.drag = { x: event.clientX, y: event.clientY, moved: 0, windows: event.button === WINDOW_BUTTON };
  }

  move(event) {
    if (this.stage.view === null) return;
    this.told.hovered(...this.place(event).map(Math.floor));
    const { drag } = this;
    if (drag === null) return;
    const [dx, dy] = [event.clientX - drag.x, event.clientY - drag.y];
    drag.moved = Math.max(drag.moved, Math.hypot(dx, dy));
    if (!drag.windows && drag.moved < CLICK_PX) return;
    [drag.x, drag.y] = [event.clientX, event.clientY];
    if (drag.windows) this.told.windowed(dx, dy);
    else {
      this.stage.view.pan(dx, dy);
      this.sights.draw();
    }
  }

  end(event) {
    const { drag } = this;
    this.drag = null;
    if (drag === null || drag.windows || drag.moved >= CLICK_PX) return;
    const [row, column] = this.place(event);
    const [height, width] = this.stage.view.shape;
    if (row >= 0 && column >= 0 && row < height && column < width) this.told.pinned({ row, column });
  }

  wheel(event) {
    if (this.stage.view === null) return;
    event.preventDefault();
    if (event.ctrlKey) {
      const [x, y] = [event.clientX - this.stage.left, event.clientY - this.stage.top];
      this.stage.view.zoomAt(x, y, this.stage.view.zoom * ZOOM_PER_PIXEL ** -event.deltaY);
      this.sights.draw();
      return;
    }
    this.scrolled += event.deltaY;
    if (Math.abs(this.scrolled) < WHEEL_STEP) return; // touch pads send many small steps
    this.told.stepped(Math.sign(this.scrolled));
    this.scrolled = 0;
  }

  place(event) {
    return this.stage.view.toSlice(event.clientX - this.stage.left, event.clientY - this.stage.top);
  }
}

// The pen moved by keys: a crosshair that steps from pixel to pixel, so that nobody needs a pointer to draw.

const FAR = 10; // pixels of a long step

export class KeyPen {
  constructor(stage, desk, brushes) {
    this.stage = stage;
    this.desk = desk;
    this.brushes = brushes;
    this.at = null; // [row, column] of a pixel
    this.down = false;
  }

  /** Move by whole pixels; draws where the pen is down. */
  move(rows, columns, far = false) {
    if (this.desk.readOnly) return;
    const { shape } = this.stage.view;
    const from = this.at ?? shape.map((each) => Math.floor(each / 2));
    const step = this.at === null ? 0 : far ? FAR : 1; // the first key shows where the pen is
    this.at = [rows, columns].map((by, axis) => Math.min(shape[axis] - 1, Math.max(0, from[axis] + by * step)));
    if (this.down) this.brushes.goOn([{ at: this.middle(), pressure: null }]);
    this.show();
  }

  /** Put the pen down or lift it; a tool that acts at one point acts here. */
  press() {
    if (this.desk.readOnly) return;
    if (this.at === null) this.move(0, 0);
    if (this.down) this.lift();
    else {
      this.brushes.begin(this.middle());
      this.down = this.brushes.stroke !== null;
      this.show();
    }
  }

  /** Another slice came: nothing is down there. */
  forget() {
    this.down = false;
    this.at = null;
    this.stage.moveKeyPen(null);
  }

  /** Lift the pen and hide it. */
  drop() {
    this.lift();
    this.at = null;
    this.stage.moveKeyPen(null);
  }

  lift() {
    if (this.down) this.brushes.end();
    this.down = false;
    if (this.at !== null) this.show();
  }

  show() {
    this.stage.moveKeyPen({ row: this.at[0], column: this.at[1], down: this.down });
    this.desk.hovered(...this.at);
  }

  middle() {
    return this.at.map((each) => each + 0.5);
  }
}

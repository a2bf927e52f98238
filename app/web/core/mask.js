// Masks and how they are drawn on: uint8, rows after rows, 255 where nobody said anything. No DOM in here.

export const UNLABELLED = 255;
export const BACKGROUND = 0;

/** A mask (H, W) that remembers what each stroke changed, counts its values and knows what has to be painted anew. */
export class Mask {
  constructor(height, width, pixels = null) {
    this.height = height;
    this.width = width;
    this.pixels = pixels ?? new Uint8Array(height * width).fill(UNLABELLED);
    if (this.pixels.length !== height * width) {
      throw new RangeError(`A mask of ${height} x ${width} has ${height * width} pixels, not ${this.pixels.length}.`);
    }
    this.changed = new Map(); // index -> value before the stroke
    this.counts = new Uint32Array(256);
    for (const each of this.pixels) this.counts[each] += 1;
    this.dirty = null; // box of the pixels that changed since takeDirty: {top, left, bottom, right}, inclusive
  }

  /** Set one pixel; outside of the mask nothing happens. */
  set(row, column, value) {
    if (row < 0 || column < 0 || row >= this.height || column >= this.width) return;
    this.setIndex(row * this.width + column, value);
  }

  setIndex(index, value) {
    const before = this.pixels[index];
    if (before === value) return;
    if (!this.changed.has(index)) this.changed.set(index, before);
    this.put(index, value);
  }

  /** Set a pixel outside of any stroke: undo and redo. */
  put(index, value) {
    this.counts[this.pixels[index]] -= 1;
    this.counts[value] += 1;
    this.pixels[index] = value;
    const row = Math.floor(index / this.width);
    const column = index - row * this.width;
    const { dirty } = this;
    if (dirty === null) {
      this.dirty = { top: row, left: column, bottom: row, right: column };
      return;
    }
    if (row < dirty.top) dirty.top = row;
    else if (row > dirty.bottom) dirty.bottom = row;
    if (column < dirty.left) dirty.left = column;
    else if (column > dirty.right) dirty.right = column;
  }

  /** Take back what changed since the last step. */
  dropStroke() {
    for (const [index, before] of this.changed) this.put(index, before);
    this.changed.clear();
  }

  /** The box of what changed since the last call; null: nothing did. */
  takeDirty() {
    const { dirty } = this;
    this.dirty = null;
    return dirty;
  }

  /** What changed since the last call, as one step that can be undone; null when nothing did. */
  takeStep() {
    const indices = [];
    const before = [];
    const after = [];
    for (const [index, old] of this.changed) {
      if (this.pixels[index] === old) continue;
      indices.push(index);
      before.push(old);
      after.push(this.pixels[index]);
    }
    this.changed.clear();
    if (!indices.length) return null;
    return { indices: Uint32Array.from(indices), before: Uint8Array.from(before), after: Uint8Array.from(after) };
  }

  /** How many pixels have this value. */
  count(value) {
    return this.counts[value];
  }
}

/** The pixels of the thinnest line between two pixels, both ends included. */
export function* linePixels(row0, column0, row1, column1) {
  const rows = Math.abs(row1 - row0);
  const columns = Math.abs(column1 - column0);
  const down = row0 < row1 ? 1 : -1;
  const right = column0 < column1 ? 1 : -1;
  let error = columns - rows;
  let [row, column] = [row0, column0];
  for (;;) {
    yield [row, column];
    if (row === row1 && column === column1) return;
    const twice = 2 * error;
    if (twice > -rows) {
      error -= rows;
      column += right;
    }
    if (twice < columns) {
      error += columns;
      row += down;
    }
  }
}

/** Draw a one-pixel curve from one point to the next; points are [row, column] in pixels, 0.5 the middle of the first. */
export function drawPen(mask, from, to, value) {
  const ends = [from, to].map(([row, column]) => [Math.floor(row), Math.floor(column)]);
  for (const [row, column] of linePixels(...ends[0], ...ends[1])) mask.set(row, column, value);
}

/**
 * Draw with a brush that is round on the patient: every pixel whose middle is within `radius` of the path.
 * `radius` and `aspect` ([height, width] of a pixel) share a unit.
 */
export function drawBrush(mask, from, to, value, radius, aspect) {
  const [high, wide] = aspect;
  const [y0, x0, y1, x1] = [from[0] * high, from[1] * wide, to[0] * high, to[1] * wide];
  const [dy, dx] = [y1 - y0, x1 - x0];
  const length = dy * dy + dx * dx;
  const top = Math.max(0, Math.floor((Math.min(y0, y1) - radius) / high));
  const bottom = Math.min(mask.height - 1, Math.floor((Math.max(y0, y1) + radius) / high));
  const left = Math.max(0, Math.floor((Math.min(x0, x1) - radius) / wide));
  const right = Math.min(mask.width - 1, Math.floor((Math.max(x0, x1) + radius) / wide));
  for (let row = top; row <= bottom; row += 1) {
    for (let column = left; column <= right; column += 1) {
      const [py, px] = [(row + 0.5) * high - y0, (column + 0.5) * wide - x0];
      const along = length === 0 ? 0 : Math.min(1, Math.max(0, (py * dy + px * dx) / length));
      const [ey, ex] = [py - along * dy, px - along * dx];
      if (ey * ey + ex * ex <= radius * radius) mask.setIndex(row * mask.width + column, value);
    }
  }
  mask.set(Math.floor(to[0]), Math.floor(to[1]), value); // the smallest brush still marks the pixel under it
}

/** Fill the area of one value that holds this pixel; areas touch along edges, not at corners. */
export function fillArea(mask, row, column, value) {
  const { height, width, pixels } = mask;
  if (row < 0 || column < 0 || row >= height || column >= width) return;
  const old = pixels[row * width + column];
  if (old === value) return;
  const waiting = [row * width + column];
  while (waiting.length) {
    const index = waiting.pop();
    if (pixels[index] !== old) continue;
    mask.setIndex(index, value);
    const at = index % width;
    if (at > 0) waiting.push(index - 1);
    if (at < width - 1) waiting.push(index + 1);
    if (index >= width) waiting.push(index - width);
    if (index < (height - 1) * width) waiting.push(index + width);
  }
}

/** Fill a polygon: every pixel whose middle lies inside (even-odd), and its outline. Points are [row, column]. */
export function fillPolygon(mask, points, value) {
  for (let row = 0; row < mask.height; row += 1) {
    const crossings = [];
    points.forEach(([y0, x0], index) => {
      const [y1, x1] = points[(index + 1) % points.length];
      if (y0 <= row + 0.5 !== y1 <= row + 0.5) crossings.push(x0 + ((row + 0.5 - y0) / (y1 - y0)) * (x1 - x0));
    });
    crossings.sort((a, b) => a - b);
    for (let pair = 0; pair + 1 < crossings.length; pair += 2) {
      const last = Math.min(mask.width - 1, Math.floor(crossings[pair + 1] - 0.5));
      for (let column = Math.max(0, Math.ceil(crossings[pair] - 0.5)); column <= last; column += 1) {
        mask.set(row, column, value);
      }
    }
  }
  points.forEach((point, index) => drawPen(mask, point, points[(index + 1) % points.length], value));
}

/** Give every pixel that nobody labelled this value. */
export function fillRest(mask, value) {
  mask.pixels.forEach((old, index) => {
    if (old === UNLABELLED) mask.setIndex(index, value);
  });
}

/** Draw what another mask labels over this one. */
export function copyLabelled(mask, pixels) {
  pixels.forEach((value, index) => {
    if (value !== UNLABELLED) mask.setIndex(index, value);
  });
}

/** Put another mask in the place of this one, as a step that can be undone. */
export function replaceAll(mask, pixels) {
  pixels.forEach((value, index) => mask.setIndex(index, value));
}

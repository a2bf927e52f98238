// Where a pixel of the slice lies on the screen. Lengths on the screen are CSS pixels.

export const ZOOM_LEAST = 0.1;
export const ZOOM_MOST = 64;

/** Height and width of a pixel, the smaller of the two being 1; null spacing: square. */
export function pixelAspect(spacingMm) {
  if (spacingMm === null) return [1, 1];
  const smaller = Math.min(...spacingMm);
  return spacingMm.map((each) => each / smaller);
}

/**
 * A view of a slice: `zoom` screen pixels for the smaller side of a slice pixel, `top` and `left` of its corner.
 * The corner lies on whole screen pixels, so that what is painted and what a pointer hits never differ by a half.
 */
export class View {
  constructor(shape, aspect) {
    this.shape = shape;
    this.aspect = aspect;
    this.zoom = 1;
    this.top = 0;
    this.left = 0;
  }

  /** Height and width of the whole slice on the screen. */
  get size() {
    return [0, 1].map((axis) => this.shape[axis] * this.aspect[axis] * this.zoom);
  }

  /** Screen point -> [row, column] of the slice; whole numbers are the edges between pixels. */
  toSlice(x, y) {
    return [(y - this.top) / (this.zoom * this.aspect[0]), (x - this.left) / (this.zoom * this.aspect[1])];
  }

  /** [row, column] of the slice -> screen point {x, y}. */
  toScreen(row, column) {
    return { x: this.left + column * this.zoom * this.aspect[1], y: this.top + row * this.zoom * this.aspect[0] };
  }

  /** Show the whole slice in the middle of a screen area. */
  fit(width, height) {
    const [high, wide] = [0, 1].map((axis) => this.shape[axis] * this.aspect[axis]);
    this.zoom = clampZoom(Math.min((height * 0.96) / high, (width * 0.96) / wide));
    this.left = Math.round((width - wide * this.zoom) / 2);
    this.top = Math.round((height - high * this.zoom) / 2);
  }

  /** Change the zoom; what is under (x, y) stays there, to half a screen pixel. */
  zoomAt(x, y, zoom) {
    const [row, column] = this.toSlice(x, y);
    this.zoom = clampZoom(zoom);
    const moved = this.toScreen(row, column);
    this.pan(x - moved.x, y - moved.y);
  }

  /** Shift by a screen distance. */
  pan(dx, dy) {
    this.left = Math.round(this.left + dx);
    this.top = Math.round(this.top + dy);
  }
}

function clampZoom(zoom) {
  return Math.min(ZOOM_MOST, Math.max(ZOOM_LEAST, zoom));
}

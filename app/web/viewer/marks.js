// What lies over a slice and belongs to no pixel: the cursor, the pen that keys move, an unfinished polygon, a pin.

const PIN_COLOUR = "#ffcf6b";
const PIN_PX = 9;

/** The points of a polygon on the screen, and the line to where the pointer is. */
export function paintPolygon(context, points, cursor) {
  context.beginPath();
  const all = cursor === null ? points : [...points, cursor];
  all.forEach(({ x, y }, index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
  strokeTwice(context);
}

export function paintCursor(context, { x, y, radius }) {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
  strokeTwice(context);
}

/** A crosshair around the pixel whose box on the screen is given. */
export function paintKeyPen(context, { left, top, right, bottom }, down) {
  const [x, y] = [(left + right) / 2, (top + bottom) / 2];
  const reach = down ? 12 : 20;
  context.beginPath();
  context.rect(left - 1, top - 1, right - left + 2, bottom - top + 2);
  for (const [dx, dy] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) {
    const edge = (dx ? right - left : bottom - top) / 2 + 3;
    context.moveTo(x + dx * edge, y + dy * edge);
    context.lineTo(x + dx * (edge + reach), y + dy * (edge + reach));
  }
  strokeTwice(context);
}

/** A drop whose tip is the place that is meant; its head lies above, so that the place itself stays visible. */
export function paintPin(context, { x, y }) {
  const head = y - 2.4 * PIN_PX;
  context.beginPath();
  context.moveTo(x, y);
  context.arc(x, head, PIN_PX, Math.PI * 0.83, Math.PI * 0.17);
  context.closePath();
  context.fillStyle = PIN_COLOUR;
  context.fill();
  context.lineWidth = 2;
  context.strokeStyle = "#000000";
  context.stroke();
  context.beginPath();
  context.arc(x, head, PIN_PX / 3, 0, 2 * Math.PI);
  context.fillStyle = "#000000";
  context.fill();
}

// Dark under light, so that the line is seen on any tissue.
function strokeTwice(context) {
  for (const [style, width] of [["rgb(0 0 0 / 80%)", 3], ["#ffffff", 1]]) {
    context.strokeStyle = style;
    context.lineWidth = width;
    context.stroke();
  }
}

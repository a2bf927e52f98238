// Pictures in slice pixels that the stage scales to the screen.

const HATCH_PX = 8;
const HATCH_FILL = "rgb(96 132 170 / 70%)";
const HATCH_LINE = "rgb(190 214 240 / 90%)";

/** An RGBA picture (H, W) that can be written pixel by pixel. */
export class Layer {
  constructor(height, width) {
    this.canvas = document.createElement("canvas");
    [this.canvas.height, this.canvas.width] = [height, width];
    this.context = this.canvas.getContext("2d");
    this.data = this.context.createImageData(width, height);
    this.bytes = this.data.data;
    this.words = new Uint32Array(this.bytes.buffer);
  }

  /** Show what was written inside of a box (inclusive); default: everywhere. */
  update(box = { top: 0, left: 0, bottom: this.canvas.height - 1, right: this.canvas.width - 1 }) {
    const { top, left, bottom, right } = box;
    this.context.putImageData(this.data, 0, 0, left, top, right - left + 1, bottom - top + 1);
  }
}

/** The tile that says "background": what nobody labelled has no tile. */
export function drawHatch() {
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

// The tools that draw, whatever moves them: mouse, pen, finger or keys. Places are [row, column] in slice pixels.

import { drawBrush, drawPen, fillArea, fillPolygon, UNLABELLED } from "../core/mask.js";

const PRESSURE_MIDDLE = 0.5; // at this pressure a stroke has its nominal width
const PRESSURE_LEAST = 0.2;

/** Draws on the slice in hand of `desk`, which is told drawing() in the middle of a stroke and drawn() at its end. */
export class Brushes {
  constructor(stage, desk) {
    this.stage = stage;
    this.desk = desk;
    this.stroke = null; // {last, erases}
  }

  /** Put the tool down; a tool that acts at one point has acted then. `pressure` null: the device has none. */
  begin(at, { erases = false, pressure = null } = {}) {
    const { tool, work } = this.desk;
    if (tool.name === "polygon" && !erases) {
      this.stage.polygon.push(at);
      this.stage.repaint();
    } else if (tool.name === "fill" && !erases) {
      fillArea(work.mask, Math.floor(at[0]), Math.floor(at[1]), tool.value);
      this.desk.drawn();
    } else {
      this.stroke = { last: at, erases: erases || tool.name === "eraser" };
      this.goOn([{ at, pressure }]);
    }
  }

  /** Draw on through these places. */
  goOn(places) {
    const { mask } = this.desk.work;
    const { name, size, value } = this.desk.tool;
    const { stroke } = this;
    for (const { at, pressure } of places) {
      if (name === "pen" && !stroke.erases) drawPen(mask, stroke.last, at, value);
      else {
        const radius = (size / 2) * widthAt(pressure);
        drawBrush(mask, stroke.last, at, stroke.erases ? UNLABELLED : value, radius, this.stage.view.aspect);
      }
      stroke.last = at;
    }
    this.desk.drawing();
  }

  /** Lift the tool: the stroke is a step of the history. */
  end() {
    if (this.stroke === null) return;
    this.stroke = null;
    this.desk.drawn();
  }

  /** The stroke was none: it was the first finger of two. */
  cancel() {
    if (this.stroke === null) return;
    this.stroke = null;
    this.desk.work.mask.dropStroke();
    this.stage.changed();
  }

  /** Fill the polygon that was begun. */
  closePolygon() {
    const points = this.stage.polygon;
    if (points.length < 2 || this.desk.work === null || this.desk.readOnly) return;
    fillPolygon(this.desk.work.mask, points, this.desk.tool.value);
    this.dropPolygon();
    this.desk.drawn();
  }

  dropPolygon() {
    this.stage.polygon = [];
    this.stage.repaint();
  }
}

function widthAt(pressure) {
  return pressure === null ? 1 : Math.max(PRESSURE_LEAST, pressure) / PRESSURE_MIDDLE;
}

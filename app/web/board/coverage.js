// The coverage map: every train slice a point, alike beside alike; a click opens the slice.

import { get, post } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";

const REACH_PX = 12; // a click this near to a point means it
const MARGIN_PX = 18;
const POINT_PX = 3.2;

export class CoverageMap {
  constructor(act) {
    this.act = act;
    this.canvas = byId("map");
    this.slices = [];
    this.places = [];
    this.at = -1; // the point that keys or the pointer chose
    this.canvas.addEventListener("click", (event) => this.open(this.near(event)));
    this.canvas.addEventListener("pointermove", (event) => this.choose(this.near(event)));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    byId("make-map").addEventListener("click", () => this.act(() => post(`/v1/projects/${this.project.slug}/coverage`)));
    new ResizeObserver(() => this.paint()).observe(this.canvas);
  }

  async show(project) {
    this.project = project;
    const map = await get(`/v1/projects/${project.slug}/coverage`);
    if (this.project !== project) return;
    byId("map").hidden = byId("map-legend").hidden = map === null;
    byId("make-map").textContent = map === null ? strings.makeMap : strings.makeMapAgain;
    byId("map-facts").textContent = map === null ? strings.noMap : strings.mapFacts(map);
    this.slices = map?.slices ?? [];
    const patients = [...new Set(this.slices.map(({ patient }) => patient))].sort();
    this.hues = new Map(patients.map((patient, index) => [patient, (index * 137.508) % 360])); // the golden angle keeps neighbours apart
    const counted = [this.slices.filter(({ annotated }) => annotated), this.slices.filter((each) => each.proposed && !each.annotated)];
    replaceChildren(byId("map-legend"), ...strings.mapLegend(...counted.map(({ length }) => length), patients.length).map(([sign, text]) =>
      element("li", {}, element("span", { class: `sign ${sign}`, "aria-hidden": "true" }), text)));
    this.paint();
  }

  paint() {
    const ratio = window.devicePixelRatio;
    const { width, height } = this.canvas.getBoundingClientRect();
    if (!width || !this.slices.length) return;
    [this.canvas.width, this.canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    this.places = this.slices.map(({ x, y }) => [MARGIN_PX + x * (width - 2 * MARGIN_PX), MARGIN_PX + (1 - y) * (height - 2 * MARGIN_PX)]);
    const order = this.slices.map((_, index) => index).sort((a, b) => rank(this.slices[a]) - rank(this.slices[b]));
    for (const index of order) this.paintPoint(context, index);
  }

  paintPoint(context, index) {
    const { patient, annotated, proposed } = this.slices[index];
    const [x, y] = this.places[index];
    context.beginPath();
    context.arc(x, y, annotated || proposed ? POINT_PX * 1.6 : POINT_PX, 0, 2 * Math.PI);
    context.fillStyle = `hsl(${this.hues.get(patient)} 70% 66%)`;
    context.globalAlpha = annotated || proposed ? 1 : 0.6;
    context.fill();
    context.globalAlpha = 1;
    if (annotated || proposed) {
      context.lineWidth = 2.5;
      context.strokeStyle = annotated ? "#ffffff" : "#ffcf6b";
      context.setLineDash(annotated ? [] : [3, 2.5]);
      context.stroke();
      context.setLineDash([]);
    }
    if (index !== this.at) return;
    context.beginPath();
    context.arc(x, y, REACH_PX, 0, 2 * Math.PI);
    context.lineWidth = 1.5;
    context.strokeStyle = "#e6ebf0";
    context.stroke();
  }

  near({ offsetX, offsetY }) {
    let [best, least] = [-1, REACH_PX];
    this.places.forEach(([x, y], index) => {
      const far = Math.hypot(x - offsetX, y - offsetY);
      if (far < least) [best, least] = [index, far];
    });
    return best;
  }

  key(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 };
    if (event.key in steps && this.slices.length) {
      this.choose((this.at + steps[event.key] + this.slices.length) % this.slices.length);
    } else if (event.key === "Enter") this.open(this.at);
    else return;
    event.preventDefault();
  }

  choose(index) {
    if (index === this.at) return;
    this.at = index;
    const slice = this.slices[index];
    byId("map-at").textContent = slice === undefined ? "" : strings.mapAt(slice);
    this.canvas.classList.toggle("pointing", slice !== undefined);
    this.paint();
  }

  open(index) {
    const slice = this.slices[index];
    if (slice === undefined) return;
    window.location.assign(`/annotate.html?project=${encodeURIComponent(this.project.slug)}&slice=${slice.slice_id}`);
  }
}

// What matters is painted last, on top.
function rank({ annotated, proposed }) {
  return annotated ? 2 : proposed ? 1 : 0;
}

// Buttons, sliders and keys, bound to the desk; and the desk's state shown on them.

import { byId } from "../dom.js";
import { strings } from "../strings.js";
import { listenToKeys } from "../viewer/keys.js";
import { buildKeySheet } from "../viewer/keysheet.js";
import { tell } from "../viewer/telling.js";
import { TOOLS } from "./desk.js";
import { Brushes } from "./brushes.js";
import { KeyPen } from "./keypen.js";
import { buildClasses, classesByKey } from "./panel.js";
import { Pointer } from "./pointer.js";

const OPACITY_STEP = 0.1;
const ZOOM_STEP = 1.25;
let markClass = () => {};

/** Bind everything on the page. */
export function bindControls(desk) {
  const { stage } = desk;
  const brushes = new Brushes(stage, desk);
  const keyPen = new KeyPen(stage, desk, brushes);
  const pointer = new Pointer(stage, desk, brushes);
  const actions = { ...actionsOf(desk, brushes, keyPen), ...penActions(desk, keyPen) };
  desk.opened = () => keyPen.forget();
  const schema = classesByKey(desk.project.label_schema);
  markClass = buildClasses(desk.project.label_schema, (value) => desk.chooseClass(value));
  buildKeySheet(strings.keys, strings.gestures);
  listenToKeys(actions, (key) => {
    const chosen = key === 0 ? schema.at(-1) : schema[key - 1];
    if (chosen !== undefined && (key === 0 || chosen.value !== 0)) desk.chooseClass(chosen.value);
  });
  listenToSpace(pointer);
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => actions[button.dataset.action]());
  }
  onInput("size", (value) => desk.resize(value - desk.tool.size));
  onInput("opacity", (value) => setShow(desk, { opacity: value / 100 }));
  onInput("window", (value) => value > 0 && desk.windowing.choose("", { ...desk.windowing.setting, window: value }), "change");
  onInput("level", (value) => desk.windowing.choose("", { ...desk.windowing.setting, level: value }), "change");
  onInput("zoom", (value) => value > 0 && desk.zoomBy(value / stage.view.zoom), "change");
  for (const name of ["mask", "prediction", "uncertainty", "smooth"]) {
    byId(`show-${name}`).addEventListener("change", (event) => setShow(desk, { [name]: event.target.checked }));
  }
  new ResizeObserver(() => desk.work !== null && stage.draw()).observe(stage.canvas);
}

/** Put the desk's state on the controls. */
export function showState(desk) {
  const { stage, tool, work, readOnly, viewed } = desk;
  for (const name of TOOLS) byId(`tool-${name}`).setAttribute("aria-pressed", String(tool.name === name));
  markClass(tool.value);
  setValue("size", tool.size);
  byId("size-shown").textContent = strings.pixels(tool.size);
  setValue("opacity", Math.round(stage.show.opacity * 100));
  for (const name of ["mask", "prediction", "uncertainty", "smooth"]) byId(`show-${name}`).checked = stage.show[name];
  stage.canvas.dataset.tool = readOnly ? "none" : tool.name;
  if (work === null) return;
  const unlabelled = desk.count();
  byId("unlabelled-line").dataset.count = String(unlabelled);
  setValue("window", Number(desk.windowing.setting.window.toPrecision(4)));
  setValue("level", Number(desk.windowing.setting.level.toPrecision(4)));
  setValue("zoom", Number(stage.view.zoom.toFixed(2)));
  byId("position").textContent = strings.position(viewed.index, work.slice.depth);
  byId("read-only").hidden = !desk.looksElsewhere;
  byId("copy").disabled = readOnly;
  byId("read-only-text").textContent = strings.readOnly(viewed.index, work.slice.depth);
  byId("undo").disabled = readOnly || work.history.done.length === 0;
  byId("redo").disabled = readOnly || work.history.undone.length === 0;
  byId("rest").hidden = desk.project.supervision === "scribble";
  byId("rest").disabled = readOnly || unlabelled === 0;
  byId("uncertainty-line").hidden = !stage.hasUncertainty;
  byId("no-prediction").hidden = desk.prediction !== null;
  byId("accept").disabled = readOnly || desk.prediction === null;
  byId("submit").disabled = readOnly;
  byId("submit").textContent = desk.fixes ? strings.review.saveFix : work.version === "0" ? strings.submit : strings.submitAgain;
}

function actionsOf(desk, brushes, keyPen) {
  const { stage } = desk;
  const toggle = (name) => () => setShow(desk, { [name]: !stage.show[name] });
  return {
    ...Object.fromEntries(TOOLS.map((name) => [name, () => (keyPen.lift(), desk.chooseTool(name))])),
    submit: () => (keyPen.lift(), desk.submit()),
    skip: () => desk.skip(),
    undo: () => desk.undo(),
    redo: () => desk.redo(),
    save: () => desk.work !== null && desk.keep(),
    smaller: () => desk.resize(-1),
    larger: () => desk.resize(1),
    fainter: () => setShow(desk, { opacity: Math.max(0.1, stage.show.opacity - OPACITY_STEP) }),
    stronger: () => setShow(desk, { opacity: Math.min(1, stage.show.opacity + OPACITY_STEP) }),
    hide: toggle("mask"),
    prediction: toggle("prediction"),
    uncertainty: toggle("uncertainty"),
    smooth: toggle("smooth"),
    copy: () => desk.work !== null && desk.copyNeighbour(),
    accept: () => desk.work !== null && desk.usePrediction(),
    rest: () => desk.work !== null && desk.project.supervision !== "scribble" && desk.restIsBackground(),
    preset: () => desk.work !== null && desk.windowing.next(),
    up: () => desk.stepped(-1),
    down: () => desk.stepped(1),
    close: () => brushes.closePolygon(),
    back: () => {
      if (stage.polygon.length) brushes.dropPolygon();
      else if (keyPen.at !== null) keyPen.drop();
      else desk.back();
      tell(null);
    },
    zoomIn: () => desk.zoomBy(ZOOM_STEP),
    zoomOut: () => desk.zoomBy(1 / ZOOM_STEP),
    fit: () => {
      if (stage.view === null) return;
      stage.fit();
      desk.zoomed();
    },
    help: () => byId("help").showModal(),
    closeHelp: () => byId("help").close(),
  };
}

function penActions(desk, keyPen) {
  const moves = { Up: [-1, 0], Down: [1, 0], Left: [0, -1], Right: [0, 1] };
  const made = { press: () => desk.work !== null && keyPen.press() };
  for (const [name, [rows, columns]] of Object.entries(moves)) {
    made[`pen${name}`] = () => desk.work !== null && keyPen.move(rows, columns);
    made[`penFar${name}`] = () => desk.work !== null && keyPen.move(rows, columns, true);
  }
  return made;
}

function setShow(desk, wanted) {
  Object.assign(desk.stage.show, wanted);
  desk.stage.draw();
  desk.changed();
}

function setValue(id, value) {
  const field = byId(id);
  if (document.activeElement !== field || field.type === "range") field.value = String(value);
}

function onInput(id, use, when = "input") {
  byId(id).addEventListener(when, (event) => {
    const value = event.target.valueAsNumber;
    if (Number.isFinite(value)) use(value);
  });
}

function listenToSpace(pointer) {
  document.addEventListener("keydown", (event) => {
    if (event.key !== " " || event.target.matches("button, input, select, a, summary")) return;
    event.preventDefault();
    pointer.spaceDown = true;
  });
  document.addEventListener("keyup", (event) => {
    if (event.key === " ") pointer.spaceDown = false;
  });
}

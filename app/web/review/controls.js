// Buttons, sliders and keys of the review page.

import { byId } from "../dom.js";
import { strings } from "../strings.js";
import { listenToKeys, usePage } from "../viewer/keys.js";
import { buildKeySheet } from "../viewer/keysheet.js";

const OPACITY_STEP = 0.1;
const ZOOM_STEP = 1.25;

/** Bind everything on the page. */
export function bindControls(review) {
  const actions = actionsOf(review);
  usePage("review");
  buildKeySheet({ ...strings.keys, ...strings.review.keys }, strings.review.gestures);
  listenToKeys(actions, () => {});
  for (const button of document.querySelectorAll("[data-action]")) {
    button.addEventListener("click", () => actions[button.dataset.action]());
  }
  byId("unpin").addEventListener("click", () => review.setPin(null));
  byId("verdict").addEventListener("submit", (event) => event.preventDefault());
  byId("comment").addEventListener("keydown", (event) => event.key === "Escape" && byId("submitted").focus());
  byId("opacity").addEventListener("input", (event) => change(review, { opacity: event.target.valueAsNumber / 100 }));
  for (const name of ["mask", "smooth"]) {
    byId(`show-${name}`).addEventListener("change", (event) => change(review, { [name]: event.target.checked }));
  }
}

function actionsOf(review) {
  const { sights } = review;
  const toggle = (name) => () => change(review, { [name]: !sights.show[name] });
  const moves = { Up: [-1, 0], Down: [1, 0], Left: [0, -1], Right: [0, 1] };
  const walks = Object.entries(moves).flatMap(([name, [rows, columns]]) => [
    [`pen${name}`, () => review.walk(rows, columns)],
    [`penFar${name}`, () => review.walk(rows, columns, true)],
  ]);
  return {
    ...Object.fromEntries(walks),
    approve: () => review.decide("accept"),
    reject: () => review.decide("reject"),
    correct: () => review.correct(),
    comment: () => byId("comment").focus(),
    press: () => review.press(),
    hide: toggle("mask"),
    smooth: toggle("smooth"),
    fainter: () => change(review, { opacity: Math.max(0.1, sights.show.opacity - OPACITY_STEP) }),
    stronger: () => change(review, { opacity: Math.min(1, sights.show.opacity + OPACITY_STEP) }),
    preset: () => review.windowing.next(),
    up: () => review.stepped(-1),
    down: () => review.stepped(1),
    back: () => review.back(),
    zoomIn: () => sights.zoomBy(ZOOM_STEP),
    zoomOut: () => sights.zoomBy(1 / ZOOM_STEP),
    fit: () => sights.fit(),
    help: () => byId("help").showModal(),
    closeHelp: () => byId("help").close(),
  };
}

function change({ sights }, wanted) {
  sights.change(wanted);
  byId("opacity").value = String(Math.round(sights.show.opacity * 100));
  for (const name of ["mask", "smooth"]) byId(`show-${name}`).checked = sights.show[name];
}

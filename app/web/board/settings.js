// Settings of a project under way: its schedule, what it does by itself, who looks at what, and its classes.

import { change, getTagged, ifAllowed, list } from "../api.js";
import { byId, element } from "../dom.js";
import { strings } from "../strings.js";
import { table } from "./tables.js";

const SWITCHES = ["auto_train", "auto_propose", "adjudicate"];
const BEFORE_THE_FIRST_ROUND = ["overlap", "adjudicate"];
const COLOURS = ["#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#ee7733", "#bbbbbb"];

/** The form. What a person types stays until it is saved or taken back, however often the board looks. */
export class Settings {
  constructor(act) {
    this.shown = null; // {project, tag} that the form was filled from
    this.touched = false;
    this.form = byId("settings-form");
    this.form.addEventListener("input", () => this.touch());
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      act(() => this.save());
    });
    byId("settings-undo").addEventListener("click", () => act(() => this.forget()));
    byId("class-add").addEventListener("click", () => this.addClass());
  }

  /** Fill the view. */
  async show(project, rounds) {
    const path = `/v1/projects/${project.slug}`;
    const [{ body, tag }, members] = await Promise.all([getTagged(path), ifAllowed(list, `${path}/members`)]);
    this.form.hidden = members === null;
    byId("settings-none").hidden = members !== null;
    for (const name of BEFORE_THE_FIRST_ROUND) this.form.elements[name].disabled = rounds.length > 0;
    const another = this.shown?.project.id !== body.id;
    if (another || (!this.touched && this.shown.tag !== tag)) this.fill(body, tag);
  }

  fill(project, tag) {
    this.shown = { project, tag };
    this.touched = false;
    const { elements } = this.form;
    elements.name.value = project.name;
    elements.budgets.value = project.budgets.join(", ");
    elements.review_percent.value = project.review_percent;
    elements.overlap.value = project.overlap;
    for (const name of SWITCHES) elements[name].checked = project[name];
    byId("classes").replaceChildren(table(strings.classColumns, project.label_schema.map((each) => classRow(each, null))));
  }

  touch() {
    this.touched = true;
    byId("settings-said").textContent = "";
  }

  forget() {
    this.shown = null;
  }

  addClass() {
    const values = [...this.form.querySelectorAll("[data-class=value]")].map((input) => Number(input.value));
    const value = Math.max(...values) + 1;
    const remove = element("button", { type: "button", class: "small", onclick: ({ target }) => target.closest("tr").remove() }, strings.classDrop);
    const cells = classRow({ value, name: "", color: COLOURS[value % COLOURS.length] }, remove);
    const body = byId("classes").querySelector("tbody");
    body.append(element("tr", {}, ...cells.map((cell) => element("td", {}, cell ?? ""))));
    body.lastElementChild.querySelector("[data-class=name]").focus();
    this.touch();
  }

  async save() {
    const { elements } = this.form;
    const { project, tag } = this.shown;
    const wanted = {
      name: elements.name.value,
      budgets: elements.budgets.value.split(/[ ,]+/).filter((each) => each !== "").map(Number),
      review_percent: elements.review_percent.valueAsNumber,
      overlap: elements.overlap.valueAsNumber,
      label_schema: [...byId("classes").querySelectorAll("tbody tr")].map((row) => {
        const [value, name, color] = ["value", "name", "color"].map((key) => row.querySelector(`[data-class=${key}]`).value);
        return { value: Number(value), name, color };
      }),
    };
    for (const name of SWITCHES) wanted[name] = elements[name].checked;
    const stored = await change(`/v1/projects/${project.slug}`, wanted, tag);
    this.fill(stored.body, stored.tag); // at once: what is typed from now on is kept
    byId("settings-said").textContent = strings.settingsSaved;
  }
}

function classRow({ value, name, color }, remove) {
  const isNew = remove !== null;
  const limits = { type: "number", min: "1", max: "254", required: true, readonly: !isNew };
  return [
    element("input", { ...limits, min: isNew ? "1" : "0", value: String(value), "data-class": "value", "aria-label": strings.classValueOf(name) }),
    element("input", { type: "text", maxlength: "100", required: true, value: name, "data-class": "name", "aria-label": strings.classNameOf(value), autocomplete: "off" }),
    element("input", { type: "color", value: color, "data-class": "color", "aria-label": strings.classColourOf(value) }),
    remove,
  ];
}

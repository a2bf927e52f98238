// The view of the rounds: the job at work, losses, the learning curve, what was picked, where the models are worst.

import { get, ifAllowed } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { strings } from "../strings.js";
import { drawCurve } from "./curve.js";
import { trainingCurves } from "./losses.js";
import { picksTable, roundsTable, table } from "./tables.js";

/** Fill everything of the view but the live job. */
export function showRounds({ project, rounds, picks, points, random, models }) {
  replaceChildren(byId("rounds"), rounds.length ? roundsTable(rounds) : faint(strings.noRounds));
  showPicks(project, rounds, picks);
  const classes = project.label_schema.filter(({ value }) => value !== 0);
  const measured = rounds.filter(({ id }) => points.has(id)).map(({ id }) => points.get(id));
  measured.sort((a, b) => a.percent - b.percent);
  const planned = Math.max(...project.budgets);
  replaceChildren(byId("curve"), measured.length ? drawCurve(measured, classes, planned, random) : faint(strings.curveEmpty));
  replaceChildren(byId("losses"), ...trainingCurves(models, rounds));
}

/** What the service counts: time, and the volumes that the newest models do worst on. */
export async function showStatistics(project) {
  const found = await ifAllowed(get, `/v1/projects/${project.slug}/statistics`);
  if (found === null) {
    byId("time").textContent = strings.forReviewers;
    return;
  }
  const people = found.annotators.filter(({ source }) => source === "annotator");
  const [spent, slices] = [sum(people.map(({ total_ms: ms }) => ms ?? 0)), sum(people.map((each) => each.slices))];
  const left = project.slices.train - project.annotated;
  byId("time").textContent = slices && spent ? strings.timeSpent(spent, slices, left) : strings.noTime;
  const rows = found.worst_volumes.map((each) => [
    `${each.patient}, ${each.name}`,
    [each.dice === null ? "–" : each.dice.toFixed(3)],
    [String(each.missed)],
  ]);
  byId("worst-card").hidden = !rows.length;
  replaceChildren(byId("worst"), table(strings.worstColumns, rows));
}

function showPicks(project, rounds, picks) {
  byId("picks-card").hidden = !picks.length;
  if (!picks.length) return;
  const done = picks.filter(({ annotated }) => annotated).length;
  const title = [`${strings.picks(rounds.at(-1).number)} `, element("small", {}, strings.picksSoFar(done, picks.length))];
  replaceChildren(byId("picks-title"), ...title);
  replaceChildren(byId("picks"), picksTable(picks, project));
}

/** The mean over members, then classes, as the round's own summary has it; a class by itself over volumes and members. */
export function pointOf(round, project, metrics) {
  const members = Object.values(round.summary.dice_by_member).filter((dice) => dice !== null);
  const byClass = new Map();
  for (const { value } of project.label_schema) {
    const own = metrics.filter((each) => each.member !== null && each.class_value === value && each.dice !== null);
    if (!own.length) continue;
    const byMember = Map.groupBy(own, ({ member }) => member);
    const means = [...byMember.values()].map((some) => sum(some.map(({ dice }) => dice)) / some.length);
    byClass.set(value, { dice: sum(own.map(({ dice }) => dice)) / own.length, least: Math.min(...means), most: Math.max(...means) });
  }
  const { dice, dice_ensemble: ensemble } = round.summary;
  return { percent: round.budget_percent, dice, ensemble, least: Math.min(...members), most: Math.max(...members), byClass };
}

function faint(text) {
  return element("p", { class: "faint" }, text);
}

function sum(values) {
  return values.reduce((total, each) => total + each, 0);
}

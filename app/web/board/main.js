// The board: projects, rounds as they run, the learning curve, and what can be started.

import { get, list, post, Problem } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { annotatorName, setAnnotatorName } from "../kept.js";
import { applyStrings, strings } from "../strings.js";
import { drawCurve } from "./curve.js";
import { isFinal, JobFollower, showJob } from "./jobs.js";
import { picksTable, roundsTable } from "./tables.js";

const LOOK_EVERY_MS = 3000;
const RUNNING = new Set(["proposing", "training", "evaluating"]);

class Board {
  constructor() {
    this.slug = null;
    this.state = null; // {project, rounds, jobs, volumes, picks}
    this.points = new Map(); // round id -> point of the curve
    this.job = null;
    this.busy = false;
    this.follower = new JobFollower((job) => this.jobChanged(job));
  }

  async start() {
    window.addEventListener("hashchange", () => this.choose());
    await this.choose();
    setInterval(() => document.hidden || this.look(), LOOK_EVERY_MS);
    document.addEventListener("visibilitychange", () => document.hidden || this.look());
  }

  /** Show the project that the address names, or the newest. */
  async choose() {
    this.follower.stop();
    this.state = this.job = null;
    this.slug = decodeURIComponent(window.location.hash.replace(/^#\/?/, "")) || null;
    await this.look();
  }

  /** Ask for everything that may have changed and show it. */
  async look() {
    const wanted = this.slug;
    try {
      const projects = await list("/v1/projects");
      const project = wanted === null ? projects[0] : projects.find(({ slug, id }) => slug === wanted || id === wanted);
      if (wanted !== this.slug) return; // another project was chosen meanwhile
      showProjects(projects, project);
      if (project === undefined) {
        byId("chosen").hidden = true;
        byId("nothing").hidden = false;
        byId("nothing").textContent = projects.length ? strings.noSuchProject : strings.noProjects;
        return;
      }
      const path = `/v1/projects/${project.slug}`;
      const [rounds, jobs, volumes] = await Promise.all([list(`${path}/rounds`), list(`${path}/jobs`), list(`${path}/volumes`)]);
      const picks = rounds.length ? await list(`/v1/rounds/${rounds.at(-1).id}/picks`) : [];
      if (wanted !== this.slug) return;
      this.state = { project, rounds, jobs, volumes, picks };
      this.show();
      this.lostContact(false);
      await this.learnPoints();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (problem.passes) this.lostContact(true);
      else tell(problem.message, "error");
    }
  }

  lostContact(lost) {
    if (lost) tell(strings.unreachable, "error");
    else if (this.lost) tell(null);
    this.lost = lost;
  }

  jobChanged(job) {
    this.job = job;
    this.showJob();
    if (isFinal(job)) this.look();
  }

  show() {
    const { project, rounds, jobs, picks } = this.state;
    byId("nothing").hidden = true;
    byId("chosen").hidden = false;
    document.title = `${project.name} · ${strings.boardTitle} · ${strings.product}`;
    byId("name").textContent = project.name;
    byId("facts").textContent = `${strings.facts(project)} · ${strings.sliceCounts(project.slices)}`;
    byId("share").textContent = strings.labelled(project.annotated, project.slices.train);
    byId("share-bar").value = project.slices.train ? project.annotated / project.slices.train : 0;
    replaceChildren(byId("actions"), ...this.actions());
    replaceChildren(byId("rounds"), rounds.length ? roundsTable(rounds) : element("p", { class: "faint" }, strings.noRounds));
    this.showPicks();
    this.showCurve();
    const newest = jobs.find((job) => !isFinal(job)) ?? jobs[0] ?? null;
    if (newest?.id !== this.job?.id || newest?.revision > this.job?.revision) this.job = newest;
    if (newest !== null && !isFinal(newest)) this.follower.follow(newest.id);
    this.showJob();
    if (!picks.length) byId("picks-card").hidden = true;
  }

  showJob() {
    const act = (verb) => () => this.act(() => post(`/v1/jobs/${this.job.id}/${verb}`));
    showJob(this.job, { cancel: act("cancel"), retry: act("retry") });
  }

  showPicks() {
    const { project, rounds, picks } = this.state;
    if (!picks.length) return;
    byId("picks-card").hidden = false;
    const done = picks.filter(({ annotated }) => annotated).length;
    const title = [`${strings.picks(rounds.at(-1).number)} `, element("small", {}, strings.picksSoFar(done, picks.length))];
    replaceChildren(byId("picks-title"), ...title);
    replaceChildren(byId("picks"), picksTable(picks, project));
  }

  showCurve() {
    const { project, rounds } = this.state;
    const points = rounds.filter(({ id }) => this.points.has(id)).map(({ id }) => this.points.get(id));
    const classes = project.label_schema.filter(({ value }) => value !== 0);
    points.sort((a, b) => a.percent - b.percent);
    replaceChildren(byId("curve"), points.length ? drawCurve(points, classes, Math.max(...project.budgets)) : element("p", { class: "faint" }, strings.curveEmpty));
  }

  /** Points of the curve: metrics of closed rounds, asked once each. */
  async learnPoints() {
    const { project, rounds } = this.state;
    const unknown = rounds.filter(({ id, state, summary }) => state === "closed" && summary.dice != null && !this.points.has(id));
    for (const round of unknown) {
      this.points.set(round.id, pointOf(round, project, await list(`/v1/rounds/${round.id}/metrics`)));
    }
    if (unknown.length) this.showCurve();
  }

  actions() {
    const { project, rounds, volumes } = this.state;
    const latest = rounds.at(-1);
    const path = `/v1/projects/${project.slug}`;
    const open = latest !== undefined && (RUNNING.has(latest.state) || latest.state === "annotating");
    const proposed = latest?.state === "annotating" && latest.open_picks > 0;
    const kind = project.supervision === "scribble" ? "scribble" : "full";
    const train = volumes.filter(({ split }) => split === "train");
    const noTruth = !train.length || train.some((volume) => !volume.ground_truth.includes(kind));
    const budgetsDone = latest !== undefined && !project.budgets.some((budget) => budget > Math.max(...rounds.map((each) => each.budget_percent)));
    const notProposed = latest?.state === "annotating" ? strings.whyAllDone : strings.whyNothingProposed;
    const trained = rounds.some(({ summary }) => summary.dice !== undefined);
    return [
      link(strings.annotate, `/annotate.html?project=${encodeURIComponent(project.slug)}`, proposed ? null : notProposed),
      this.button(latest === undefined ? strings.startFirst : strings.startRound, `${path}/rounds`, {
        why: project.slices.train === 0 ? strings.whyNoSlices : open ? strings.whyRoundOpen(latest) : budgetsDone ? strings.whyBudgetsDone : null,
      }),
      noTruth ? null : this.button(strings.oracle, `${path}/oracle`, { why: proposed ? null : notProposed, said: ({ annotated }) => strings.oracleDone(annotated) }),
      !project.auto_train && latest?.state === "annotating" && !proposed ? this.button(strings.train, `/v1/rounds/${latest.id}/training`) : null,
      this.button(strings.predict, `${path}/predictions`, { why: trained ? null : strings.whyNoModel }),
      this.button(strings.exportAll, `${path}/exports`, { why: volumes.length ? null : strings.whyNoSlices }),
    ].filter((each) => each !== null);
  }

  button(label, path, { why = null, said = () => null } = {}) {
    const act = () => this.act(async () => tell(said(await post(path))));
    return element("button", { type: "button", disabled: why !== null, title: why, onclick: act }, label);
  }

  /** Do what was asked for; a refusal is shown in its own sentence. */
  async act(ask) {
    if (this.busy) return;
    this.busy = true;
    try {
      await ask();
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      tell(problem.message, "error");
    } finally {
      this.busy = false;
    }
    await this.look();
  }
}

// The mean over members, then classes, as the round's own summary has it; a class by itself over volumes and members.
function pointOf(round, project, metrics) {
  const members = Object.values(round.summary.dice_by_member).filter((dice) => dice !== null);
  const byClass = new Map();
  for (const { value } of project.label_schema) {
    const dice = metrics.filter((each) => each.member !== null && each.class_value === value && each.dice !== null).map((each) => each.dice);
    if (dice.length) byClass.set(value, dice.reduce((sum, each) => sum + each, 0) / dice.length);
  }
  const { dice, dice_ensemble: ensemble } = round.summary;
  return { percent: round.budget_percent, dice, ensemble, least: Math.min(...members), most: Math.max(...members), byClass };
}

function showProjects(projects, chosen) {
  const entries = projects.map((project) =>
    element(
      "li",
      {},
      element(
        "a",
        { href: `#/${encodeURIComponent(project.slug)}`, "aria-current": project === chosen ? "page" : null },
        project.name,
        element("small", {}, `${project.annotated} / ${project.slices.train}`),
      ),
    ),
  );
  replaceChildren(byId("projects"), ...entries);
}

function link(label, href, why) {
  const open = why === null ? { href } : { "aria-disabled": "true", role: "link", title: why };
  return element("a", { class: "button primary", ...open }, label);
}

function tell(text, kind = "info") {
  const bar = byId("message");
  bar.hidden = text === null;
  bar.className = `message ${kind}`;
  bar.setAttribute("role", kind === "error" ? "alert" : "status");
  const dismiss = element("button", { type: "button", class: "quiet", onclick: () => tell(null) }, strings.dismiss);
  bar.replaceChildren(element("span", { class: "grow" }, text ?? ""), dismiss);
}

applyStrings(document);
byId("annotator").value = annotatorName();
byId("annotator").addEventListener("change", (event) => setAnnotatorName(event.target.value));
get("/v1/version").then(({ version }) => (byId("version").textContent = version), () => {});
await new Board().start();

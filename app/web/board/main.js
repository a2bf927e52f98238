// The board: projects, rounds as they run, the learning curve, and what can be started.

import { get, list, post, Problem } from "../api.js";
import { byId, element, replaceChildren } from "../dom.js";
import { showPerson } from "../person.js";
import { applyStrings, strings } from "../strings.js";
import { Audit } from "./audit.js";
import { CoverageMap } from "./coverage.js";
import { bindImport, showVolumes } from "./data.js";
import { bindExports, showExports } from "./exports.js";
import { isFinal, JobFollower, showJob } from "./jobs.js";
import { noteLive } from "./losses.js";
import { showModels } from "./models.js";
import { bindMembers, showPeople } from "./people.js";
import { pointOf, showRounds, showStatistics } from "./rounds.js";
import { Settings } from "./settings.js";

const LOOK_EVERY_MS = 3000;
const VIEWS = ["rounds", "coverage", "models", "people", "data", "exports", "settings", "audit"];
const RUNNING = new Set(["proposing", "training", "evaluating"]);

class Board {
  constructor() {
    this.slug = null;
    this.state = null; // {project, rounds, jobs, volumes, picks}
    this.view = VIEWS[0];
    this.points = new Map(); // round id -> point of the curve
    this.map = new CoverageMap((ask) => this.act(ask));
    this.audit = new Audit((ask) => this.act(ask));
    this.settings = new Settings((ask) => this.act(ask));
    bindImport(() => this.state.project, () => this.look());
    bindExports(() => this.state.project, (ask) => this.act(ask));
    bindMembers(() => this.state.project, (ask) => this.act(ask));
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
    const [slug, view] = window.location.hash.replace(/^#\/?/, "").split("/").map(decodeURIComponent);
    this.view = VIEWS.includes(view) ? view : VIEWS[0];
    if ((slug || null) === this.slug && this.state !== null) this.showViews();
    else {
      this.follower.stop();
      this.state = this.job = null;
      this.slug = slug || null;
    }
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
      const [picks, models] = await Promise.all([
        rounds.length ? list(`/v1/rounds/${rounds.at(-1).id}/picks`) : [],
        list(`${path}/models`),
      ]);
      const random = await this.randomCurve(project, projects);
      if (wanted !== this.slug) return;
      this.state = { project, rounds, jobs, volumes, picks, models, random, points: this.points };
      this.show();
      this.lostContact(false);
      await Promise.all([this.learnPoints(), this.showView()]);
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
    noteLive(job);
    this.showJob();
    if (this.view === "rounds" && this.state !== null) showRounds(this.state);
    if (isFinal(job)) this.look();
  }

  show() {
    const { project, jobs } = this.state;
    byId("nothing").hidden = true;
    byId("chosen").hidden = false;
    document.title = `${project.name} · ${strings.boardTitle} · ${strings.product}`;
    byId("name").textContent = project.name;
    byId("facts").textContent = `${strings.facts(project)} · ${strings.sliceCounts(project.slices)}`;
    byId("share").textContent = strings.labelled(project.annotated, project.slices.train);
    byId("share-bar").value = project.slices.train ? project.annotated / project.slices.train : 0;
    replaceChildren(byId("actions"), ...this.actions());
    this.showViews();
    const newest = jobs.find((job) => !isFinal(job)) ?? jobs[0] ?? null;
    if (newest?.id !== this.job?.id || newest?.revision > this.job?.revision) this.job = newest;
    if (newest !== null && !isFinal(newest)) this.follower.follow(newest.id);
    this.showJob();
    showRounds(this.state);
  }

  showViews() {
    const { slug } = this.state.project;
    const links = VIEWS.map((view) => element("li", {}, element("a", {
      href: `#/${encodeURIComponent(slug)}/${view}`, "aria-current": view === this.view ? "page" : null,
    }, strings.viewNames[view])));
    replaceChildren(byId("views"), ...links);
    for (const each of document.querySelectorAll("[data-view]")) each.hidden = each.dataset.view !== this.view;
  }

  /** What the view in front asks for beyond what every view needs. */
  async showView() {
    const { project, rounds, volumes, jobs } = this.state;
    if (this.view === "rounds") await showStatistics(project);
    else if (this.view === "coverage") await this.map.show(project);
    else if (this.view === "models") await showModels(project, (ask) => this.act(ask));
    else if (this.view === "people") await showPeople(project, (ask) => this.act(ask));
    else if (this.view === "exports") await showExports(project, jobs);
    else if (this.view === "settings") await this.settings.show(project, rounds);
    else if (this.view === "audit") await this.audit.show(project);
    else showVolumes(volumes);
  }

  /** The curve of the benchmark's project that draws at random under this one's protocol; null: there is none. */
  async randomCurve(project, projects) {
    if (project.strategy === "random" || !project.slug.includes(project.strategy)) return null;
    const twin = projects.find(({ slug }) => slug === project.slug.replace(project.strategy, "random"));
    if (twin === undefined) return null;
    const rounds = await list(`/v1/projects/${twin.slug}/rounds`);
    const judged = rounds.filter(({ summary }) => summary.dice != null);
    return judged.map(({ budget_percent: percent, summary }) => ({ percent, dice: summary.dice }));
  }

  showJob() {
    const act = (verb) => () => this.act(() => post(`/v1/jobs/${this.job.id}/${verb}`));
    showJob(this.job, { cancel: act("cancel"), retry: act("retry") });
  }

  /** Points of the curve: metrics of closed rounds, asked once each. */
  async learnPoints() {
    const { project, rounds } = this.state;
    const unknown = rounds.filter(({ id, state, summary }) => state === "closed" && summary.dice != null && !this.points.has(id));
    for (const round of unknown) {
      this.points.set(round.id, pointOf(round, project, await list(`/v1/rounds/${round.id}/metrics`)));
    }
    if (unknown.length) showRounds(this.state);
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
      project.review_percent > 0 ? link(strings.reviewThem, `/review.html?project=${encodeURIComponent(project.slug)}`, proposed ? null : notProposed) : null,
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
get("/v1/version").then(({ version }) => (byId("version").textContent = version), () => {});
await showPerson(byId("who")).catch(() => {}); // the board says itself what it cannot reach
await new Board().start();

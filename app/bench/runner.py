"""Drive the projects of an experiment round by round; what a stopped run had reached is taken from the service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from app.bench.ablations import Arm
from app.bench.plan import BenchPlan, open_manifest, save_manifest
from app.bench.report import RESULTS, append_results, draw_curve
from app.client import POLL_S, Client, import_listing, label_schema_of
from app.datasets.records import DatasetListing
from app.errors import RequestRefused, VolumesRefused
from app.names import STRATEGIES, JobKind, Need, RoundState

Tell = Callable[[float, str], None]
"""`tell(share, text)`: how much of the whole experiment is done (0-1), and what is being done."""

_IMPORT_WEIGHT = 0.1  # of a training, for the share that is done
_ENCODER_WEIGHT = 1.5
_OF_MEMBERS = ("validation_dice", "best_step", "seconds", "validation_seconds")
_SHARE_OF = {
    RoundState.PROPOSING: 0.0,
    RoundState.ANNOTATING: 0.0,
    RoundState.TRAINING: 0.9,
    RoundState.EVALUATING: 0.1,
}
_SHARE_BEFORE = _SHARE_OF | {RoundState.TRAINING: 0.0, RoundState.EVALUATING: 0.9}


@dataclass(frozen=True)
class _Run:
    arm: Arm
    seed: int
    slug: str

    @property
    def name(self) -> str:
        return f"{self.arm.name}, seed {self.seed}"


def run_bench(client: Client, listing: DatasetListing, plan: BenchPlan, out: Path, tell: Tell) -> Path:
    """Run every strategy and seed of the plan; writes results.csv, curve.png and manifest.json into `out`."""
    manifest = open_manifest(out, plan, listing)
    runs = [
        _Run(arm, seed, f"bench-{plan.dataset}-{plan.supervision}-{arm.slug}-s{seed}-{manifest['run']}")
        for seed in plan.seeds
        for arm in plan.arms
    ]
    clock = _Clock(runs, plan, tell)
    (out / RESULTS).unlink(missing_ok=True)  # written anew from the service, so that no row stands twice
    for run in runs:
        _prepare(client, listing, plan, run, clock)
        kept = manifest["runs"].setdefault(run.slug, {"strategy": run.arm.name, "seed": run.seed, "rounds": {}})
        for budget in plan.budgets:
            round_ = _finish_round(client, run, budget, clock)
            kept["rounds"][f"{budget:g}"] = _describe_round(client, run, round_)
            append_results(out, plan, run.arm.name, run.seed, client, run.slug, round_)
            save_manifest(out, manifest)
            draw_curve(out)
        kept["jobs"] = _describe_jobs(client, run)
        kept["encoder"] = _describe_encoder(client, run)
        save_manifest(out, manifest)
    clock.finish()
    return out / RESULTS


class _Clock:
    """Turns the progress of single jobs into the share of the whole experiment."""

    def __init__(self, runs: list[_Run], plan: BenchPlan, tell: Tell) -> None:
        self._tell = tell
        self._total = sum(_IMPORT_WEIGHT + _encoder_weight(run) + len(plan.budgets) for run in runs)
        self._done = 0.0
        self._encoded: set[str] = set()

    def step(self, weight: float, share: float, text: str) -> None:
        self._tell((self._done + weight * min(share, 1.0)) / self._total, text)

    def finish_step(self, weight: float) -> None:
        self._done += weight

    def finish_encoder(self, run: _Run) -> None:
        """Count a run's encoder once, also when an earlier start of the same command had trained it."""
        if run.slug not in self._encoded:
            self._encoded.add(run.slug)
            self.finish_step(_encoder_weight(run))

    def finish(self) -> None:
        self._tell(1.0, "finished")


def _encoder_weight(run: _Run) -> float:
    return _ENCODER_WEIGHT if Need.ENCODER in STRATEGIES[run.arm.strategy].needs else 0.0


def _prepare(client: Client, listing: DatasetListing, plan: BenchPlan, run: _Run, clock: _Clock) -> None:
    if client.find_project(run.slug) is None:
        client.post(
            "/v1/projects",
            {
                "slug": run.slug,
                "name": f"Bench: {plan.dataset}, {run.name}",
                "label_schema": label_schema_of(listing),
                "supervision": plan.supervision,
                "strategy": run.arm.strategy,
                "strategy_settings": plan.settings.get(run.arm.strategy, {}),
                "budgets": list(plan.budgets),
                "seed": run.seed,
                "preset": plan.preset,
                "protocol": plan.overrides_of(run.arm),
            },
        )

    def report(done: int, total: int, message: str) -> None:
        clock.step(_IMPORT_WEIGHT, done / max(total, 1), f"{run.name}: {message}")

    refused = import_listing(client, run.slug, listing, report).refused
    if refused:
        # An experiment on other data than the plan's would be comparable with nothing.
        name, reason = refused[0]
        raise VolumesRefused(plan.dataset, len(refused), name, reason)
    clock.finish_step(_IMPORT_WEIGHT)


def _finish_round(client: Client, run: _Run, budget: float, clock: _Clock) -> dict[str, Any]:
    """Bring the round of this budget to its end, from wherever it stands."""
    round_ = _find_round(client, run, budget)
    if round_ is None:
        round_ = client.post(f"/v1/projects/{run.slug}/rounds", {"budget_percent": budget})
    elif round_["state"] == RoundState.FAILED and round_["job_id"]:
        client.post(f"/v1/jobs/{round_['job_id']}/retry")
    while True:
        round_ = client.get(f"/v1/rounds/{round_['id']}")
        state = RoundState(round_["state"])
        if state == RoundState.CLOSED:
            clock.finish_encoder(run)
            clock.finish_step(1.0)
            return dict(round_)
        job = client.get(f"/v1/jobs/{round_['job_id']}")
        if state == RoundState.FAILED:
            error = job["error"] or {"code": "cancelled", "detail": "the job was cancelled"}
            raise RequestRefused(409, error["code"], f"{run.name} at {budget:g} %: {error['detail']}")
        if state == RoundState.ANNOTATING:
            client.post(f"/v1/projects/{run.slug}/oracle")
        text = f"{run.name} at {budget:g} %: {state}, {job['message'] or job['state']}"
        share = job["progress_done"] / job["progress_total"] if job["progress_total"] else 0.0
        if job["kind"] == JobKind.TRAIN_ENCODER:
            clock.step(_ENCODER_WEIGHT, share, text)
        else:
            clock.finish_encoder(run)
            clock.step(1.0, _SHARE_BEFORE[state] + _SHARE_OF[state] * share, text)
        time.sleep(POLL_S)


def _find_round(client: Client, run: _Run, budget: float) -> dict[str, Any] | None:
    rounds: Iterator[dict[str, Any]] = client.items(f"/v1/projects/{run.slug}/rounds")
    return next((each for each in rounds if abs(each["budget_percent"] - budget) < 1e-9), None)


def _describe_round(client: Client, run: _Run, round_: dict[str, Any]) -> dict[str, Any]:
    picks = []
    for pick in client.items(f"/v1/rounds/{round_['id']}/picks"):
        where = client.get(f"/v1/slices/{pick['slice_id']}")
        picks.append(
            {
                "order": pick["order"],
                "patient": where["patient"],
                "volume": where["volume"],
                "slice": where["index"],
                "value": pick["value"],
            }
        )
    return {
        "slices": round_["target"],
        "cover_radius": round_["cover_radius"],
        "summary": round_["summary"],
        "picks": picks,
        "members": [
            {"member": model["member"], "config": model["config"]}
            | {name: model["metrics"][name] for name in _OF_MEMBERS}
            for model in client.items(f"/v1/projects/{run.slug}/models")
            if model["round_id"] == round_["id"] and model["kind"] == "segmentation"
        ],
    }


def _describe_jobs(client: Client, run: _Run) -> list[dict[str, Any]]:
    jobs = sorted(client.items(f"/v1/projects/{run.slug}/jobs"), key=lambda job: str(job["created_at"]))
    return [
        {
            "kind": job["kind"],
            "state": job["state"],
            "attempts": job["attempts"],
            "seconds": _seconds(job["started_at"], job["finished_at"]),
        }
        # A radius can be compared with another only where both were measured in the same space.
        | ({"cover_space": job["result"]["cover_space"]} if job["kind"] == JobKind.PROPOSE and job["result"] else {})
        for job in jobs
    ]


def _describe_encoder(client: Client, run: _Run) -> dict[str, Any] | None:
    models = [model for model in client.items(f"/v1/projects/{run.slug}/models") if model["kind"] == "encoder"]
    return {"manifest": models[-1]["manifest"], "config": models[-1]["config"]} if models else None


def _seconds(started: str | None, finished: str | None) -> float | None:
    if started is None or finished is None:
        return None
    return round((datetime.fromisoformat(finished) - datetime.fromisoformat(started)).total_seconds(), 1)

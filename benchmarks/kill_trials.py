"""Kill -9 of the API, the worker and PostgreSQL in turn, in the middle of writes, and what is left afterwards.

    python -m benchmarks.kill_trials --trials 100

A stack of its own (PostgreSQL cluster, Redis, one API process, one worker) is written to by several people at once
while jobs run. Each trial kills one part (every fourth one all of them at once, as a power cut does, and starts those
that need the database before it), starts it again, and reads back from the service every write that was acknowledged
last; in the end all of them are read back. No part may refuse to start. Then every job must have ended, done or failed
with a reason, those that were running at a kill among them. With `--rounds` (the default) the jobs are whole rounds of
training as well as exports; `--no-rounds` leaves out what needs torch. Last, `--flush` empties Redis again and again
while a round runs, and the round must close.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
import zlib
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.client import Client, import_listing, label_schema_of
from app.datasets.phantom import PhantomConfig, list_phantoms
from app.errors import RequestRefused
from benchmarks.stack import Part, Stack, running_stack, wait_until

VICTIMS = ("api", "worker", "postgres", "everything")
MID_JOB = ("worker", "everything")  # killed while a job runs, if one begins within MID_JOB_S
MID_JOB_S = 30.0
WRITERS = 4
PAUSE_S = 0.05  # of a writer after each write; without it four of them leave no time for anything else
READ_BACK = 25  # writes of each writer that are read back after every kill; in the end it is all of them
FINAL = {"succeeded", "failed", "cancelled"}


@dataclass
class Report:
    """What the trials found; `lost` and `unexplained` must be empty."""

    kills: Counter[str] = field(default_factory=Counter)
    acknowledged: int = 0
    unanswered: int = 0
    server_errors: Counter[int] = field(default_factory=Counter)  # while parts were dead; 503 is the honest one
    lost: list[str] = field(default_factory=list)
    jobs: Counter[str] = field(default_factory=Counter)
    interrupted: set[str] = field(default_factory=set)  # ids of jobs that were running at a kill of their worker
    interrupted_as: Counter[str] = field(default_factory=Counter)  # how those ended
    unexplained: list[str] = field(default_factory=list)
    restart_s: list[float] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For people and files."""
        waits = sorted(self.restart_s)
        return {
            "kills": dict(self.kills),
            "acknowledged_writes": self.acknowledged,
            "unanswered_writes": self.unanswered,
            "answers_5xx": {str(status): count for status, count in self.server_errors.items()},
            "lost_writes": self.lost,
            "jobs": dict(self.jobs),
            "jobs_running_at_a_kill": dict(self.interrupted_as),
            "jobs_without_reason": self.unexplained,
            "restart_to_ready_s": {"median": round(waits[len(waits) // 2], 1), "max": round(waits[-1], 1)},
        }


class Writer(threading.Thread):
    """One person who annotates the same few slices again and again, and remembers what was acknowledged."""

    def __init__(self, url: str, name: str, slices: Sequence[dict[str, Any]], report: Report) -> None:
        super().__init__(name=name, daemon=True)
        self._url, self._slices, self._report = url, slices, report
        self._random = np.random.default_rng(int(hashlib.sha256(name.encode()).hexdigest()[:8], 16))
        self.stopping = threading.Event()
        self.acknowledged: list[tuple[str, str]] = []  # (version id, SHA-256 of the mask)

    def run(self) -> None:
        """Write until asked to stop."""
        with httpx.Client(base_url=self._url, timeout=30) as http:
            while not self.stopping.is_set():
                for each in self._slices:
                    time.sleep(PAUSE_S)
                    try:
                        self._annotate(http, each)
                    except httpx.TransportError:
                        self._report.unanswered += 1
                        time.sleep(0.1)

    def _annotate(self, http: httpx.Client, slice_: dict[str, Any]) -> None:
        mask = self._random.integers(0, 4, slice_["shape"], dtype=np.uint8)
        found = http.get(f"/v1/slices/{slice_['id']}")
        if found.status_code == 200:
            answer = http.post(
                f"/v1/slices/{slice_['id']}/annotations",
                params={"kind": "scribble", "annotator": self.name},
                content=zlib.compress(mask.tobytes(), wbits=31),
                headers={"If-Match": f'"{found.json()["annotation"]}"', "Content-Type": "application/octet-stream"},
            )
            if answer.status_code == 201:
                self.acknowledged.append((answer.json()["id"], hashlib.sha256(mask.tobytes()).hexdigest()))
                return
            found = answer
        if found.status_code >= 500:
            self._report.server_errors[found.status_code] += 1
            time.sleep(0.1)


def run_trials(stack: Stack, hearts: Path, trials: int, rounds: bool, seed: int = 0) -> Report:
    """Kill `trials` times, and give what was found."""
    report, chance = Report(), random.Random(seed)
    with Client(stack.urls[0]) as client:
        slices = make_project(client, hearts)
        share = max(1, min(4, len(slices) // WRITERS))
        groups = [slices[number * share : (number + 1) * share] for number in range(WRITERS)]
        writers = [Writer(stack.urls[0], f"writer {n}", group, report) for n, group in enumerate(groups)]
        for writer in writers:
            writer.start()
        wait_until("the first write", lambda: client.get("/v1/projects/hearts")["annotated"] > 0)
        known = set[str]()
        for trial in range(trials):
            known |= keep_busy(client, rounds)
            time.sleep(chance.uniform(0.2, 1.0))
            victim = VICTIMS[trial % len(VICTIMS)]
            if rounds and victim in MID_JOB:  # exports alone are over too soon
                with suppress(TimeoutError):
                    wait_until("a job that runs", partial(is_working, client, known), MID_JOB_S)
            report.interrupted |= running_jobs(client)
            report.restart_s.append(kill_and_restart(stack, victim))
            report.kills[victim] += 1
            for writer in writers:
                report.lost += read_back(stack.urls[0], writer.acknowledged[-READ_BACK:])
            print(f"{trial + 1}: {victim} killed, ready after {report.restart_s[-1]:.1f} s", file=sys.stderr)
        for writer in writers:
            writer.stopping.set()
        for writer in writers:
            writer.join()
            report.acknowledged += len(writer.acknowledged)
            report.lost += read_back(stack.urls[0], writer.acknowledged)
        settle_jobs(client, known, report)
    return report


def make_project(client: Client, hearts: Path) -> list[dict[str, Any]]:
    """A project of phantoms with one open round; gives the slices that are not proposed in it, to write to."""
    listing = list_phantoms(hearts, config=PhantomConfig(6, 5, 40, 48, seed=3, fractions=(0.5, 0.2, 0.3)))
    draft = {
        "slug": "hearts",
        "name": "Hearts",
        "label_schema": label_schema_of(listing),
        "strategy": "random",
        "budgets": [10],
        "preset": "tiny",
        "protocol": {"segmentation": {"iterations_min": 60, "iterations_max": 60}},
    }
    client.post("/v1/projects", draft)
    if import_listing(client, "hearts", listing, lambda _done, _total, _message: None).refused:
        raise RuntimeError("a phantom was refused")
    volumes = client.items("/v1/projects/hearts/volumes", split="train")
    return [each for volume in volumes for each in client.items(f"/v1/volumes/{volume['id']}/slices")]


def keep_busy(client: Client, rounds: bool) -> set[str]:
    """See to it that a job is there to be interrupted; gives the ids of all jobs so far."""
    if not any(job["state"] not in FINAL for job in list_jobs(client)):
        client.post("/v1/projects/hearts/exports")
        if rounds:
            try:
                turn_round(client)
            except RequestRefused as refusal:
                # The writers go on meanwhile, so what was read a moment ago may not be so; the next look asks anew.
                if refusal.status >= 500:
                    raise
    return {job["id"] for job in list_jobs(client)}


def list_jobs(client: Client) -> list[dict[str, Any]]:
    """Every job there has been."""
    return list(client.items("/v1/projects/hearts/jobs"))


def running_jobs(client: Client) -> set[str]:
    """The ids of the jobs that a worker has now."""
    return {job["id"] for job in list_jobs(client) if job["state"] == "running"}


def is_working(client: Client, known: set[str]) -> bool:
    """Whether a worker has a job now; where nothing is left to do, something is asked for and is known from now on."""
    known |= keep_busy(client, rounds=True)
    return bool(running_jobs(client))


def turn_round(client: Client) -> None:
    """Begin a round, have the oracle annotate it, or retry what failed, whichever comes next."""
    latest = list(client.items("/v1/projects/hearts/rounds"))[-1:]
    if latest and latest[0]["state"] == "failed":
        client.post(f"/v1/jobs/{latest[0]['job_id']}/retry")
    elif latest and latest[0]["state"] == "annotating":
        client.post("/v1/projects/hearts/oracle")
    else:
        # Writers annotate too, so the budget reaches beyond what is annotated by now, as long as there is anything.
        found = client.get("/v1/projects/hearts")
        total = found["slices"]["train"]
        percent = min(100.0, 100 * (max(found["annotated"], latest[0]["target"] if latest else 0) + 1) / total + 0.01)
        if found["annotated"] < total and (not latest or latest[0]["target"] < total):
            client.post("/v1/projects/hearts/rounds", {"budget_percent": percent})


def kill_and_restart(stack: Stack, victim: str) -> float:
    """Kill one kind of part and bring it back; gives the seconds until the service was ready again.

    Raises RuntimeError where a part ended instead of starting.
    """
    kinds: dict[str, list[Part]] = {"api": stack.apis, "worker": stack.workers, "postgres": [stack.cluster]}
    # The database last: it is still recovering when the others look for it.
    kinds["everything"] = [*stack.workers, *stack.apis, stack.redis, stack.cluster]
    for part in kinds[victim]:
        part.kill()
    started = time.monotonic()
    for part in kinds[victim]:
        part.start()
    stack.wait_ready()
    stack.check_all_run()
    return time.monotonic() - started


def read_back(url: str, acknowledged: Sequence[tuple[str, str]]) -> list[str]:
    """The versions among these that the service does not give back as they were sent."""
    lost = []
    with httpx.Client(base_url=url, timeout=30) as http:
        for version, digest in acknowledged:
            answer = http.get(f"/v1/annotation-versions/{version}/mask")
            if answer.status_code != 200 or hashlib.sha256(answer.content).hexdigest() != digest:
                lost.append(f"{version}: {answer.status_code}")
    return lost


def settle_jobs(client: Client, known: set[str], report: Report) -> None:
    """Wait until no job is left to do, and note those that ended without saying why."""
    wait_until("the last jobs", lambda: all(job["state"] in FINAL for job in list_jobs(client)), 300)
    jobs = {job["id"]: job for job in list_jobs(client)}
    report.interrupted_as.update(jobs[each]["state"] for each in report.interrupted if each in jobs)
    for job_id in sorted(known | set(jobs)):
        job = jobs.get(job_id)
        report.jobs["gone" if job is None else job["state"]] += 1
        explained = job is not None and bool((job["error"] or {}).get("detail"))
        if job is None or (job["state"] != "succeeded" and not explained):  # nobody cancels here
            report.unexplained.append(job_id)


def run_flushed_round(stack: Stack, hearts: Path) -> dict[str, Any]:
    """Turn one round while Redis is emptied every 0.2 s; gives the round as it closed."""
    with Client(stack.urls[0]) as client, Client(stack.urls[-1]) as other:
        make_project(client, hearts)
        opened = client.post("/v1/projects/hearts/rounds")

        def state(wanted: str) -> bool:
            stack.redis.flush()
            time.sleep(0.1)
            return bool(other.get(f"/v1/rounds/{opened['id']}")["state"] == wanted)

        wait_until("the proposal", lambda: state("annotating"), 120)
        other.post("/v1/projects/hearts/oracle")
        wait_until("training and evaluation", lambda: state("closed"), 300)
        closed: dict[str, Any] = client.get(f"/v1/rounds/{opened['id']}")
        return closed


def main() -> int:
    """Run the trials and print what was found; the status is 0 when nothing was lost and everything explained."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rounds", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--flush", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kill-trials-") as folder:
        home = Path(folder)
        with running_stack(home / "killed") as stack:
            report = run_trials(stack, home / "hearts", asked.trials, asked.rounds, asked.seed)
        print(json.dumps(report.as_json(), indent=2))
        if asked.flush:
            with running_stack(home / "flushed") as stack:
                closed = run_flushed_round(stack, home / "hearts")
            print(f"Redis flushed in the middle of a round: the round is {closed['state']}.")
    return 1 if report.lost or report.unexplained else 0


if __name__ == "__main__":
    sys.exit(main())

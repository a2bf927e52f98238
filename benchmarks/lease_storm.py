"""A crowd of annotators, some of whom die at any moment: is a slice ever two people's, is work ever lost?

    python -m benchmarks.lease_storm --database sqlite     [--clients 32 --cycles 1000 --deaths 0.02 --seed 1]
    python -m benchmarks.lease_storm --database postgresql://postgres@127.0.0.1/postgres

Starts the API (two processes on PostgreSQL, one on SQLite) over a database of its own, proposes as many slices as there
are cycles, and lets every client lease, beat and submit over HTTP. A client that dies closes its connection in the
middle of whatever it does and comes back as somebody else, so that what it held must be freed by its missing heartbeat.
Held twice is judged by the clients' own clocks: between being handed a slice and the end of the lease that the service
named, or the submission, no other client may be handed it. A heartbeat starts the liveness clock when it reaches the
service, and its answer says so later: a client that waits for one longer than that clock runs no longer knows what it
holds, and what was handed on meanwhile is counted apart, as no fault; an answer that comes when its lease is over gives
nobody anything. The rows say it without any client: no lease may be older than the end of the one before it. At the end
every acknowledged annotation is read back and compared. Exits with 1 unless all counts but that one are 0.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import threading
import time
import uuid
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import select

from app.db.models import Annotation, AnnotationVersion, Lease
from app.names import LeaseState
from app.services.leases import live_until
from benchmarks.service_under_load import Bench, open_bench

SIDE = 8
ALIVE_S = 3.0


@dataclass
class Tally:
    """What all clients saw."""

    cycles: int = 0
    deaths: int = 0
    twice: list[str] = field(default_factory=list)  # what was seen of each
    overlapping: int = 0
    unknowing: int = 0  # handed on while the holder waited for the answer to a heartbeat, longer than its clock ran
    lost: int = 0
    errors: list[str] = field(default_factory=list)
    refusals: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"lease": [], "submit": []})
    holders: dict[str, tuple[str, float]] = field(default_factory=dict)  # slice -> holder, end by this clock
    beating: dict[str, float] = field(default_factory=dict)  # holder -> when the heartbeat that is under way was sent
    accepted: dict[str, tuple[str, bytes]] = field(default_factory=dict)  # version -> slice, mask
    lock: threading.Lock = field(default_factory=threading.Lock)


def main() -> int:
    """Run the storm and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="sqlite", help="sqlite, or the URL of a PostgreSQL server")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--cycles", type=int, default=1000, help="of each client")
    parser.add_argument("--deaths", type=float, default=0.02, help="share of the cycles in which the client dies")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tally = run_storm(asked.database, Path(folder), asked.clients, asked.cycles, asked.deaths, asked.seed)
    print(report(tally))
    return int(bool(tally.twice or tally.overlapping or tally.lost or tally.errors))


def run_storm(database: str, folder: Path, clients: int, cycles: int, deaths: float, seed: int) -> Tally:
    """Storm a service of its own; one slice for each cycle."""
    tally = Tally()
    knobs = {"NEXTSLICE_HEARTBEAT_S": str(ALIVE_S)}
    processes = 1 if database == "sqlite" else 2
    with open_bench(database, folder, slices=clients * cycles, side=SIDE, processes=processes, knobs=knobs) as bench:
        with ThreadPoolExecutor(clients) as crowd:
            runs = [
                crowd.submit(_annotate, bench, tally, number, cycles, deaths, random.Random(f"{seed} {number}"))
                for number in range(clients)
            ]
            for run in runs:
                run.result()
        _read_back(bench, tally)
    return tally


def report(tally: Tally) -> str:
    """The outcome for people."""
    lines = [
        f"cycles submitted {tally.cycles}, client deaths {tally.deaths}, refusals {tally.refusals or 'none'}",
        f"slices served to two holders: {len(tally.twice)}, by the database's clock: {tally.overlapping};"
        f" handed on during a heartbeat of more than {ALIVE_S:g} s: {tally.unknowing}",
        f"acknowledged annotations lost: {tally.lost}",
        f"5xx answers: {len(tally.errors)} {tally.errors[:3] or ''}",
    ]
    lines += tally.twice
    for what, seconds in tally.seconds.items():
        cuts = statistics.quantiles(seconds, n=100) if len(seconds) > 1 else [0.0] * 99
        lines.append(f"{what}: p50 {cuts[49] * 1e3:.1f} ms, p95 {cuts[94] * 1e3:.1f} ms, p99 {cuts[98] * 1e3:.1f} ms")
    return "\n".join(lines)


def _annotate(bench: Bench, tally: Tally, number: int, cycles: int, deaths: float, chance: random.Random) -> None:
    life = 0
    done = 0
    while done < cycles:
        name = f"client {number}, life {life}"
        with httpx.Client(base_url=bench.urls[number % len(bench.urls)], timeout=120) as http:
            while done < cycles:
                dies_after = chance.choice(("lease", "heartbeat", "sending")) if chance.random() < deaths else None
                outcome = _cycle(http, tally, name, dies_after, chance)
                if outcome == "died":
                    life += 1
                    break
                if outcome == "nothing":
                    if bench.is_finished():
                        return
                    time.sleep(0.2)  # what the dead held is not free yet
                    continue
                done += 1


def _cycle(http: httpx.Client, tally: Tally, name: str, dies_after: str | None, chance: random.Random) -> str:
    asked = time.monotonic()
    answer = _call(http, tally, "lease", "POST", "/v1/projects/storm/leases", json={"annotator": name})
    if answer.status_code != 200:
        return "nothing"
    lease = answer.json()["items"][0]
    slice_ = lease["slice"]["id"]
    note_holder(tally, slice_, name, asked, lease["until"])
    if dies_after == "lease":
        # It never sent a heartbeat, so the idle clock alone would free the slice: say so before dying.
        _forget(tally, slice_, name)
        http.delete(f"/v1/leases/{lease['id']}")
        return _die(tally)
    with tally.lock:
        tally.beating[name] = time.monotonic()
    beat = _call(http, tally, "heartbeat", "POST", f"/v1/leases/{lease['id']}/heartbeat")
    if beat.status_code == 200:
        note_holder(tally, slice_, name, time.monotonic(), beat.json()["until"])
    with tally.lock:
        del tally.beating[name]
    if dies_after == "heartbeat":
        return _die(tally)
    mask = bytes(chance.choice((0, 1)) for _ in range(SIDE * SIDE))
    path = f"/v1/slices/{slice_}/annotations?kind=full&annotator={name}"
    headers = {"If-Match": f'"{lease["slice"]["annotation"]}"', "Idempotency-Key": uuid.uuid4().hex}
    if dies_after == "sending":
        # Stored or not: it was never acknowledged, so nobody is owed it. The timeout cuts the line in the middle.
        with suppress(httpx.TransportError):
            http.post(path, content=mask, headers=headers, timeout=0.005)
        return _die(tally)
    sent = _call(http, tally, "submit", "POST", path, content=mask, headers=headers)
    _forget(tally, slice_, name)
    if sent.status_code == 201:
        with tally.lock:
            tally.cycles += 1
            tally.accepted[sent.json()["id"]] = (slice_, mask)
    return "done"


def _call(http: httpx.Client, tally: Tally, what: str, method: str, path: str, **options: Any) -> httpx.Response:
    started = time.perf_counter()
    answer = http.request(method, path, **options)
    with tally.lock:
        tally.seconds.setdefault(what, []).append(time.perf_counter() - started)
        if answer.status_code >= 500:
            tally.errors.append(f"{what} {answer.status_code} {answer.text[:200]}")
        elif answer.status_code >= 400:
            code = f"{what} {answer.json()['code']}"
            tally.refusals[code] = tally.refusals.get(code, 0) + 1
    return answer


def note_holder(tally: Tally, slice_: str, name: str, asked: float, until: str) -> None:
    """Take down that somebody who asked at `asked` was told to hold a slice until then, and judge it."""
    # Counted from before the question was sent, so that a slow answer does not make a lease look longer than it is.
    # The two clocks in this order: a thread that waits between them then believes less, not more.
    heard = time.monotonic()
    end = heard + datetime.fromisoformat(until).timestamp() - time.time()
    if end <= heard:
        # Over before it was heard of: who hears this knows that they hold nothing; it may be somebody else's by now.
        _forget(tally, slice_, name)
        return
    with tally.lock:
        holder, held_until = tally.holders.get(slice_, (name, 0.0))
        now = time.monotonic()
        if holder != name and asked < held_until and now < held_until:
            waits_for = now - tally.beating.get(holder, now)
            tally.unknowing += waits_for > ALIVE_S
            if waits_for <= ALIVE_S:
                left = f"{held_until - now:.2f} s more of {holder}, who waits for a heartbeat for {waits_for:.2f} s"
                tally.twice.append(f"{slice_} to {name}, who asked {now - asked:.2f} s before: {left}")
        tally.holders[slice_] = (name, end)


def _forget(tally: Tally, slice_: str, name: str) -> None:
    with tally.lock:
        if tally.holders.get(slice_, ("", 0.0))[0] == name:
            del tally.holders[slice_]


def _die(tally: Tally) -> str:
    with tally.lock:
        tally.deaths += 1
    return "died"


def _read_back(bench: Bench, tally: Tally) -> None:
    with bench.database.reading() as session:
        masks = select(AnnotationVersion.id, AnnotationVersion.mask, Annotation.slice_id)
        stored = {
            str(version): (str(slice_), zlib.decompress(mask or b"", 31))
            for version, mask, slice_ in session.execute(masks.join(Annotation))
        }
        leases = session.scalars(select(Lease).order_by(Lease.assignment_id, Lease.id)).all()
    tally.overlapping = sum(
        before.assignment_id == after.assignment_id and _ends(before) > after.created_at.timestamp()
        for before, after in pairwise(leases)
    )
    tally.lost = sum(stored.get(version) != acknowledged for version, acknowledged in tally.accepted.items())


def _ends(lease: Lease) -> float:
    """When the clocks of a lease ran out, if they ended it; what else ends one does so in the transaction before."""
    return live_until(lease).timestamp() if lease.state == LeaseState.EXPIRED else 0.0


if __name__ == "__main__":
    sys.exit(main())

"""How long an API process takes to answer, and how much memory it then holds.

    python -m benchmarks.start --database postgresql://postgres@127.0.0.1/postgres [--repeats 5]

The process is the one of the stack, `nextslice up --no-workers --no-demo`, over a migrated database of its own. Seconds
count from its start to the first answer of `/healthz`, and of `/readyz` with every part in order; memory is the
resident set (VmRSS) half a second later, and after the requests that a board begins with. CPU seconds stand beside, as
wall seconds count for little on a busy machine.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from app.db.migrate import migrate
from app.db.session import Database
from benchmarks.latency import QUOTED_START, resident_mb
from benchmarks.service_under_load import new_database

LIMIT_S, LIMIT_MB = 2.0, 150.0
START_S = 60.0
FIRST_REQUESTS = ("/", "/v1/me", "/v1/version", "/v1/projects", "/v1/strategies", "/openapi.json")


@dataclass(frozen=True)
class Start:
    """One start: seconds to be alive and to be ready, CPU seconds then, MB when idle and after the first requests."""

    alive_s: float
    ready_s: float
    cpu_s: float
    idle_mb: float
    used_mb: float


def main() -> int:
    """Measure and print; the status is 1 when a limit of the issue is missed by the median."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1/postgres", help="or sqlite")
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, new_database(asked.database, Path(folder)) as url:
        opened = Database(url)
        migrate(opened)
        opened.dispose()
        starts = [start_once(url, Path(folder)) for _ in range(asked.repeats)]

    def median(of: Callable[[Start], float]) -> float:
        return statistics.median(of(each) for each in starts)

    alive, ready, idle, used = (
        median(of) for of in (lambda s: s.alive_s, lambda s: s.ready_s, lambda s: s.idle_mb, lambda s: s.used_mb)
    )
    print(f"alive after {alive:.2f} s, ready after {ready:.2f} s, CPU {median(lambda s: s.cpu_s):.2f} s")
    print(f"resident {idle:.0f} MB idle, {used:.0f} MB after the first requests")
    print(f"wanted: {LIMIT_S:g} s, {LIMIT_MB:g} MB; {QUOTED_START}; medians of {asked.repeats} starts")
    return int(ready > LIMIT_S or used > LIMIT_MB)


def start_once(database_url: str, folder: Path) -> Start:
    """Start the process, look at it, stop it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"NEXTSLICE_HOME": str(folder), "NEXTSLICE_DATABASE_URL": database_url}
    environment["PYTHONPATH"] = os.pathsep.join([str(Path.cwd()), environment.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "app.cli", "up", "--no-workers", "--no-demo", "--port", str(port)]
    begun = time.monotonic()
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=5) as http:
            alive_s = _seconds_until(http, "/healthz", begun, process)
            ready_s = _seconds_until(http, "/readyz", begun, process)
            cpu_s = _cpu_s(process.pid)
            time.sleep(0.5)
            idle_mb = resident_mb(process.pid)
            for path in FIRST_REQUESTS:
                http.get(path).raise_for_status()
            return Start(alive_s, ready_s, cpu_s, idle_mb, resident_mb(process.pid))
    finally:
        process.terminate()
        process.wait(30)


def _seconds_until(http: httpx.Client, path: str, begun: float, process: subprocess.Popen[bytes]) -> float:
    while time.monotonic() < begun + START_S and process.poll() is None:
        try:
            if http.get(path).status_code == 200:
                return time.monotonic() - begun
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise RuntimeError(f"{path} did not answer within {START_S:g} s")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    sys.exit(main())

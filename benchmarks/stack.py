"""A whole stack of processes of one's own, to be killed: PostgreSQL cluster, Redis, API processes, workers."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import psycopg
import redis

ROOT = Path(__file__).resolve().parents[1]
START_S = 90.0


class StackUnavailable(Exception):
    """A server that the stack is made of is not installed here."""


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(what: str, holds: Callable[[], bool], seconds: float = START_S) -> None:
    """Return as soon as it holds; TimeoutError names it otherwise."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {seconds:g} s")
        time.sleep(0.1)


class Part:
    """One process in a session of its own, where no signal of the terminal reaches it."""

    def __init__(self, name: str, command: list[str], log: Path, environment: dict[str, str] | None = None) -> None:
        self.name = name
        self._command = command
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, or start it again."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_running(self) -> bool:
        """Whether it has not ended by itself."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill -9, its children too."""
        if self._process is not None:
            # PostgreSQL's children, and Celery's, may be in sessions of their own; alone they would end their work.
            for pid in [*_descendants(self._process.pid), self._process.pid]:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()


class Cluster(Part):
    """A PostgreSQL cluster of one's own; it refuses to run as root, so root runs it as `postgres`."""

    def __init__(self, home: Path, log: Path) -> None:
        binaries = [*map(Path, os.environ.get("PATH", "").split(os.pathsep)), *_debian_binaries()]
        folder = next((each for each in binaries if (each / "initdb").is_file()), None)
        if folder is None:
            raise StackUnavailable("there is no initdb on this machine")
        self.port = free_port()
        self._as_whom: list[str] = []
        if os.geteuid() == 0:
            try:
                owner = pwd.getpwnam("postgres")
            except KeyError:
                raise StackUnavailable("root needs a user called postgres to run a cluster") from None
            os.chown(home, owner.pw_uid, owner.pw_gid)
            self._as_whom = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
        data = home / "data"
        made = [*self._as_whom, str(folder / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        subprocess.run([*made, "--no-sync", "-E", "UTF8", "--locale=C"], check=True, capture_output=True, cwd=home)
        command = [*self._as_whom, str(folder / "postgres"), "-D", str(data), "-p", str(self.port)]
        command += ["-k", str(home), "-c", "listen_addresses=127.0.0.1"]
        super().__init__("postgres", command, log)
        self.server = f"postgresql://postgres@127.0.0.1:{self.port}/postgres"
        self.url = f"postgresql://postgres@127.0.0.1:{self.port}/nextslice"

    def start(self) -> None:
        """Start it and wait until it answers; after a kill its children may hold it back for a moment."""

        def answers() -> bool:
            if not self.is_running():
                Part.start(self)
            try:
                psycopg.connect(self.server, connect_timeout=2).close()
            except psycopg.OperationalError:
                return False
            return True

        wait_until("PostgreSQL", answers)

    def create(self) -> None:
        """Make the empty database."""
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute("CREATE DATABASE nextslice TEMPLATE template0")


class Redis(Part):
    """A Redis of one's own that keeps nothing on disk."""

    def __init__(self, home: Path) -> None:
        program = shutil.which("redis-server")
        if program is None:
            raise StackUnavailable("there is no redis-server on this machine")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        super().__init__(
            "redis", [program, "--port", str(self.port), "--save", "", "--appendonly", "no"], home / "redis.log"
        )

    def flush(self) -> None:
        """Throw away every message that there is."""
        with redis.Redis.from_url(self.url) as server:
            server.flushall()


class Stack:
    """Everything under one folder: one cluster, one Redis, any number of API processes and workers."""

    def __init__(self, home: Path, cluster_home: Path, apis: int = 1, workers: tuple[str, ...] = ("gpu,cpu",)) -> None:
        self.cluster = Cluster(cluster_home, home / "postgres.log")
        self.redis = Redis(home)
        environment = dict(os.environ) | {
            "DATABASE_URL": self.cluster.url,
            "BROKER_URL": self.redis.url,
            "NEXTSLICE_HOME": str(home / "data"),
            "NEXTSLICE_JOB_LEASE_S": "3",
            "NEXTSLICE_SWEEP_S": "0.5",
            "NEXTSLICE_CHECKPOINT_S": "1",
            "PYTHONPATH": str(ROOT),
        }
        ports = [free_port() for _ in range(apis)]
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        up = [sys.executable, "-m", "app.cli", "up", "--no-workers", "--no-demo", "--port"]
        self.apis = [
            Part(f"api {number}", [*up, str(port)], home / f"api-{number}.log", environment)
            for number, port in enumerate(ports)
        ]
        celery = [sys.executable, "-m", "celery", "-A", "worker.main", "worker", "-P", "prefork", "-c", "1"]
        celery += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        self.workers = [
            Part(
                f"worker {number}", [*celery, "-Q", queues, "-n", f"w{number}@%h"], home / f"w{number}.log", environment
            )
            for number, queues in enumerate(workers)
        ]

    def wait_ready(self) -> None:
        """Return when every API process says that all its parts are there; one that ended instead is an error."""
        for api, url in zip(self.apis, self.urls, strict=True):

            def ready(api: Part = api, url: str = url) -> bool:
                if not api.is_running():
                    raise RuntimeError(f"{api.name} refused to start; its log says why")
                with suppress(httpx.TransportError):
                    return httpx.get(f"{url}/readyz", timeout=10).status_code == 200
                return False

            wait_until(f"{api.name}", ready)

    def check_all_run(self) -> None:
        """Raise RuntimeError for a part that has ended by itself."""
        for part in (self.redis, self.cluster, *self.apis, *self.workers):
            if not part.is_running():
                raise RuntimeError(f"{part.name} refused to start; its log says why")


@contextmanager
def running_stack(home: Path, apis: int = 1, workers: tuple[str, ...] = ("gpu,cpu",)) -> Iterator[Stack]:
    """A stack that answers, and whose processes are all gone afterwards; raises StackUnavailable."""
    home.mkdir(parents=True, exist_ok=True)
    # The cluster has a folder elsewhere: its user need not be able to reach `home`.
    with TemporaryDirectory(prefix="nextslice-cluster-", ignore_cleanup_errors=True) as cluster_home:
        stack = Stack(home, Path(cluster_home), apis, workers)
        parts: list[Part] = [stack.redis, stack.cluster, *stack.apis, *stack.workers]
        try:
            stack.redis.start()
            stack.cluster.start()
            stack.cluster.create()
            for part in parts[2:]:
                part.start()
            stack.wait_ready()
            yield stack
        finally:
            for part in reversed(parts):
                part.kill()


def _descendants(pid: int) -> list[int]:
    """The children of a process and their children; a process that is gone has none."""
    try:
        children = [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []
    return [*children, *(each for child in children for each in _descendants(child))]


def _debian_binaries() -> list[Path]:
    return sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)

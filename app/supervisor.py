"""Keeps the workers of an embedded service alive, and takes them along when it goes."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import AliasChoices

from app.log import get_log
from app.names import Queue
from app.settings import Settings

SUPERVISOR_PID = "NEXTSLICE_SUPERVISOR_PID"
"""Environment variable by which a supervised worker knows whose child it is."""

WORKER_NICENESS = 5  # training gives way to the service, so that a slice is served while a net trains
LOOK_S = 0.1
FIRST_DELAY_S = 0.5
LAST_DELAY_S = 30.0
STEADY_S = 60.0
STOP_GRACE_S = 15.0

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

_log = get_log(__name__)


@dataclass
class _Child:
    queue: Queue
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    start_at: float = 0.0
    delay_s: float = FIRST_DELAY_S


class Supervisor:
    """One Celery worker a queue, each in a process group of its own, started again when it dies.

    The first restart comes after FIRST_DELAY_S; a worker that keeps dying is given twice as long each time, up to
    LAST_DELAY_S. What the workers write goes to `home/logs/worker-<queue>.log`. `module` is what `celery -A` loads.
    """

    def __init__(
        self, settings: Settings, module: str = "worker.main", queues: tuple[Queue, ...] = tuple(Queue)
    ) -> None:
        self._settings = settings
        self._module = module
        self._children = [_Child(queue) for queue in queues]
        self._logs = settings.home.resolve() / "logs"
        self._grace_s = STOP_GRACE_S
        self._stopping = threading.Event()
        # Linux sends the death signal when the *thread* that started a child ends: one thread starts them all, and
        # lives as long as they do.
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    @property
    def pids(self) -> dict[Queue, int]:
        """The process id of each worker that runs now; it is also the id of its process group."""
        processes = {child.queue: child.process for child in self._children}
        return {queue: process.pid for queue, process in processes.items() if process and process.poll() is None}

    def start(self) -> None:
        """Start the workers and keep them running."""
        self._logs.mkdir(parents=True, exist_ok=True)
        self._thread.start()

    def stop(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop the workers, which put their jobs back, and wait for them; what still runs after `grace_s` is killed."""
        self._grace_s = grace_s
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_S):
            for child in self._children:
                self._look_after(child)
        self._stop_children()

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process is None:
            if now >= child.start_at:
                child.process, child.started_at = self._spawn(child.queue), now
        elif (status := child.process.poll()) is not None:
            _kill_group(child.process)  # its pool's process, where it was killed alone
            if now - child.started_at > STEADY_S:
                child.delay_s = FIRST_DELAY_S
            _log.warning("worker_died", queue=str(child.queue), status=status, restart_in_s=child.delay_s)
            child.process, child.start_at = None, now + child.delay_s
            child.delay_s = min(2 * child.delay_s, LAST_DELAY_S)

    def _spawn(self, queue: Queue) -> subprocess.Popen[bytes]:
        command = [
            sys.executable,
            "-m",
            "celery",
            "--quiet",
            "-A",
            self._module,
            "worker",
            "-Q",
            str(queue),
            "-n",
            f"{queue}@%h",
        ]
        command += ["-P", "prefork", "-c", "1", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        with (self._logs / f"worker-{queue}.log").open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=worker_environment(self._settings),
                process_group=0,  # Ctrl-C at the terminal reaches the service alone, which then stops its workers
            )
        with suppress(ProcessLookupError):
            os.setpriority(os.PRIO_PROCESS, process.pid, WORKER_NICENESS)
        _log.info("worker_started", queue=str(queue), pid=process.pid)
        return process

    def _stop_children(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGQUIT)  # Celery's cold shutdown: it does not wait for a job to end
        deadline = time.monotonic() + self._grace_s
        for process in running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            _kill_group(process)
            process.wait()


def die_with_supervisor() -> None:
    """In a supervised worker: be killed when the supervisor dies, however it dies. Elsewhere: nothing."""
    supervisor = os.environ.get(SUPERVISOR_PID)
    if supervisor is None:
        return
    die_with_parent()
    if os.getppid() != int(supervisor):  # it died before the signal was arranged
        os.kill(os.getpid(), signal.SIGKILL)


def die_with_parent() -> None:
    """Have the kernel kill this process when its parent dies (Linux only; elsewhere an orphan ends with its job)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def worker_environment(settings: Settings) -> dict[str, str]:
    """The environment in which a supervised worker reads exactly these settings."""
    environment = dict(os.environ)
    for name, field in Settings.model_fields.items():
        alias = field.validation_alias
        variable = f"NEXTSLICE_{name.upper()}"
        if isinstance(alias, AliasChoices):
            variable = str(alias.choices[0])
        value = getattr(settings, name)
        environment.pop(variable, None)
        if value is not None:
            environment[variable] = str(value)
    environment["NEXTSLICE_HOME"] = str(settings.home.resolve())
    environment[SUPERVISOR_PID] = str(os.getpid())
    # `-A module` is found where this process finds it, installed or not.
    root = str(Path(__file__).resolve().parents[1])
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [root, environment.get("PYTHONPATH", "")]))
    return environment


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)

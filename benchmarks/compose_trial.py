"""The stack of `docker-compose.yml` for real: built, a round turned, stopped and started, backed up and restored.

    python -m benchmarks.compose_trial                     # with podman, as root; docs/deployment.md says what it needs
    python -m benchmarks.compose_trial --engine docker

Each fact that must hold is printed as it is found; the status is 1 when one does not hold. The stack is a project of
its own (`nextslice-trial`, free ports, passwords of its own), with two API processes and two workers on the CPU; it is
removed in the end, volumes included, and only the images stay. `--no-build` takes the images that are there.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import yaml

from app.client import Client, import_listing, label_schema_of
from app.datasets.registry import list_dataset
from app.errors import NextSliceError
from benchmarks.stack import ROOT, free_port

PROJECT = "nextslice-trial"
BASE = "debian:bookworm-slim"
IMAGES = {"nextslice-api": "Dockerfile", "nextslice-worker": "Dockerfile.gpu"}
SERVICES = ("postgres", "redis", "migrate", "api", "second", "worker-cpu")
API_LIMIT_MB = 350
ROUND_S = 1200.0
ABSENT = ["torch", "torchvision", "gdcm", "highdicom", "scipy", "pip"]  # in the API's image
# What podman needs where there is neither systemd nor a limit of its own to inherit.
PODMAN = ["podman", "--cgroup-manager=cgroupfs"]
PODMAN_COMPOSE = ["podman-compose", "--podman-args=--cgroup-manager=cgroupfs --runtime runc"]
PODMAN_COMPOSE += ["--podman-run-args=--ulimit nofile=1024:1024 --ulimit nproc=1024:1024"]
# The lines of docs/deployment.md.
DUMP = "PGPASSWORD=$POSTGRES_PASSWORD pg_dump -h 127.0.0.1 -U $POSTGRES_USER -Fc $POSTGRES_DB"
UNDUMP = "PGPASSWORD=$POSTGRES_PASSWORD pg_restore -h 127.0.0.1 -U $POSTGRES_USER --exit-on-error --clean --if-exists"
UNDUMP += " -d $POSTGRES_DB"
PACK = "cd /data && tar -cf - blobs $(ls pseudonym.key 2>/dev/null)"


class Engine:
    """Docker, or podman with podman-compose: the same words for what the trial does."""

    def __init__(self, name: str, folder: Path) -> None:
        self.is_podman = name == "podman"
        self.folder = folder
        self._bare = PODMAN if self.is_podman else ["docker"]
        self._compose = [*(PODMAN_COMPOSE if self.is_podman else ["docker", "compose"]), "-p", PROJECT]

    def build(self, image: str, file: str) -> float:
        """Make an image out of this checkout; gives the seconds that it took."""
        command = ["docker", "build"]
        if self.is_podman:  # in containers of its own buildah needs rights that a container does not have
            command = ["buildah", "bud", "--layers", "--isolation", "chroot", "--pull-never"]
        began = time.monotonic()
        run([*command, "-f", file, "-t", image, "."], ROOT)
        return time.monotonic() - began

    def compose(self, *words: str) -> str:
        """What the compose program says to these words."""
        return run([*self._compose, *words], self.folder)

    def engine(self, *words: str) -> str:
        """What the engine itself says to these words."""
        return run([*self._bare, *words], self.folder)

    def containers(self, service: str) -> list[str]:
        """The names of a service's containers."""
        between = "_" if self.is_podman else "-"
        named = self.engine("ps", "-a", "--format", "{{.Names}}").split()
        return sorted(each for each in named if each.startswith(f"{PROJECT}{between}{service}{between}"))

    def execute(self, service: str, *words: str, line: str = "") -> str:
        """What a command says in the first container of a service, the line on its standard input."""
        return run([*self._bare, "exec", "-i", self.containers(service)[0], *words], self.folder, line)

    def pipe(self, service: str, script: str, content: bytes = b"") -> bytes:
        """What a shell script gives in the first container of a service, with the content as its input."""
        command = [*self._bare, "exec", "-i", self.containers(service)[0], "sh", "-c", script]
        return subprocess.run(command, input=content, check=True, stdout=subprocess.PIPE).stdout

    def logs(self, service: str) -> list[list[str]]:
        """The lines of each container of a service."""
        read = [[*self._bare, "logs", each] for each in self.containers(service)]
        found = [subprocess.run(each, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) for each in read]
        return [each.stdout.decode().strip().splitlines() for each in found]

    def is_healthy(self, container: str) -> bool:
        """What the health check of the compose file says; without systemd podman runs none by itself."""
        if self.is_podman:
            check = [*self._bare, "healthcheck", "run", container]
            return subprocess.run(check, check=False, capture_output=True).returncode == 0
        return self.engine("inspect", "-f", "{{.State.Health.Status}}", container).strip() == "healthy"

    def kill(self, container: str) -> None:
        """Kill -9 of its first process, from outside: the engine did not ask for it, so it must start it again."""
        os.kill(int(self.engine("inspect", "-f", "{{.State.Pid}}", container)), signal.SIGKILL)


class Trial:
    """The facts, one after the other."""

    def __init__(self, engine: Engine, ports: Sequence[int]) -> None:
        self.engine = engine
        self.urls = [f"http://127.0.0.1:{port}" for port in ports]
        self.failed: list[str] = []
        self._password = secrets.token_urlsafe(12)
        self._headers: dict[str, str] = {}

    def fact(self, what: str, holds: bool, seen: object = "") -> None:
        """Print whether something that must hold does."""
        if not holds:
            self.failed.append(what)
        print(f"{'ok    ' if holds else 'FAILED'}  {what}" + (f": {seen}" if str(seen) else ""), flush=True)

    def build(self) -> None:
        """Both images from their files."""
        for image, file in IMAGES.items():
            self.fact(f"{file} builds", True, f"{image}, {self.engine.build(image, file):.0f} s")

    def look_at_images(self) -> None:
        """Sizes of the images, and what is not inside the API's."""
        base, api, worker = (self._megabytes(image) for image in (BASE, *IMAGES))
        self.fact(f"the API's image adds under {API_LIMIT_MB} MB", api - base < API_LIMIT_MB, f"{api - base:.0f} MB")
        print(f"        the worker's image adds {worker - base:.0f} MB")
        script = f"import importlib.util as u; print([n for n in {ABSENT!r} if u.find_spec(n)])"
        found = self.engine.execute("api", "python", "-c", script).strip()
        self.fact("neither torch nor a DICOM decoder nor an installer in the API's image", found == "[]", found)
        for service in ("api", "worker-cpu"):
            who = self.engine.execute(service, "id", "-u").strip()
            self.fact(f"{service} does not run as root", who == "10001", f"user {who}")

    def start(self, times: int) -> None:
        """`up`, and everything is there and healthy, the schema migrated by one container."""
        began = time.monotonic()
        self.engine.compose("up", "-d", *SERVICES)
        for url in self.urls:
            wait_for(f"{url}/readyz", partial(is_ready, url))
        self.fact(f"`up` number {times}: both API processes are ready", True, f"after {time.monotonic() - began:.0f} s")
        long_running = [each for name in SERVICES if name != "migrate" for each in self.engine.containers(name)]
        for container in long_running:
            wait_for(f"the health of {container}", partial(self.engine.is_healthy, container))
        self.fact("every health check passes", True, f"{len(long_running)} containers")
        (lines,) = self.engine.logs("migrate")
        done = [line for line in lines if line.startswith("The database is at revision")]
        state = self.engine.engine("inspect", "-f", "{{.State.ExitCode}}", *self.engine.containers("migrate")).strip()
        self.fact("migrate ran to its end once", len(done) == 1 and state == "0", done[-1:])

    def make_account(self) -> str:
        """An administrator's token; without one nothing is shown."""
        self.fact("without a token: 401", httpx.get(f"{self.urls[0]}/v1/projects").status_code == 401)
        self.engine.execute("api", "nextslice", "user", "add", "head", "--administrator", line=f"{self._password}\n")
        made = self.engine.execute("second", "nextslice", "token", "create", "head", "trial", "--scope", "manage")
        self.fact("name and password sign in", self._signs_in())
        token = made.strip()
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/octet-stream"}
        return token

    def _signs_in(self) -> bool:
        body = {"name": "head", "password": self._password}
        return httpx.post(f"{self.urls[1]}/v1/auth/login", json=body).status_code == 200

    def turn_round(self, token: str) -> None:
        """Import, proposal, annotation at both API processes, training and evaluation; one API process is killed."""
        with Client(self.urls[0], token) as first, Client(self.urls[1], token) as second:
            self._make_project(first)
            opened = first.post("/v1/projects/demo/rounds")
            began = time.monotonic()
            wait_for("the proposal", lambda: self._state(second, opened) == "annotating", ROUND_S)
            self.fact("the encoder is trained and slices are proposed", True, f"{time.monotonic() - began:.0f} s")
            self._annotate(first, second)
            killed = self.engine.containers("second")[0]
            self.engine.kill(killed)
            done = first.post("/v1/projects/demo/oracle")
            began = time.monotonic()
            # It goes to the other worker, and need not wait for the training.
            export = first.post("/v1/projects/demo/exports")
            first.wait_for_job(export["id"], lambda _done, _total, _message: None)
            self.fact("an export is done", True, f"the round is {self._state(first, opened)} then")
            wait_for("training and evaluation", lambda: self._state(first, opened) == "closed", ROUND_S)
            summary = first.get(f"/v1/rounds/{opened['id']}")["summary"]
            self.fact(
                "the round closes by itself when its picks are annotated",
                summary["volumes"] > 0,
                f"{time.monotonic() - began:.0f} s, {done['annotated']} by the oracle, Dice {summary['dice']:.3f}",
            )
            wait_for("the next proposal", lambda: self._next_is_proposed(first), ROUND_S)
            self.fact("and the next one is proposed by itself", True)
            wait_for("the killed API", partial(is_ready, self.urls[1]))
            self.fact("an API process that is killed -9 comes back by itself", True)

    def _make_project(self, client: Client) -> None:
        listing = list_dataset("phantom", self.engine.folder / "hearts")
        draft: dict[str, Any] = {
            "slug": "demo",
            "name": "Demo",
            "label_schema": label_schema_of(listing),
            "supervision": "scribble",
        }
        draft |= {"strategy": "gcl", "budgets": [5, 10], "preset": "tiny", "auto_propose": True}
        client.post("/v1/projects", draft)
        refused = import_listing(client, "demo", listing, lambda _done, _total, _message: None).refused
        self.fact("generated hearts are imported", refused == [], f"{len(listing.volumes)} volumes")

    def _annotate(self, first: Client, second: Client) -> None:
        """Two people at two processes hold different slices; each submits at the other process."""
        for who in ("anna", "ben"):
            self.engine.execute("api", "nextslice", "user", "add", who, "--no-password")
            path = f"{first.url}/v1/projects/demo/members/{who}"
            headers = self._headers | {"Content-Type": "application/json"}
            httpx.put(path, json={"role": "annotator"}, headers=headers).raise_for_status()
        held = [
            client.post("/v1/projects/demo/leases", {"annotator": who, "n": 1})["items"][0]
            for client, who in ((first, "anna"), (second, "ben"))
        ]
        ids = [lease["slice"]["id"] for lease in held]
        self.fact("two API processes give two annotators different slices", ids[0] != ids[1])
        answers = []
        for url, lease, who in ((second.url, held[0], "anna"), (first.url, held[1], "ben")):
            mask = np.full(lease["slice"]["shape"], 255, dtype=np.uint8)
            mask[mask.shape[0] // 2] = 0
            mask[mask.shape[0] // 2, mask.shape[1] // 3 : mask.shape[1] // 2] = 1
            answer = httpx.post(
                f"{url}/v1/slices/{lease['slice']['id']}/annotations",
                params={"kind": "scribble", "annotator": who},
                content=zlib.compress(mask.tobytes(), wbits=31),
                headers=self._headers | {"If-Match": f'"{lease["slice"]["annotation"]}"'},
            )
            answers.append(answer.status_code)
        self.fact("what is leased at one is submitted at the other", answers == [201, 201], answers)

    @staticmethod
    def _state(client: Client, opened: dict[str, Any]) -> str:
        return str(client.get(f"/v1/rounds/{opened['id']}")["state"])

    @staticmethod
    def _next_is_proposed(client: Client) -> bool:
        return [each["state"] for each in client.items("/v1/projects/demo/rounds")] == ["closed", "annotating"]

    def look_at_logs(self) -> None:
        """Every line is one JSON event; requests have their id, jobs theirs, and a worker says that it has no GPU."""
        api = [line for name in ("api", "second") for lines in self.engine.logs(name) for line in lines]
        workers = self.engine.logs("worker-cpu")
        bare = [line for lines in (api, *workers) for line in lines if not is_json(line)]
        self.fact("every line of API and worker is a JSON event", bare == [], bare[:3])
        events = [json.loads(line) for line in api if is_json(line)]
        requests = [each for each in events if each["event"] == "request"]
        tagged = all("request_id" in each for each in requests)
        self.fact("every request has its id in the log", bool(requests) and tagged, f"{len(requests)} requests")
        ran = [[json.loads(line) for line in lines if is_json(line)] for lines in workers]
        kinds = [sorted({each["job_kind"] for each in lines if each["event"] == "job_started"}) for lines in ran]
        self.fact("both workers took jobs", len(kinds) == 2 and all(kinds), kinds)
        ours = [each for lines in ran for each in lines if each["logger"].startswith("worker.")]
        self.fact("every line about a job has its id", all("job_id" in each for each in ours), f"{len(ours)} lines")
        warned = [each["detail"] for each in ours if each["event"] == "no_gpu" and each["level"] == "warning"]
        self.fact("without a GPU the worker warns and learns on the CPU", bool(warned), warned[:1])
        metrics = httpx.get(f"{self.urls[1]}/metrics", headers=self._headers).text
        wanted = 'nextslice_jobs{kind="export",state="succeeded"} 1.0'
        self.fact("/metrics counts what was done", wanted in metrics.splitlines(), wanted)

    def start_again(self, token: str) -> None:
        """`down`, `up`: the same rounds, picks and annotations, and people still sign in."""
        before = self._everything(token)
        self.engine.compose("down")
        self.start(2)
        after = self._everything(token)
        count = f"{len(after)} bytes of rounds, picks and annotations"
        self.fact("the second `up` keeps the data", after == before, f"{count}, the same to the byte")
        self.fact("name and password still sign in", self._signs_in())
        self._verify()

    def restore(self, token: str) -> None:
        """The back-up of the manual from the working stack, everything removed, and all of it back."""
        before = self._everything(token)
        dump = self.engine.pipe("postgres", DUMP)
        blobs = self.engine.pipe("api", PACK)
        sizes = f"{len(dump) / 1e6:.1f} MB of rows, {len(blobs) / 1e6:.1f} MB of files"
        self.engine.compose("down", "-v")
        self.engine.compose("up", "-d", "postgres")
        (database,) = self.engine.containers("postgres")
        wait_for("the database", partial(self.engine.is_healthy, database))
        self.engine.pipe("postgres", UNDUMP, dump)
        self.engine.compose("up", "-d", *SERVICES)
        wait_for("the restored service", partial(is_ready, self.urls[1]))
        self.engine.pipe("api", "tar -C /data -xf -", blobs)
        self.fact("a back-up restores into an empty stack", self._everything(token) == before, sizes)
        self._verify()
        with Client(self.urls[0], token) as client:
            export = client.post("/v1/projects/demo/exports")
            client.wait_for_job(export["id"], lambda _done, _total, _message: None)
            self.fact("and an export of it is done", True)

    def _verify(self) -> None:
        said = self.engine.execute("api", "nextslice", "verify").strip().splitlines()
        self.fact("every blob that a row names is whole", True, said[-1])

    def _everything(self, token: str) -> bytes:
        with Client(self.urls[0], token) as client:
            found: list[Any] = list(client.items("/v1/projects/demo/rounds"))
            for round_ in found[:]:
                picks = list(client.items(f"/v1/rounds/{round_['id']}/picks"))
                found += picks
                for pick in picks:
                    found += list(client.items(f"/v1/slices/{pick['slice_id']}/annotations"))
        return json.dumps(found, sort_keys=True).encode()

    def _megabytes(self, image: str) -> float:
        return int(self.engine.engine("image", "inspect", "-f", "{{.Size}}", image)) / 1e6


def run(words: Sequence[str], folder: Path, line: str = "") -> str:
    """What a command prints; raises RuntimeError with what it says of its failure."""
    done = subprocess.run(
        words,
        check=False,  # what it said belongs into the error
        cwd=folder,
        input=line,
        text=True,
        capture_output=True,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 180.0) -> None:
    """Return as soon as it holds; while the service is away it does not."""
    deadline = time.monotonic() + seconds
    while True:
        with suppress(httpx.TransportError, NextSliceError):
            if holds():
                return
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} took longer than {seconds:g} s")
        time.sleep(0.5)


def is_ready(url: str) -> bool:
    """Whether an API process says that all its parts are there."""
    return httpx.get(f"{url}/readyz", timeout=10).status_code == 200


def is_json(line: str) -> bool:
    """Whether a line of a log is one event."""
    return line.startswith("{") and line.endswith("}")


def write_stack(folder: Path, ports: Sequence[int]) -> None:
    """The compose file with a second API process on a port of its own, and its settings."""
    described = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    described["name"] = PROJECT
    services = {name: each for name, each in described["services"].items() if "profiles" not in each}
    services["second"] = services["api"] | {"ports": [f"127.0.0.1:{ports[1]}:8000"]}
    for each in services.values():
        each.pop("build", None)  # the images are there
    described["services"] = services
    (folder / "docker-compose.yml").write_text(yaml.safe_dump(described, sort_keys=False), encoding="utf-8")
    given = {
        "POSTGRES_PASSWORD": secrets.token_hex(12),
        "REDIS_PASSWORD": secrets.token_hex(12),
        "NEXTSLICE_PORT": str(ports[0]),
        "NEXTSLICE_CPU_WORKERS": "2",
    }
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    lines = [f"{key}={given[key]}" if (key := line.split("=")[0]) in given else line for line in lines]
    (folder / ".env").write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> int:
    """Turn the trial; the status is 0 when every fact holds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("podman", "docker"), default="podman")
    parser.add_argument("--build", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--keep", action="store_true", help="leave the stack running")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="compose-trial-") as folder:
        ports = [free_port(), free_port()]
        write_stack(Path(folder), ports)
        engine = Engine(asked.engine, Path(folder))
        trial = Trial(engine, ports)
        if asked.build:
            trial.build()
        try:
            trial.start(1)
            trial.look_at_images()
            token = trial.make_account()
            trial.turn_round(token)
            trial.look_at_logs()
            trial.start_again(token)
            trial.restore(token)
        finally:
            if not asked.keep:
                engine.compose("down", "-v")
    print(f"{len(trial.failed)} facts do not hold." if trial.failed else "Every fact holds.")
    return 1 if trial.failed else 0


if __name__ == "__main__":
    sys.exit(main())

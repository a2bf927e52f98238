"""Whole experiments from the command line, embedded: a real service, real workers, generated hearts."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from app.bench.certainty import describe_certainty, describe_differences
from app.datasets.phantom import PhantomConfig, list_phantoms
from tests.conftest import POSTGRES_SERVER

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def hearts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hearts")  # phantoms lie in the layout of ACDC
    list_phantoms(folder, config=PhantomConfig(6, 5, 40, 48, seed=3, fractions=(0.5, 0.2, 0.3)))
    return folder


def bench(hearts: Path, out: Path, *more: str) -> list[str]:
    command = [sys.executable, "-m", "app.cli", "bench", "run", "acdc", "--root", str(hearts), "--out", str(out)]
    command += ["--preset", "tiny", "--strategies", "gcl,random", "--budgets", "10,20", "--seeds", "1"]
    return [*command, *more]


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if "URL" not in name}
    return kept | {"OMP_NUM_THREADS": "1"} | more


def run(command: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, env=environment(**more), capture_output=True, text=True, timeout=280, check=False
    )


def read_manifest(out: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((out / "manifest.json").read_text())
    return manifest


def read_rows(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((out / "results.csv").read_text().splitlines()))


def check_kept_counts(home: Path) -> None:
    """TP, FP and FN of every class, volume and slice are in the database, and give its Dice."""
    (path,) = home.glob("*.db")
    with closing(sqlite3.connect(path)) as database:
        kept = [
            (dice, json.loads(counts)) for dice, counts in database.execute("select dice, slice_counts from metrics")
        ]
    assert kept
    for dice, counts in kept:
        assert len(counts) == 5, "one row a slice"
        hits, alarms, omissions = (sum(column) for column in zip(*counts, strict=True))
        assert dice is None or dice == pytest.approx(2 * hits / (2 * hits + alarms + omissions))


def picks(out: Path) -> dict[tuple[str, str], list[tuple[str, str, int]]]:
    return {
        (each["strategy"], budget): [(pick["patient"], pick["volume"], pick["slice"]) for pick in round_["picks"]]
        for each in read_manifest(out)["runs"].values()
        for budget, round_ in each["rounds"].items()
    }


def test_an_experiment_runs_resumes_and_repeats(hearts: Path, tmp_path: Path) -> None:
    first = run(bench(hearts, tmp_path / "a"))
    assert first.returncode == 0, first.stderr
    rows = read_rows(tmp_path / "a")
    keys = [(row["strategy"], row["seed"], row["budget_percent"], row["member"], row["class_value"]) for row in rows]
    assert len(keys) == len(set(keys)) == 2 * 2 * 2 * 3  # strategies, budgets, member and ensemble, classes
    assert all(0 <= float(row["dice"]) <= 1 and row["hd95_unit"] == "mm" for row in rows)
    assert (tmp_path / "a" / "curve.png").read_bytes().startswith(b"\x89PNG")
    check_kept_counts(tmp_path / "a" / "service")
    told = run([sys.executable, "-m", "app.cli", "bench", "report", str(tmp_path / "a")])
    assert told.returncode == 0, told.stderr
    assert "validation took" in " ".join(told.stdout.split())
    assert "differ in" not in told.stdout, "all strategies are trained alike"
    assert "lacks" not in told.stdout
    sound = run([sys.executable, "-m", "app.cli", "bench", "verify", str(tmp_path / "a"), "--root", str(hearts)])
    assert sound.returncode == 0, sound.stderr
    assert "2 runs, 4 rounds and" in sound.stdout
    others = list_phantoms(tmp_path / "hearts", config=PhantomConfig(6, 5, 40, 48, seed=3, fractions=(0.2, 0.4, 0.4)))
    assert others.counts()["train"] != {"patients": 3, "volumes": 6}
    amiss = run(
        [sys.executable, "-m", "app.cli", "bench", "verify", str(tmp_path / "a"), "--root", str(tmp_path / "hearts")]
    )
    assert amiss.returncode == 1
    assert "other splits" in amiss.stderr
    cells = describe_certainty(tmp_path / "a")
    assert [(cell.strategy, cell.budget, cell.seeds) for cell in cells] == [
        (strategy, budget, 1) for strategy in ("gcl", "random") for budget in (10, 20)
    ]
    assert all(0 <= cell.mean <= 1 and cell.error is not None and cell.error >= 0 for cell in cells)
    assert all(cell.last is not None and 0 <= cell.last <= 1 for cell in cells)
    (against,) = describe_differences(tmp_path / "a")
    assert (against.strategy, against.base, against.low <= against.mean <= against.high) == ("gcl", "random", True)
    manifest = read_manifest(tmp_path / "a")
    assert manifest["splits"] | {"sha256": ""} == {
        "train": {"patients": 3, "volumes": 6},
        "validation": {"patients": 1, "volumes": 2},
        "test": {"patients": 2, "volumes": 4},
        "sha256": "",
    }
    encoders = [each["encoder"] for each in manifest["runs"].values() if each["strategy"] == "gcl"]
    assert encoders[0]["manifest"]["start"] == "scratch"
    assert "scratch" in encoders[0]["manifest"]["warning"]
    assert manifest["protocol"]["segmentation"]["iterations_min"] == 30

    stopped = subprocess.Popen(
        bench(hearts, tmp_path / "b"),
        cwd=ROOT,
        env=environment(),
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background jobs ignore it
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "b" / "results.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    stopped.send_signal(signal.SIGINT)
    assert "the same command goes on" in stopped.communicate(timeout=60)[1].decode()
    assert stopped.returncode == 130
    again = run(bench(hearts, tmp_path / "b"))
    assert again.returncode == 0, again.stderr
    assert picks(tmp_path / "b") == picks(tmp_path / "a"), "the same seed gives the same picks, stopped or not"
    assert len(read_rows(tmp_path / "b")) == len(rows)

    other = run(bench(hearts, tmp_path / "a", "--seeds", "2"))
    assert other.returncode == 1
    assert other.stderr.startswith("nextslice: ")
    assert "seeds" in other.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--budgets", "0"), "budget"),
        (("--budgets", "5,120"), "budget"),
        (("--strategies", "best"), "no strategy"),
        (("--preset", "huge"), "preset"),
        (("--root", "/nothing/here"), "no such folder"),
        (("--url", "http://127.0.0.1:9"), "No service answers"),
    ],
)
def test_what_cannot_run_is_said_in_one_sentence(
    hearts: Path, tmp_path: Path, more: tuple[str, str], said: str
) -> None:
    refused = run(bench(hearts, tmp_path / "out", *more))
    assert refused.returncode == 1, refused.stdout
    assert said in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1, refused.stderr


def test_a_separate_service_and_worker_on_postgres_and_redis(hearts: Path, tmp_path: Path, redis_url: str) -> None:
    name = f"nextslice_test_bench_{os.getpid()}"
    try:
        server = psycopg.connect(POSTGRES_SERVER, autocommit=True, connect_timeout=3)
    except psycopg.OperationalError as error:
        pytest.skip(f"no PostgreSQL on this machine ({str(error).splitlines()[0]})")
    server.execute(f'CREATE DATABASE "{name}" TEMPLATE template0')  # type: ignore[arg-type]
    url = POSTGRES_SERVER.rsplit("/", 1)[0] + f"/{name}"
    shared = environment(DATABASE_URL=url, BROKER_URL=redis_url, NEXTSLICE_HOME=str(tmp_path / "home"))
    port = "18765"
    api = subprocess.Popen([sys.executable, "-m", "app.cli", "up", "--port", port], cwd=ROOT, env=shared)
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "worker.main", "worker", "-Q", "gpu,cpu", "-P", "prefork", "-c", "1"],
        cwd=ROOT,
        env=shared,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(f"http://127.0.0.1:{port}/readyz")
        done = run(bench(hearts, tmp_path / "out", "--url", f"http://127.0.0.1:{port}"))
        assert done.returncode == 0, done.stderr
        assert len(picks(tmp_path / "out")) == 4
        assert not (tmp_path / "out" / "service").exists(), "nothing ran embedded"
    finally:
        for process in (worker, api):
            process.terminate()
        for process in (worker, api):
            process.wait(30)
        server.execute(f'DROP DATABASE "{name}" WITH (FORCE)')  # type: ignore[arg-type]
        server.close()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"{url} did not answer")

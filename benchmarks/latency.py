"""How long the service takes for what annotators wait for, at 5,000 and at 500,000 slices.

    python -m benchmarks.latency --database postgresql://postgres@127.0.0.1/postgres [--slices 5000] [--requests 200]

One API process over a database of its own. Prints the medians beside what MONAI Label (git HEAD of 2026) took on two
cores for the same calls with 5,000 images; its figures were measured elsewhere and are quoted, not run here.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.formats.image import Geometry
from app.formats.nifti import write_nifti
from benchmarks.service_under_load import SLUG, Bench, open_bench

SIDE = 256
CLIENTS = 8
MASK = b"\0" * SIDE * SIDE
QUOTED_MS = {  # MONAI Label with 5,000 images: p50 of the nearest call, 1 and 8 clients
    "next slice": (244.0, 3878.0),
    "annotation save": (98.0, 1020.0),
    "slice image, warm": (7.6, 80.0),
    "list page": (161.0, 2087.0),
}
QUOTED_START = "MONAI Label: 25 to 31 s, 1160 to 1180 MB"


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--database", default="postgresql://postgres@127.0.0.1/postgres", help="or sqlite")
    parser.add_argument("--slices", type=int, default=5000)
    parser.add_argument("--requests", type=int, default=200, help="of each kind")
    asked = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        open_bench(asked.database, Path(folder), slices=asked.slices, side=SIDE) as bench,
    ):
        print(f"{asked.slices} slices, one API process: up in {bench.start_s[0]:.2f} s ({QUOTED_START})")
        print(f"{'p50 in ms':24}{'1 client':>10}{f'{CLIENTS} clients':>12}   MONAI Label, 5,000 images: 1 / 8")
        for what, (one, many) in _measure(bench, asked.requests).items():
            quoted = QUOTED_MS.get(what)
            beside = "" if quoted is None else f"{quoted[0]:g} / {quoted[1]:g}"
            print(f"{what:24}{one * 1e3:10.1f}{many * 1e3:12.1f}   {beside}")
        print(f"resident memory of the API process afterwards: {resident_mb(bench.pids[0]):.0f} MB")
    return 0


def _measure(bench: Bench, requests: int) -> dict[str, tuple[float, float]]:
    image = _upload_volume(bench)
    measured: dict[str, tuple[float, float]] = {}
    cycles = [_cycles(bench, clients, requests) for clients in (1, CLIENTS)]
    for what in ("next slice", "annotation save"):
        measured[what] = (cycles[0][what], cycles[1][what])
    volume = httpx.get(f"{bench.urls[0]}/v1/projects/{SLUG}/volumes").json()["items"][0]["id"]
    for what, path in (
        ("slice image, warm", f"/v1/slices/{image}/image"),
        ("list page", f"/v1/volumes/{volume}/slices?limit=50"),
        ("list of volumes", f"/v1/projects/{SLUG}/volumes?limit=50"),
        ("list of rounds", f"/v1/projects/{SLUG}/rounds"),
        ("project", f"/v1/projects/{SLUG}"),
        ("healthz", "/healthz"),
    ):
        each = [_repeat(bench, clients, requests, _getter(path)) for clients in (1, CLIENTS)]
        measured[what] = (each[0], each[1])
    return measured


def _cycles(bench: Bench, clients: int, requests: int) -> dict[str, float]:
    seconds: dict[str, list[float]] = {"next slice": [], "annotation save": []}

    def annotate(number: int) -> None:
        name = f"{clients} clients, {number}"
        with httpx.Client(base_url=bench.urls[0], timeout=120) as http:
            for _ in range(max(1, requests // clients)):
                begun = time.perf_counter()
                answer = http.post(f"/v1/projects/{SLUG}/leases", json={"annotator": name})
                seconds["next slice"].append(time.perf_counter() - begun)
                slice_ = answer.json()["items"][0]["slice"]["id"]
                path = f"/v1/slices/{slice_}/annotations?kind=full&annotator={name}"
                begun = time.perf_counter()
                http.post(path, content=MASK, headers={"If-Match": '"0"'}).raise_for_status()
                seconds["annotation save"].append(time.perf_counter() - begun)

    _crowd(clients, annotate)
    return {what: statistics.median(each) for what, each in seconds.items()}


def _repeat(bench: Bench, clients: int, requests: int, call: Callable[[httpx.Client], Any]) -> float:
    seconds: list[float] = []

    def ask(_number: int) -> None:
        with httpx.Client(base_url=bench.urls[0], timeout=120) as http:
            call(http)  # the connection and the caches are warm then
            for _ in range(max(1, requests // clients)):
                begun = time.perf_counter()
                call(http)
                seconds.append(time.perf_counter() - begun)

    _crowd(clients, ask)
    return statistics.median(seconds)


def _crowd(clients: int, act: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(clients) as crowd:
        for done in [crowd.submit(act, number) for number in range(clients)]:
            done.result()


def _getter(path: str) -> Callable[[httpx.Client], Any]:
    return lambda http: http.get(path).raise_for_status()


def _upload_volume(bench: Bench) -> str:
    voxels = np.random.default_rng(0).integers(0, 200, (4, SIDE, SIDE)).astype(np.uint8)
    affine = ((1.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 0.0), (0.0, 0.0, 5.0, 0.0), (0.0, 0.0, 0.0, 1.0))
    geometry = Geometry(shape=(SIDE, SIDE, 4), axis=2, affine=affine, spacing_mm=(5.0, 1.0, 1.0))
    with httpx.Client(base_url=bench.urls[0], timeout=120) as http:
        files = {"image": ("v.nii.gz", write_nifti(voxels, geometry))}
        fields = {"patient": "with pixels", "name": "v", "split": "test"}
        volume = http.post(f"/v1/projects/{SLUG}/volumes", data=fields, files=files).raise_for_status().json()
        first = http.get(f"/v1/volumes/{volume['id']}/slices").json()["items"][0]
    return str(first["id"])


def resident_mb(pid: int) -> float:
    """The resident set of a process now (VmRSS), in MB of 2**20 bytes."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    sys.exit(main())

"""A volume of 512 x 512 x 1,000 comes in, and its slices go out: peak memory of every process, and milliseconds.

    python benchmarks/large_volume.py

A service of its own is started; the same voxels (int16, smooth with noise) are taken in as `.nii.gz` by the command
line, as `.nii.gz` and as a DICOM series (a zip of a file a slice) by upload and import job. For each way the largest
resident set of each process since just before is printed, above what it held when idle: the API, the worker's
processes, and the client. Then single slices in random order are asked for as raw pixels, all once to warm the cache
of the disk, then timed. The exit status is 1 where a process took more than 1.5 GB above idle or the median of the
slices more than 10 ms.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from app.formats.image import Geometry
from app.formats.nifti import nifti_chunks

LIMIT_BYTES = 1.5e9
LIMIT_MS = 10.0
PART_BYTES = 16 << 20

_PROJECT = {
    "slug": "large",
    "name": "Large",
    "label_schema": [
        {"value": 0, "name": "background", "color": "#000000"},
        {"value": 1, "name": "organ", "color": "#ff0000"},
    ],
    "supervision": "full",
    "strategy": "random",
    "budgets": [1],
    "preset": "tiny",
}


class Memory:
    """The resident sets of a process and all that it started."""

    def __init__(self, root: int) -> None:
        self._root = root
        self.idle = {pid: _status(pid, "VmRSS") for pid in self._pids()}
        for pid in self.idle:
            Path(f"/proc/{pid}/clear_refs").write_text("5", encoding="ascii")  # forget the peak so far

    def peaks_above_idle(self) -> dict[str, float]:
        """What each process took above idle at most, bytes, by its name and number; a new one began at nothing."""
        return {
            f"{_name(pid)} ({pid})": _status(pid, "VmHWM") - self.idle.get(pid, 0)
            for pid in self._pids()
            if _status(pid, "VmHWM")
        }

    def _pids(self) -> list[int]:
        found, waiting = [], [self._root]
        while waiting:
            pid = waiting.pop()
            found.append(pid)
            try:
                for task in Path(f"/proc/{pid}/task").iterdir():
                    waiting += map(int, (task / "children").read_text(encoding="ascii").split())
            except OSError:
                continue
        return found


def _status(pid: int, field: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    return "worker" if any("celery" in word for word in words) else "API"


def make_voxels(slices: int) -> np.ndarray:
    """(Z, 512, 512) int16, about as compressible as CT."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[:512, :512]
    plane = (1000 * np.exp(-((x - 256) ** 2 + (y - 256) ** 2) / 2e4)).astype(np.int16)
    voxels = np.empty((slices, 512, 512), np.int16)
    for z in range(slices):
        voxels[z] = plane + generator.integers(-32, 32, plane.shape, dtype=np.int16)
    return voxels


def write_files(folder: Path, slices: int) -> tuple[Path, Path]:
    """The voxels as `.nii.gz` in a folder of its own, and as a zip of DICOM files."""
    from tests.formats.dicoms import write_slice

    voxels = make_voxels(slices)
    affine = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 3, 0), (0, 0, 0, 1))
    nifti = folder / "nifti" / "large.nii.gz"
    nifti.parent.mkdir()
    with gzip.open(nifti, "wb", compresslevel=1) as file:
        for chunk in nifti_chunks(voxels, Geometry((512, 512, slices), 2, affine, (3.0, 1.0, 1.0))):
            file.write(chunk)
    with zipfile.ZipFile(folder / "dicom.zip", "w") as archive:
        for z, plane in enumerate(voxels):
            write_slice(folder / "one.dcm", plane, (0.0, 0.0, 3.0 * z), SOPInstanceUID=f"1.2.3.{z + 1}")
            archive.write(folder / "one.dcm", f"{z:04d}.dcm")
    return nifti, folder / "dicom.zip"


def import_by_command(url: str, folder: Path) -> float:
    """Run `nextslice import`, and give back the largest resident set of its process, bytes."""
    command = [sys.executable, "-m", "app.cli", "import", "nifti", str(folder), "--project", "large", "--url", url]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as client:
        peak = 0
        while client.poll() is None:
            peak = max(peak, _status(client.pid, "VmHWM"))
            time.sleep(0.05)
        if client.returncode:
            sys.exit("the import failed")
    return float(peak)


def import_by_job(http: httpx.Client, file: Path) -> dict[str, Any]:
    """Upload a file in parts, import it, and give back the report."""
    draft = {"file_name": file.name, "size_bytes": file.stat().st_size, "part_bytes": PART_BYTES}
    upload = http.post("/v1/projects/large/uploads", json=draft).raise_for_status().json()
    with file.open("rb") as content:
        for number in range(upload["parts"]):
            part = content.read(PART_BYTES)
            http.put(f"/v1/uploads/{upload['id']}/parts/{number}", content=part).raise_for_status()
    http.post(f"/v1/uploads/{upload['id']}/complete").raise_for_status()
    order = {"upload": upload["id"], "split": "train"}
    job = http.post("/v1/projects/large/imports", json=order).raise_for_status().json()
    while job["state"] in ("queued", "running"):
        time.sleep(0.3)
        job = http.get(f"/v1/jobs/{job['id']}").json()
    if job["state"] != "succeeded":
        sys.exit(f"the import job {job['state']}: {job['error']}")
    report: dict[str, Any] = http.get(f"/v1/imports/{job['id']}").json()
    return report


def time_slices(http: httpx.Client, volume: str) -> list[float]:
    """Milliseconds of each slice in random order, as raw pixels, warm."""
    ids = [each["id"] for each in http.get(f"/v1/volumes/{volume}/slices", params={"limit": 500}).json()["items"]]
    random.Random(0).shuffle(ids)
    for identity in ids:
        http.get(f"/v1/slices/{identity}/image?format=raw").raise_for_status()
    took = []
    for identity in ids:
        started = time.perf_counter()
        # As it is sent: the browser unpacks it, this clock does not.
        with http.stream("GET", f"/v1/slices/{identity}/image?format=raw") as answer:
            for _ in answer.iter_raw():
                pass
        took.append((time.perf_counter() - started) * 1000)
    return took


def main() -> int:
    """Measure, print, and judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=1000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="large-") as place:
        folder = Path(place)
        nifti, dicom = write_files(folder, asked.slices)
        print(f"{nifti.stat().st_size / 1e6:.0f} MB as .nii.gz, {dicom.stat().st_size / 1e6:.0f} MB as a zip of DICOM")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [
            sys.executable,
            "-m",
            "app.cli",
            "up",
            "--home",
            str(folder / "home"),
            "--port",
            str(port),
            "--no-demo",
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as service:
            try:
                return _measure(service.pid, f"http://127.0.0.1:{port}", nifti, dicom)
            finally:
                service.terminate()


def _measure(pid: int, url: str, nifti: Path, dicom: Path) -> int:
    peaks = []
    with httpx.Client(base_url=url, timeout=600) as http:
        _wait(http)
        http.post("/v1/projects", json=_PROJECT).raise_for_status()
        memory = Memory(pid)
        peaks.append(("client", import_by_command(url, nifti.parent)))
        _print("nextslice import, .nii.gz", {"client (in all)": peaks[0][1]} | memory.peaks_above_idle(), peaks)
        for name, file in (("import job, .nii.gz", nifti), ("import job, DICOM", dicom)):
            memory = Memory(pid)
            report = import_by_job(http, file)
            _print(name, memory.peaks_above_idle(), peaks)
            if report["refused"]:
                print(json.dumps(report["refused"], indent=1))
        took = sorted(time_slices(http, http.get("/v1/projects/large/volumes").json()["items"][0]["id"]))
    median, late = statistics.median(took), took[int(len(took) * 0.95)]
    print(f"a slice, warm, raw: median {median:.1f} ms, 95th percentile {late:.1f} ms, slowest {took[-1]:.1f} ms")
    largest = max(peak for _, peak in peaks)
    print(f"largest above idle: {largest / 1e9:.2f} GB")
    return int(largest > LIMIT_BYTES or median > LIMIT_MS)


def _print(way: str, found: dict[str, float], peaks: list[tuple[str, float]]) -> None:
    for name, peak in found.items():
        peaks.append((name, peak))
        print(f"{way:28s} {name:22s} {peak / 1e9:6.2f} GB")


def _wait(http: httpx.Client) -> None:
    for _ in range(600):
        try:
            http.get("/v1/version").raise_for_status()
            time.sleep(5)  # the workers start meanwhile
            return
        except httpx.HTTPError:
            time.sleep(0.1)
    sys.exit("the service did not start")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())

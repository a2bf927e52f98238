"""The files that make the images and start the stack say what they should; no container is started here."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from app.settings import Settings
from benchmarks import compose_trial

ROOT = Path(__file__).resolve().parents[1]
SERVICES = {"postgres", "redis", "migrate", "api", "worker-cpu", "worker-gpu"}
LONG_RUNNING = SERVICES - {"migrate"}
LOCKS = ("requirements.api.lock", "requirements.worker.lock", "requirements.build.lock")
# What needs torch, and the DICOM decoders: imports of theirs run on workers. Headers, and the plain bits of a
# segmentation, are read by pydicom alone.
NOT_IN_THE_API = {
    *("torch", "torchvision", "triton", "scipy", "scikit-learn", "h5py", "matplotlib"),
    *("python-gdcm", "highdicom", "pytest", "mypy", "ruff"),
}
FILES = ("Dockerfile", "Dockerfile.gpu", "docker-compose.yml", ".env.example", ".dockerignore", "docs/deployment.md")
HOST_NAME = re.compile(r"\b(?:[a-z0-9-]+\.)+(?:org|io|com|net|dev|cloud)\b")


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(text_of("docker-compose.yml"))["services"]
    return found


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def pins_of(lock: str) -> dict[str, frozenset[str]]:
    """Each pinned requirement, its marker included, with its hashes."""
    pins: dict[str, frozenset[str]] = {}
    for block in re.split(r"\n(?=\S)", text_of(lock).strip()):
        pin, *hashes = block.replace("\\\n", "\n").splitlines()
        pins[pin.strip()] = frozenset(line.strip() for line in hashes)
    return pins


def names_of(lock: str) -> set[str]:
    return {canonicalize_name(Requirement(pin).name) for pin in pins_of(lock)}


def required(*extras: str) -> set[str]:
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    wanted = [*project["dependencies"], *(each for extra in extras for each in project["optional-dependencies"][extra])]
    return {canonicalize_name(Requirement(each).name) for each in wanted}


def test_the_services_are_the_ones_that_the_manual_names(services: dict[str, Any]) -> None:
    assert set(services) == SERVICES


def test_only_the_gpu_worker_waits_for_a_profile(services: dict[str, Any]) -> None:
    assert {name: each["profiles"] for name, each in services.items() if "profiles" in each} == {"worker-gpu": ["gpu"]}
    assert services["worker-gpu"]["runtime"] == "nvidia"
    assert services["worker-cpu"]["environment"]["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_without_a_gpu_the_cpu_worker_takes_both_queues(services: dict[str, Any]) -> None:
    command = services["worker-cpu"]["command"]
    assert command[command.index("-Q") + 1] == "${NEXTSLICE_CPU_QUEUES:-cpu,gpu}"


@pytest.mark.parametrize("name", sorted(LONG_RUNNING))
def test_what_stays_up_is_looked_after(services: dict[str, Any], name: str) -> None:
    assert services[name]["restart"] == "unless-stopped"
    # As one shell line: podman-compose takes a list apart wrongly, and for a second replica finds it emptied.
    assert isinstance(services[name]["healthcheck"]["test"], str)


def test_the_api_is_healthy_when_it_says_that_it_is_ready(services: dict[str, Any]) -> None:
    assert "/readyz" in services["api"]["healthcheck"]["test"]
    assert services["api"]["command"] == ["nextslice", "up", "--no-workers", "--no-demo", "--host", "0.0.0.0"]
    assert services["api"]["ports"] == ["${NEXTSLICE_BIND:-127.0.0.1}:${NEXTSLICE_PORT:-8000}:8000"]


def test_the_schema_is_migrated_once_before_anything_uses_it(services: dict[str, Any]) -> None:
    assert services["migrate"]["command"] == ["nextslice", "migrate"]
    for name in ("api", "worker-cpu", "worker-gpu"):
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_a_worker_is_stopped_so_that_it_puts_its_job_back(services: dict[str, Any]) -> None:
    for name in ("worker-cpu", "worker-gpu"):
        assert services[name]["stop_signal"] == "SIGQUIT"
    assert "STOPSIGNAL SIGQUIT" in text_of("Dockerfile.gpu")


def test_api_and_workers_see_the_same_blobs(services: dict[str, Any]) -> None:
    ours = [services[name] for name in ("migrate", "api", "worker-cpu", "worker-gpu")]
    assert {each["volumes"][0] for each in ours} == {"${NEXTSLICE_STORE:-data}:/data"}
    assert {each["environment"]["NEXTSLICE_HOME"] for each in ours} == {"/data"}


def test_who_takes_and_who_does_an_import_by_path_see_one_folder_and_cannot_write_it(services: dict[str, Any]) -> None:
    mount = "${NEXTSLICE_IMPORT_FROM:-import}:/import:ro"
    assert {name for name, each in services.items() if mount in each.get("volumes", ())} == {"api", "worker-cpu"}
    assert services["api"]["environment"]["NEXTSLICE_IMPORT_ROOT"] == "/import"


def test_weights_are_where_the_workers_look_and_cannot_be_written(services: dict[str, Any]) -> None:
    mount = "${NEXTSLICE_WEIGHTS_FROM:-weights}:/weights:ro"
    assert {name for name, each in services.items() if mount in each.get("volumes", ())} == {"worker-cpu", "worker-gpu"}
    assert services["worker-gpu"]["environment"]["NEXTSLICE_WEIGHTS"] == "/weights"


def test_the_environment_sets_only_what_the_service_reads(services: dict[str, Any]) -> None:
    known = {f"NEXTSLICE_{name.upper()}" for name in Settings.model_fields} | {"NEXTSLICE_WEIGHTS"}
    for name in ("migrate", "api", "worker-cpu", "worker-gpu"):
        given = {each for each in services[name]["environment"] if not each.startswith(("NVIDIA_", "AWS_"))}
        assert given <= known


def test_every_variable_of_the_compose_file_stands_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", text_of("docker-compose.yml")))
    listed = set(re.findall(r"^#?([A-Z_]+)=", text_of(".env.example"), flags=re.MULTILINE))
    assert listed - {"COMPOSE_PROFILES"} == used


def test_only_passwords_have_no_default_and_their_absence_says_so() -> None:
    text = text_of("docker-compose.yml")
    assert set(re.findall(r"\$\{(\w+):\?set \1 in \.env\}", text)) == {"POSTGRES_PASSWORD", "REDIS_PASSWORD"}
    assert re.findall(r"\$\{\w+:-\}", text) == [], "podman-compose 1.0 leaves an empty default as it is written"
    optional = set(re.findall(r"\$\{(\w+)\}", text))
    assert optional <= set(re.findall(r"^([A-Z_]+)=$", text_of(".env.example"), flags=re.MULTILINE))


@pytest.mark.parametrize("name", ["Dockerfile", "Dockerfile.gpu"])
def test_an_image_is_small_based_pinned_and_without_root(name: str) -> None:
    lines = text_of(name).splitlines()
    assert [line.split(" AS ")[0] for line in lines if line.startswith("FROM ")] == ["FROM debian:bookworm-slim"] * 2
    assert [line for line in lines if line.startswith("USER ")] == ["USER nextslice"]
    installs = [line for line in lines if "pip" in line and " install " in line]
    assert len(installs) == 3
    assert all("--require-hashes" in line or "--no-index" in line for line in installs)


def test_the_images_differ_in_their_pins_and_in_what_they_start() -> None:
    ours, workers = (text_of(name).splitlines() for name in ("Dockerfile", "Dockerfile.gpu"))
    left = [line for line in ours if line not in workers and not line.startswith(("#", "EXPOSE", "CMD"))]
    assert left
    assert all("requirements.api.lock" in line for line in left)


def test_the_api_image_has_neither_torch_nor_dicom_decoders() -> None:
    names = names_of("requirements.api.lock")
    assert names & NOT_IN_THE_API == set()
    assert not any(name.startswith(("nvidia-", "cuda-")) for name in names)


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_of_an_image_is_the_one_that_is_tested(lock: str) -> None:
    tested, pins = pins_of("requirements.lock"), pins_of(lock)
    assert pins
    assert {pin: hashes for pin, hashes in pins.items() if tested.get(pin) != hashes} == {}
    assert all(hashes for hashes in pins.values())


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("requirements.api.lock", ("scale", "oidc")), ("requirements.worker.lock", ("scale", "train", "dicom"))],
)
def test_the_pins_of_an_image_hold_what_the_project_asks_for(lock: str, extras: tuple[str, ...]) -> None:
    assert required(*extras) - names_of(lock) == set()


@pytest.mark.parametrize("name", [*FILES, *LOCKS])
def test_no_file_names_a_host(name: str) -> None:
    assert HOST_NAME.findall(text_of(name)) == []


def test_every_setting_of_the_example_is_explained_in_the_manual_or_beside_it() -> None:
    lines = text_of(".env.example").splitlines()
    alone = [
        line for before, line in zip(["", *lines], lines, strict=False) if re.match(r"[A-Z_]+=", line) and not before
    ]
    assert alone == []


@pytest.mark.parametrize("line", [compose_trial.DUMP, compose_trial.UNDUMP, compose_trial.PACK])
def test_the_trial_backs_up_with_the_lines_of_the_manual(line: str) -> None:
    assert f"'{line}'" in text_of("docs/deployment.md")

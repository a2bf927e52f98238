"""What holds for the house as a whole and no type can say."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api import access
from app.main import create_app
from app.names import STRATEGIES, JobKind, Role
from app.protocols import PRESETS, EncoderProtocol, SegmentationProtocol, resolve_protocol
from app.services.members import BELONGS
from app.settings import Settings
from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.query.strategies import STRATEGIES as RULES
from worker.tasks import TASKS, find_task


def test_the_service_starts_without_torch_and_numpy() -> None:
    heavy = "('torch', 'torchvision', 'numpy', 'scipy', 'nibabel', 'PIL', 'pydicom', 'matplotlib', 'worker')"
    code = f"import app.main, app.cli, sys; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_every_described_strategy_has_a_rule() -> None:
    assert set(RULES) == set(STRATEGIES)


def test_every_job_kind_that_is_queued_has_a_task() -> None:
    assert set(TASKS) == set(JobKind)
    assert all(callable(find_task(kind)) for kind in TASKS)


def test_protocols_speak_the_words_of_the_configurations() -> None:
    encoder = {field.name for field in dataclasses.fields(EncoderConfig)}
    assert {field.name for field in dataclasses.fields(EncoderProtocol)} <= encoder
    ours = {"recipe", "iterations_per_fraction", "iterations_min", "iterations_max"}
    segmentation = {field.name for field in dataclasses.fields(SegmentationConfig)}
    assert {field.name for field in dataclasses.fields(SegmentationProtocol)} - ours <= segmentation


def test_the_paper_preset_is_the_published_recipe() -> None:
    paper = PRESETS["paper"]
    for name, value in dataclasses.asdict(paper.encoder).items():
        assert value == getattr(EncoderConfig(), name), name
    tenths = range(1, 1001)
    assert [paper.segmentation.iterations_for(each / 10 / 100) for each in tenths] == [60 * each for each in tenths]
    assert (paper.members, paper.segmentation.batch_size, paper.segmentation.learning_rate) == (5, 6, 0.01)


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_preset_makes_configurations(preset: str) -> None:
    protocol = resolve_protocol(preset)
    EncoderConfig(**dataclasses.asdict(protocol.encoder))
    assert protocol.segmentation.iterations_for(0.02) >= 1


def test_every_route_says_who_may_call_it(tmp_path: Path) -> None:
    routes = {
        f"{method} {route.path}"
        for route in _api_routes(create_app(Settings(home=tmp_path)))
        for method in route.methods
    }
    missing = sorted(routes - set(access.RULES))
    assert not missing, f"add to the table in app/api/access.py who may call {missing}"
    gone = sorted(set(access.RULES) - routes)
    assert not gone, f"app/api/access.py has lines for routes that are not there: {gone}"


def test_every_id_in_a_path_says_to_which_project_it_belongs() -> None:
    for name, rule in access.RULES.items():
        parameter = next(iter(re.findall(r"{(\w+)}", name)), None)
        if isinstance(rule.needs, Role):
            known = parameter == "project" or parameter in BELONGS
            assert known, (
                f"say in BELONGS of app/services/members.py to which project {{{parameter}}} of {name} belongs"
            )


def _api_routes(app: FastAPI) -> list[APIRoute]:
    def below(routes: Iterable[object]) -> Iterator[APIRoute]:
        for route in routes:
            if isinstance(route, APIRoute):
                yield route
            elif (included := getattr(route, "original_router", None)) is not None:
                yield from below(included.routes)

    found = list(below(app.routes))
    assert {route.path for route in found} >= set(app.openapi()["paths"])  # nothing escaped the walk
    return found

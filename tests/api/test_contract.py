"""The OpenAPI document against the running service, by schemathesis; `make fuzz` is the long form, on both engines.

What it generates is aimed at rows that exist: a refusal of an unknown id would hide everything behind it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from app.api.contract import EXAMPLES
from app.main import create_app
from app.settings import Settings
from tests.api.conftest import Service

EXAMPLES_EACH = int(os.environ.get("NEXTSLICE_FUZZ_EXAMPLES", "1"))
ENGINES = ["postgresql"] if EXAMPLES_EACH == 1 else ["sqlite", "postgresql"]
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


def parameters(service: Service) -> dict[str, str]:
    """Ids of rows that exist, by the name of the path's parameter."""
    opened = service.client.post("/v1/projects/hearts/rounds")
    service.work_off()
    service.client.post("/v1/projects/hearts/oracle")
    export = service.client.post("/v1/projects/hearts/exports")
    volume = next(service.client.items("/v1/projects/hearts/volumes", split="train"))
    one = next(service.client.items(f"/v1/volumes/{volume['id']}/slices"))
    return {
        "project": "hearts",
        "round_": opened["id"],
        "job": export["id"],
        "volume": volume["id"],
        "slice_": one["id"],
    }


@pytest.mark.parametrize("database_url", ENGINES, indirect=True)
@pytest.mark.timeout(3600)
def test_the_service_answers_as_its_document_says(
    service: Service, make_project: Callable[..., Any], tmp_path: Path
) -> None:
    make_project()
    config = tmp_path / "schemathesis.toml"
    given = "\n".join(f'"path.{name}" = "{value}"' for name, value in parameters(service).items())
    config.write_text(f"[parameters]\n{given}\n", encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "--config-file",
        str(config),
        "run",
        f"{service.url}/openapi.json",
    ]
    command += ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES_EACH), "--checks", CHECKS]
    command += ["--seed", "1", "--suppress-health-check", "all", "--continue-on-failure", "--no-color"]
    # A stream of events has no end to wait for.
    command += ["--exclude-path-regex", "/events$"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=3600)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    tested = re.search(r"(\d+) generated, \1 passed", done.stdout)
    assert tested is not None, done.stdout[-3000:]
    assert int(tested[1]) > 500


def test_every_refusal_is_a_problem_and_every_body_has_an_example_that_fits(tmp_path: Path) -> None:
    document = create_app(Settings(home=tmp_path, database_url="")).openapi()
    asked = set()
    for path, operations in document["paths"].items():
        for operation in operations.values():
            assert list(operation["responses"]["4XX"]["content"]) == ["application/problem+json"], path
            assert "422" not in operation["responses"], path
            shapes = operation.get("requestBody", {}).get("content", {}).values()
            asked |= {word.split("/")[-1] for shape in shapes for word in re.findall(r"#/components[/\w]+", str(shape))}
    assert len(asked) > 20
    assert asked | {"Problem"} == set(EXAMPLES)
    for name, example in EXAMPLES.items():
        shape = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
        jsonschema_rs.validate(shape, example)
        assert set(example) <= set(document["components"]["schemas"][name]["properties"]), name

"""What an experiment is: one protocol, and every strategy and seed under it."""

from __future__ import annotations

import json
import os
import platform
import sys
import uuid
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from app.errors import BudgetRefused, ResumeMismatch, UnknownStrategy
from app.names import STRATEGIES, Supervision
from app.protocols import resolve_protocol

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class BenchPlan:
    """The parts of an experiment that must be equal for a stopped run to go on."""

    dataset: str
    supervision: Supervision
    strategies: tuple[str, ...]
    budgets: tuple[float, ...]  # cumulative percent of the train slices
    seeds: tuple[int, ...]
    preset: str
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse at once what would only fail after an hour."""
        for strategy in self.strategies:
            if strategy not in STRATEGIES:
                raise UnknownStrategy(strategy, sorted(STRATEGIES))
        if not self.budgets or any(not 0 < budget <= 100 for budget in self.budgets):
            raise BudgetRefused("every budget is more than 0 and at most 100 percent")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise BudgetRefused("budgets are cumulative percentages and must ascend")
        resolve_protocol(self.preset, self.overrides)


def open_manifest(out: Path, plan: BenchPlan) -> dict[str, Any]:
    """The manifest of the output folder: the one that is there if it is of the same plan, else a new one."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / MANIFEST
    wanted = json.loads(json.dumps(asdict(plan)))
    if path.exists():
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        for name, value in wanted.items():
            if manifest["plan"].get(name) != value:
                raise ResumeMismatch(str(out), name)
        return manifest
    manifest = {
        "run": uuid.uuid4().hex[:8],
        "plan": wanted,
        "protocol": resolve_protocol(plan.preset, plan.overrides).as_json(),
        "versions": {name: version(name) for name in ("nextslice", "numpy", "sqlalchemy", "celery")}
        | {"python": platform.python_version()},
        "machine": {"cores": len(os.sched_getaffinity(0)), "architecture": platform.machine()},
        "command": " ".join(["nextslice", *sys.argv[1:]]),
        "runs": {},
    }
    save_manifest(out, manifest)
    return manifest


def save_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest in one step, so that a stop never leaves half of one."""
    unfinished = out / f"{MANIFEST}.part"
    unfinished.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(out / MANIFEST)


def encoder_warnings(out: Path) -> set[str]:
    """What the encoders of an experiment had to warn of, such as a start without pretrained weights."""
    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    encoders = [run.get("encoder") for run in manifest["runs"].values()]
    return {str(each["manifest"]["warning"]) for each in encoders if each and each["manifest"]["warning"]}

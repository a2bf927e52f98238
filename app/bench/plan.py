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

from app.bench.ablations import ABLATIONS, Arm
from app.datasets.records import DatasetListing
from app.datasets.splits import split_checksum
from app.errors import BudgetRefused, ExperimentMissing, ResumeMismatch, UnknownAblation, UnknownStrategy
from app.names import STRATEGIES, Scribbles, Supervision
from app.protocols import resolve_protocol
from app.strategy_settings import check_strategy_settings

MANIFEST = "manifest.json"
_LATER_FIELDS: dict[str, Any] = {"ablation": "", "settings": {}}  # what plans meant before they named these


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
    ablation: str = ""  # the name of a list of arms, which then stand in place of the strategies
    settings: dict[str, dict[str, Any]] = field(default_factory=dict)  # of strategies, by their names
    scribbles: Scribbles = Scribbles.GIVEN

    def __post_init__(self) -> None:
        """Refuse at once what would only fail after an hour."""
        for strategy in self.strategies:
            if strategy not in STRATEGIES:
                raise UnknownStrategy(strategy, sorted(STRATEGIES))
        for strategy, settings in self.settings.items():
            if strategy not in STRATEGIES:
                raise UnknownStrategy(strategy, sorted(STRATEGIES))
            check_strategy_settings(strategy, settings)
        if not self.budgets or any(not 0 < budget <= 100 for budget in self.budgets):
            raise BudgetRefused("every budget is more than 0 and at most 100 percent")
        if list(self.budgets) != sorted(set(self.budgets)):
            raise BudgetRefused("budgets are cumulative percentages and must ascend")
        if self.ablation and self.ablation not in ABLATIONS:
            raise UnknownAblation(self.ablation, sorted(ABLATIONS))
        for arm in self.arms:
            resolve_protocol(self.preset, self.overrides_of(arm))

    @property
    def arms(self) -> tuple[Arm, ...]:
        """What is compared: the strategies, or the arms of the ablation."""
        return ABLATIONS[self.ablation] if self.ablation else tuple(Arm(each, each) for each in self.strategies)

    def overrides_of(self, arm: Arm) -> dict[str, Any]:
        """What an arm replaces in the preset: the plan's fields, and its own on top."""
        merged = dict(self.overrides)
        for name, value in arm.protocol.items():
            merged[name] = {**merged.get(name, {}), **value} if isinstance(value, dict) else value
        return merged


def open_manifest(out: Path, plan: BenchPlan, listing: DatasetListing) -> dict[str, Any]:
    """The manifest of the output folder: the one that is there if it is of the same plan and splits, else a new one."""
    out.mkdir(parents=True, exist_ok=True)
    path = out / MANIFEST
    wanted = json.loads(json.dumps(asdict(plan)))
    splits = listing.counts() | {"sha256": split_checksum(listing)}
    if path.exists():
        manifest = read_manifest(out)
        for name, value in wanted.items():
            if manifest["plan"].get(name, _LATER_FIELDS.get(name)) != value:
                raise ResumeMismatch(str(out), name)
        if manifest.setdefault("splits", splits) != splits:
            raise ResumeMismatch(str(out), "split of the patients")
        return manifest
    manifest = {
        "run": uuid.uuid4().hex[:8],
        "plan": wanted,
        "splits": splits,
        "protocol": resolve_protocol(plan.preset, plan.overrides).as_json(),
        "versions": {name: version(name) for name in ("nextslice", "numpy", "sqlalchemy", "celery")}
        | {"python": platform.python_version()},
        "machine": {"cores": len(os.sched_getaffinity(0)), "architecture": platform.machine()},
        "command": " ".join(["nextslice", *sys.argv[1:]]),
        "runs": {},
    }
    save_manifest(out, manifest)
    return manifest


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of an experiment's folder; raises `ExperimentMissing` where there is none that can be read."""
    try:
        manifest: dict[str, Any] = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ExperimentMissing(str(out)) from error
    return manifest


def save_manifest(out: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest in one step, so that a stop never leaves half of one."""
    unfinished = out / f"{MANIFEST}.part"
    unfinished.write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    unfinished.replace(out / MANIFEST)


def encoder_warnings(out: Path) -> set[str]:
    """What the encoders of an experiment had to warn of, such as a start without pretrained weights."""
    manifest = read_manifest(out)
    encoders = [run.get("encoder") for run in manifest["runs"].values()]
    return {str(each["manifest"]["warning"]) for each in encoders if each and each["manifest"]["warning"]}

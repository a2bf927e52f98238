"""Recipes of training against each other: paired seeds, the same picks, validation data and number of validations.

Everything a run does is the service's own: pixels are normalised and resized as `worker.dataset` does it, slices are
drawn by the strategy `random` from the generator that `propose` would hand it, members are trained by
`worker.learning.train.fit_segmentation` with the seeds of `train_segmentation`, and scored as `evaluate` scores. Only
the database in between is left out. A run is one line of JSON in `--out`, keyed by its settings; a run whose line is
there is not repeated, so a stopped study goes on. Each line has the commit and the machine that made it.

    python -m benchmarks.recipe_study run --data acdc --root $NEXTSLICE_DATA/acdc --judge validation --out study.jsonl
    python -m benchmarks.recipe_study table study.jsonl
"""

from __future__ import annotations

import dataclasses
import json
import math
import platform
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

import numpy as np
import torch
import typer

from app.datasets.records import DatasetListing, VolumeSource, read_full_mask, read_scribble_mask, read_volume_image
from app.datasets.registry import list_dataset
from app.names import Split, Supervision
from app.protocols import SegmentationProtocol, resolve_protocol
from app.services.pools import count_at_budget
from worker.learning.configs import SegmentationConfig
from worker.learning.intensity import normalise_volume
from worker.learning.metrics import mean_dice, score_volume
from worker.learning.nets.unet import build_network
from worker.learning.precision import uses_bfloat16
from worker.learning.predict import predict_volume
from worker.learning.query.pool import QueryPool
from worker.learning.query.random import pick_at_random
from worker.learning.resize import resize_mask, resize_planes
from worker.learning.seeding import derive_seed, numpy_generator
from worker.learning.shapes import LabelledSlices, ReferenceVolume, ignore_progress
from worker.learning.train import fit_segmentation

cli = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__)
CPU = torch.device("cpu")
VALIDATIONS = 4  # of every run, whatever its steps: the best of them is kept
OUR_FIELDS = ("recipe", "network", "iterations_per_fraction", "iterations_min", "iterations_max")
STUDENT_T = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}  # 97.5 %


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A data set at the size a network sees: the train slices one after the other, and the volumes to judge by."""

    images: torch.Tensor  # (N, C, S, S) float32 in [0, 1]
    labels: torch.Tensor  # (N, S, S) uint8
    volume_ids: np.ndarray[Any, np.dtype[np.int64]]
    patient_ids: np.ndarray[Any, np.dtype[np.int64]]
    z: np.ndarray[Any, np.dtype[np.int64]]
    validation: list[ReferenceVolume]
    judged: list[ReferenceVolume]  # the test volumes, or the validation volumes once more
    classes: int


@cli.command()
def run(
    root: Annotated[Path, typer.Option(help="Folder of the data set.")],
    out: Annotated[Path, typer.Option(help="The JSON lines.")],
    data: Annotated[str, typer.Option()] = "acdc",
    judge: Annotated[Split, typer.Option(help="validation while a recipe is sought, test once it is fixed.")] = (
        Split.VALIDATION
    ),
    supervision: Annotated[Supervision, typer.Option()] = Supervision.SCRIBBLE,
    recipes: Annotated[str, typer.Option(help="Comma-separated.")] = "paper,modern",
    seeds: Annotated[str, typer.Option(help="Comma-separated.")] = "1,2,3,4,5",
    budgets: Annotated[str, typer.Option(help="Cumulative percent.")] = "2,3,4,5",
    only: Annotated[str, typer.Option(help="Train at these budgets alone; picks still follow --budgets.")] = "",
    preset: Annotated[str, typer.Option()] = "cpu",
    override: Annotated[str, typer.Option(help="JSON: segmentation fields to replace, for a variant.")] = "{}",
) -> None:
    """Train and score what is not in `out` yet; after each seed and budget all recipes have been through it."""
    torch.set_num_threads(1)
    percents = [float(each) for each in budgets.split(",")]
    wanted = [float(each) for each in only.split(",")] if only else percents
    fields = json.loads(override)
    protocols = {
        name: resolve_protocol(preset, {"segmentation": {"recipe": name, **fields}}).segmentation
        for name in recipes.split(",")
    }
    done = {_key(line) for line in _lines(out)}
    made_by = {"commit": read_commit(), "machine": describe_machine()}
    at_size: dict[tuple[int, str], Prepared] = {}
    for seed in (int(each) for each in seeds.split(",")):
        for number, percent in enumerate(percents):
            for recipe, protocol in protocols.items():
                settings = {
                    "data": data,
                    "judge": str(judge),
                    "supervision": str(supervision),
                    "preset": preset,
                    "recipe": recipe,
                    "override": fields,
                    "seed": seed,
                    "budgets": percents,
                    "percent": percent,
                }
                if percent not in wanted or json.dumps(settings, sort_keys=True) in done:
                    continue
                size = protocol.image_size, protocol.resize
                if size not in at_size:
                    at_size[size] = prepare(list_dataset(data, root), protocol, supervision, judge)
                prepared = at_size[size]
                picked = pick_slices(prepared, percents[: number + 1], seed)
                run = train_and_score(prepared, picked, protocol, supervision, seed, number + 1, percent)
                line = settings | made_by | run
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
                typer.echo(f"{recipe} {fields} seed {seed} {percent:g} %: Dice {line['dice']:.3f}, {line['cpu_s']} s")


def read_commit() -> str:
    """The commit that the code is of; raises SystemExit where a file differs from it."""
    here = Path(__file__).parent
    changed = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=no"], cwd=here, capture_output=True, text=True, check=True
    ).stdout
    if changed:
        raise SystemExit("The study wants code that is committed, so that each line says what made it.")
    named = subprocess.run(
        ["git", "rev-parse", "--short=10", "HEAD"], cwd=here, capture_output=True, text=True, check=True
    )
    return named.stdout.strip()


def describe_machine() -> str:
    """What of the machine decides how sums are rounded."""
    half = "on" if uses_bfloat16("auto", CPU) else "off"
    return (
        f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, bfloat16 {half}, torch {torch.__version__}"
    )


def prepare(
    listing: DatasetListing, protocol: SegmentationProtocol, supervision: Supervision, judge: Split
) -> Prepared:
    """The data set's slices and volumes, made ready as `worker.dataset` and `worker.references` do."""
    images, labels, origin = [], [], []
    patients: dict[str, int] = {}
    volumes = [volume for volume in listing.volumes if volume.split == Split.TRAIN]
    for code, volume in enumerate(volumes):
        planes, geometry = _planes(volume, protocol)
        mask = (
            read_scribble_mask(volume, geometry, listing.classes)
            if supervision == Supervision.SCRIBBLE
            else read_full_mask(volume, geometry)
        )
        assert mask is not None, f"{volume.patient} {volume.name} has no {supervision} mask"
        images.append(planes)
        labels += [resize_mask(plane, protocol.image_size, protocol.resize) for plane in mask]
        patient = patients.setdefault(volume.patient, len(patients))
        origin += [(patient, code, z) for z in range(len(planes))]
    columns = np.array(origin, dtype=np.int64).T
    validation = list(_references(listing, Split.VALIDATION, protocol))
    return Prepared(
        images=torch.from_numpy(np.concatenate(images)),
        labels=torch.from_numpy(np.stack(labels)),
        patient_ids=columns[0],
        volume_ids=columns[1],
        z=columns[2],
        validation=validation,
        judged=validation if judge == Split.VALIDATION else list(_references(listing, judge, protocol)),
        classes=max(each.value for each in listing.classes) + 1,
    )


def pick_slices(prepared: Prepared, percents: list[float], seed: int) -> list[int]:
    """The slices that `random` has proposed in a project of this seed up to the last of these budgets."""
    count = len(prepared.images)
    annotated = np.zeros(count, dtype=bool)
    for number, percent in enumerate(percents, start=1):
        target = count_at_budget(count, percent)
        pool = QueryPool(prepared.patient_ids, prepared.volume_ids, prepared.z, annotated.copy(), ~annotated)
        generator = numpy_generator(seed, "select", number)
        annotated[list(pick_at_random(pool, target - int(annotated.sum()), {}, generator).indices)] = True
    return [int(index) for index in np.flatnonzero(annotated)]


def train_and_score(
    prepared: Prepared,
    picked: list[int],
    protocol: SegmentationProtocol,
    supervision: Supervision,
    seed: int,
    round_number: int,
    percent: float,
) -> dict[str, Any]:
    """One member trained on the picks: its Dice on the judged volumes, and what it cost."""
    config = member_config(prepared, protocol, supervision, percent)
    config = dataclasses.replace(config, validate_every=max(1, config.iterations // VALIDATIONS))
    training = LabelledSlices(prepared.images[picked], prepared.labels[picked])
    member_seed = derive_seed(seed, "round", round_number, "member", 0)
    started = time.process_time()
    fitted = fit_segmentation(training, prepared.validation, config, member_seed, ignore_progress, CPU)
    cpu_s = time.process_time() - started
    return {
        "slices": len(picked),
        **score_member(build_network(fitted.state, config), prepared, config),
        "validation_dice": fitted.best_dice,
        "validations": [[step, value] for step, _, value in fitted.history if value is not None],
        "best_step": fitted.best_step,
        "cpu_s": round(cpu_s, 1),
        "validation_s": round(fitted.validation_seconds, 1),
        "config": dataclasses.asdict(config),
    }


def member_config(
    prepared: Prepared, protocol: SegmentationProtocol, supervision: Supervision, percent: float
) -> SegmentationConfig:
    """How a member is trained at a cumulative budget, as `train_segmentation` makes it of a project."""
    fields = {name: value for name, value in dataclasses.asdict(protocol).items() if name not in OUR_FIELDS}
    return SegmentationConfig(
        network="unet" if supervision == Supervision.FULL else "dmpls",
        classes=prepared.classes,
        channels=prepared.images.shape[1],
        iterations=protocol.iterations_for(percent / 100),
        **fields,
    )


def score_member(network: torch.nn.Module, prepared: Prepared, config: SegmentationConfig) -> dict[str, Any]:
    """Dice, HD95 and ASD of one member on the judged volumes, as `evaluate` has them."""
    foreground = range(1, prepared.classes)
    volumes = []
    for volume in prepared.judged:
        predicted = predict_volume([network], volume.images, volume.reference.shape[1:], config, CPU)
        volumes.append(score_volume(predicted, volume.reference, list(foreground), volume.spacing))
    dice = [[score.dice for score in scores] for scores in volumes]
    hd95 = [score.hd95 for scores in volumes for score in scores if score.hd95 is not None]
    asd = [score.asd for scores in volumes for score in scores if score.asd is not None]
    return {
        "dice": mean_dice(dice),
        "dice_by_volume": dice,
        "hd95": fmean(hd95) if hd95 else None,
        "asd": fmean(asd) if asd else None,
        "misses": sum(score.missed for scores in volumes for score in scores),
    }


@cli.command()
def table(
    out: Annotated[Path, typer.Argument(help="The JSON lines.")],
    base: Annotated[str, typer.Option(help="JSON: the variant of `paper` that the others are held against.")] = "{}",
) -> None:
    """Print the mean Dice of each recipe and variant, and each one's paired difference to a `paper` recipe."""
    cells: dict[tuple[str, ...], dict[tuple[int, float], dict[str, Any]]] = {}
    for line in _lines(out):
        arm = (
            *(str(line[name]) for name in ("data", "judge", "supervision", "preset", "recipe")),
            _variant(line["override"]),
        )
        cells.setdefault(arm, {})[line["seed"], line["percent"]] = line
    for arm, by_run in sorted(cells.items()):
        typer.echo(" ".join(arm))
        for percent in sorted({percent for _, percent in by_run}):
            rows = [line for (_, each), line in by_run.items() if each == percent]
            known = [line["dice"] for line in rows]
            hd95 = [line["hd95"] for line in rows if line["hd95"] is not None]
            cpu, validation = (fmean(line[name] for line in rows) for name in ("cpu_s", "validation_s"))
            spread = f" ± {stdev(known):.3f} SD" if len(known) > 1 else ""
            typer.echo(
                f"  {percent:g} %: Dice {fmean(known):.3f}{spread} over {len(known)} seeds,"
                f" HD95 {fmean(hd95):.1f}, {cpu:.0f} CPU s, of which validation {validation:.0f} s"
            )
        made_by = {
            f"{line.get('commit', 'a commit that was not kept')}, {line.get('machine', '')}" for line in by_run.values()
        }
        typer.echo(f"  made by {'; '.join(sorted(made_by)).rstrip(', ')}")
        compared = cells.get((*arm[:4], "paper", _variant(json.loads(base))), {})
        if by_run is not compared:
            typer.echo("  " + describe_difference(paired_differences(by_run, compared)))


def _variant(override: dict[str, Any]) -> str:
    return json.dumps(override, sort_keys=True) if override else ""


def paired_differences(
    runs: dict[tuple[int, float], dict[str, Any]], base: dict[tuple[int, float], dict[str, Any]]
) -> list[float]:
    """For each seed that both went through at the same budgets: the mean over the budgets of the Dice difference."""
    by_seed: dict[int, list[float]] = {}
    budgets = {percent for _, percent in runs}
    for seed in sorted({seed for seed, _ in runs}):
        keys = [(seed, percent) for percent in sorted(budgets)]
        if all(key in runs and key in base for key in keys):
            by_seed[seed] = [runs[key]["dice"] - base[key]["dice"] for key in keys]
    return [fmean(values) for values in by_seed.values()]


def describe_difference(differences: list[float]) -> str:
    """The mean of paired differences with its 95 % interval (Student's t over the seeds)."""
    if not differences:
        return "no seed is complete in both"
    text = f"difference to paper {fmean(differences):+.3f}"
    if len(differences) > 1:
        half = STUDENT_T[len(differences) - 1] * stdev(differences) / math.sqrt(len(differences))
        text += f", 95 % interval {fmean(differences) - half:+.3f} to {fmean(differences) + half:+.3f}"
    listed = ", ".join(f"{value:+.3f}" for value in differences)
    return f"{text} over {len(differences)} paired seeds ({listed})"


def _planes(volume: VolumeSource, protocol: SegmentationProtocol) -> tuple[Any, Any]:
    image = read_volume_image(volume)
    unit = normalise_volume(image.array)
    planes = unit[:, None] if unit.ndim == 3 else np.moveaxis(unit, -1, 1)
    return resize_planes(planes, protocol.image_size, protocol.resize), image.geometry


def _references(listing: DatasetListing, split: Split, protocol: SegmentationProtocol) -> Iterator[ReferenceVolume]:
    for volume in listing.volumes:
        if volume.split != split:
            continue
        planes, geometry = _planes(volume, protocol)
        mask = read_full_mask(volume, geometry)
        if mask is not None:
            yield ReferenceVolume(torch.from_numpy(planes), mask.copy(), geometry.spacing_mm)


def _lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []


def _key(line: dict[str, Any]) -> str:
    names = ("data", "judge", "supervision", "preset", "recipe", "override", "seed", "budgets", "percent")
    return json.dumps({name: line[name] for name in names}, sort_keys=True)


if __name__ == "__main__":
    cli()

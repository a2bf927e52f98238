"""The rounds of one strategy without a service, for `benchmarks.strategy_sweep`; networks are kept and shared."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import resource
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.datasets.registry import list_dataset
from app.names import STRATEGIES as DESCRIPTORS, Need, Split, Supervision
from app.protocols import resolve_protocol
from app.services.pools import count_at_budget
from benchmarks.recipe_study import CPU, Prepared, member_config, prepare, score_member
from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.embed import build_encoder, embed_slices, fit_encoder
from worker.learning.errors import WeightsError, WeightsMissingError
from worker.learning.nets.unet import build_network
from worker.learning.query.imagenet import embed_by_imagenet
from worker.learning.query.members import Members
from worker.learning.query.pool import Features, Picks, QueryPool
from worker.learning.query.strategies import STRATEGIES
from worker.learning.seeding import derive_seed, numpy_generator
from worker.learning.shapes import LabelledSlices, SlicePool, ignore_progress
from worker.learning.train import fit_segmentation

STATE, FACTS = "state.safetensors", "facts.json"


@dataclasses.dataclass(frozen=True)
class Sweep:
    """One strategy under one protocol and seed."""

    data: str
    preset: str
    protocol: dict[str, Any]
    supervision: Supervision
    strategy: str
    settings: dict[str, Any]
    seed: int
    budgets: tuple[float, ...]  # cumulative percent of the train slices

    def as_json(self) -> dict[str, Any]:
        """The same as plain JSON values."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


@dataclasses.dataclass
class Costs:
    """What a round took: as if it had been alone, and what of it was computed now."""

    cpu_s: float = 0.0
    wall_s: float = 0.0
    spent_cpu_s: float = 0.0
    peak_mib: float = 0.0

    def add(self, facts: dict[str, Any], *, computed: bool) -> None:
        """Count an artefact: made now, or found."""
        self.cpu_s += facts["cpu_s"]
        self.wall_s += facts["wall_s"]
        self.spent_cpu_s += facts["cpu_s"] if computed else 0.0
        self.peak_mib = max(self.peak_mib, facts["peak_mib"])


class Artefacts:
    """Trained networks with their facts, each in a folder named by a hash of everything that it depends on."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.costs = Costs()

    def obtain(
        self, identity: dict[str, Any], make: Callable[[], tuple[dict[str, Tensor], dict[str, Any]]]
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Give the tensors and facts of this identity, made by `make` if they are not there; its costs are counted."""
        place = self._folder / hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]
        if computed := not (place / FACTS).exists():  # written last
            place.mkdir(parents=True, exist_ok=True)
            clock = Clock()
            tensors, facts = make()
            save_file({name: value.contiguous() for name, value in tensors.items()}, place / STATE)
            part = place / f"{FACTS}.part"
            part.write_text(json.dumps({**facts, **clock.read(), "identity": identity}), encoding="utf-8")
            part.replace(place / FACTS)
        found = json.loads((place / FACTS).read_text(encoding="utf-8"))
        self.costs.add(found, computed=computed)
        return load_file(place / STATE), found


class Clock:
    """CPU and wall seconds since it was made, and the peak memory of this process so far."""

    def __init__(self) -> None:
        self._cpu, self._wall = time.process_time(), time.perf_counter()

    def read(self) -> dict[str, float]:
        """The three numbers by name."""
        return {
            "cpu_s": time.process_time() - self._cpu,
            "wall_s": time.perf_counter() - self._wall,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def prepare_sweep(sweep: Sweep, root: Path) -> Prepared:
    """The slices and volumes that the sweep works on."""
    segmentation = resolve_protocol(sweep.preset, sweep.protocol).segmentation
    return prepare(list_dataset(sweep.data, root), segmentation, sweep.supervision, Split.TEST)


def run_rounds(
    sweep: Sweep, prepared: Prepared, artefacts: Path, done: Sequence[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    """Give one record for each round that is not in `done`; ends at once where the strategy is refused."""
    rounds = _Rounds(sweep, prepared, artefacts)
    picked: list[int] = [pick for line in done for pick in line["picks"]]
    for number, percent in list(enumerate(sweep.budgets, start=1))[len(done) :]:
        facts = {"sweep": sweep.as_json(), "round": number, "percent": percent}
        try:
            line = facts | rounds.run(number, percent, picked)
        except (WeightsError, WeightsMissingError) as error:
            yield facts | {"refused": str(error)}
            return
        picked.extend(line["picks"])
        yield line


class _Rounds:
    def __init__(self, sweep: Sweep, prepared: Prepared, artefacts: Path) -> None:
        weights = DESCRIPTORS[sweep.strategy].encoder_weights
        protocol = resolve_protocol(sweep.preset, sweep.protocol, weights)
        self._sweep, self._protocol, self._prepared, self._folder = sweep, protocol, prepared, artefacts
        self._encoder_config = EncoderConfig(**dataclasses.asdict(protocol.encoder))
        segmentation = protocol.segmentation
        same = (self._encoder_config.image_size, self._encoder_config.resize)
        assert same == (segmentation.image_size, segmentation.resize), "the sweep reads pixels once, at one size"
        self._bytes = torch.from_numpy(np.rint(prepared.images.numpy() * 255).astype(np.uint8))
        self._images_hash = _hash(prepared.images, prepared.patient_ids, prepared.volume_ids, prepared.z)
        references = [part for volume in prepared.validation for part in (volume.images, volume.reference)]
        self._labels_hash = _hash(prepared.labels, *references)

    def run(self, number: int, percent: float, picked: Sequence[int]) -> dict[str, Any]:
        artefacts, earlier = Artefacts(self._folder), Artefacts(self._folder)
        clock = Clock()
        picks = self._pick(number, percent, picked, artefacts, earlier)
        choosing = clock.read()
        # Training is counted as the artefact that it is, and what an earlier round counted is not counted again.
        choosing["cpu_s"] -= artefacts.costs.spent_cpu_s + earlier.costs.spent_cpu_s
        members = self._members(number, [*picked, *picks.indices], artefacts)
        costs = artefacts.costs
        costs.add(choosing, computed=True)
        dice = [facts["dice"] for _, facts in members]
        return {
            "slices": len(picked) + len(picks.indices),
            "picks": list(picks.indices),
            "note": picks.note,
            "cover_radius": picks.cover_radius,
            "dice": fmean(dice),
            "dice_by_member": dice,
            "validation_dice": [facts["validation_dice"] for _, facts in members],
            "hd95": [facts["hd95"] for _, facts in members],
            "asd": [facts["asd"] for _, facts in members],
            "misses": [facts["misses"] for _, facts in members],
            "choosing_cpu_s": choosing["cpu_s"],
            **dataclasses.asdict(costs),
        }

    def _pick(
        self, number: int, percent: float, picked: Sequence[int], artefacts: Artefacts, earlier: Artefacts
    ) -> Picks:
        prepared, sweep = self._prepared, self._sweep
        count = len(prepared.images)
        needs = DESCRIPTORS[sweep.strategy].needs
        annotated = np.zeros(count, dtype=bool)
        annotated[list(picked)] = True
        members = self._ask_members(number - 1, picked, earlier) if number > 1 else None
        task = members is not None and Need.TASK in needs
        counted = artefacts if number == 1 else earlier  # one encoder a project
        pool = QueryPool(
            patient_ids=prepared.patient_ids,
            volume_ids=prepared.volume_ids,
            z=prepared.z,
            annotated=annotated,
            available=~annotated,
            feature_reader=(lambda: self._features(counted)) if Need.ENCODER in needs else None,
            pixel_reader=prepared.images.numpy if Need.PIXELS in needs else None,
            imagenet_reader=self._imagenet_features if Need.IMAGENET in needs else None,
            task_reader=members.bottleneck_features if members is not None and task else None,
            probability_reader=members if Need.PROBABILITIES in needs else None,
            model_missing=members is None,
            progress=min(1.0, (number - 1) / max(1, len(sweep.budgets) - 1)),
        )
        target = count_at_budget(count, percent)
        generator = numpy_generator(sweep.seed, "select", number)
        return STRATEGIES[sweep.strategy](pool, target - len(picked), sweep.settings, generator)

    def _ask_members(self, number: int, picked: Sequence[int], artefacts: Artefacts) -> Members:
        found = self._members(number, picked, artefacts)
        config = self._config(number)
        networks = [build_network(state, config) for state, _ in found]
        best = int(np.argmax([facts["validation_dice"] or 0.0 for _, facts in found]))
        return Members(networks, lambda: self._bytes, config, CPU, ignore_progress, best=best)

    def _features(self, artefacts: Artefacts) -> Features:
        identity = {
            "kind": "encoder",
            "config": dataclasses.asdict(self._encoder_config),
            "images": self._images_hash,
            "seed": self._sweep.seed,
            "threads": torch.get_num_threads(),
        }
        return artefacts.obtain(identity, self._train_encoder)[0]["features"].numpy()

    def _train_encoder(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        prepared, config = self._prepared, self._encoder_config
        columns = (torch.from_numpy(each) for each in (prepared.patient_ids, prepared.volume_ids, prepared.z))
        fitted = fit_encoder(SlicePool(self._bytes, *columns), config, self._sweep.seed, ignore_progress, CPU)
        encoder = build_encoder(fitted.state, fitted.config, fitted.channels)
        features = torch.from_numpy(embed_slices(encoder, self._bytes, fitted.config, CPU))
        return {"features": features}, {"start": fitted.start, "losses": list(fitted.losses)}

    def _imagenet_features(self) -> Features:
        return embed_by_imagenet(lambda: self._bytes, self._encoder_config, CPU)

    def _members(
        self, number: int, picked: Sequence[int], artefacts: Artefacts
    ) -> list[tuple[dict[str, Tensor], dict[str, Any]]]:
        """The weights and facts of a round's members, trained on these picks."""
        config = self._config(number)
        chosen = sorted(picked)  # the service's order: by volume and position
        found = []
        for member in range(self._protocol.members):
            seed = derive_seed(self._sweep.seed, "round", number, "member", member)

            def train(seed: int = seed) -> tuple[dict[str, Tensor], dict[str, Any]]:
                return self._train_member(chosen, config, seed)

            identity = {
                "kind": "member",
                "config": dataclasses.asdict(config),
                "images": self._images_hash,
                "labels": self._labels_hash,
                "picks": chosen,
                "seed": seed,
                "threads": torch.get_num_threads(),
            }
            found.append(artefacts.obtain(identity, train))
        return found

    def _train_member(
        self, chosen: list[int], config: SegmentationConfig, seed: int
    ) -> tuple[dict[str, Tensor], dict[str, Any]]:
        training = LabelledSlices(self._prepared.images[chosen], self._prepared.labels[chosen])
        fitted = fit_segmentation(training, self._prepared.validation, config, seed, ignore_progress, CPU)
        scores = score_member(build_network(fitted.state, config), self._prepared, config)
        return fitted.state, scores | {"validation_dice": fitted.best_dice, "best_step": fitted.best_step}

    def _config(self, number: int) -> SegmentationConfig:
        percent = self._sweep.budgets[number - 1]
        return member_config(self._prepared, self._protocol.segmentation, self._sweep.supervision, percent)


def _hash(*parts: Tensor | npt.NDArray[np.generic]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        values = np.ascontiguousarray(part)
        digest.update(f"{values.dtype} {values.shape}".encode())
        digest.update(values.tobytes())
    return digest.hexdigest()

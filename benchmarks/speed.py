"""How many times faster than the recipe as published, measured side by side in one process, as a Markdown table.

    python benchmarks/speed.py --repeats 7
    python benchmarks/speed.py --only dmpls-128 unet-128 k-center --repeats 3 --float32

Both sides have the same threads, batch, sizes and random data. Ours is what the service calls: the step of
`fit_segmentation` and `fit_encoder` is the time between two reports of progress, everything included; while it reports,
its clock stands still and the published recipe takes one step of its own. So the two alternate, and a busy machine
hits both. Given are medians: CPU seconds of the process, and wall seconds.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median

import numpy as np
import published_recipe as published
import torch
from torch import nn

from worker.learning.configs import EncoderConfig, SegmentationConfig
from worker.learning.embed import fit_encoder
from worker.learning.inference import make_ready
from worker.learning.intensity import resize_nearest
from worker.learning.nets.encoder import ContrastiveEncoder
from worker.learning.nets.unet import UNet, build_network
from worker.learning.precision import uses_bfloat16
from worker.learning.query.coreset import k_center_greedy
from worker.learning.query.members import Members
from worker.learning.query.uncertainty import variance_ratio
from worker.learning.shapes import LabelledSlices, ReferenceVolume, SlicePool
from worker.learning.train import fit_segmentation, join_planes, validate_network

CPU = torch.device("cpu")
NATIVE = (256, 216)  # the commonest plane of ACDC
WARM = 1  # first runs that are not counted
SAME_DICE = 0.005  # bfloat16 moves a pixel here and there
MARKS: dict[str, tuple[float | None, float | None]] = {  # least ratio with bfloat16, and without
    "encoder-256": (2.2, 1.5),
    "dmpls-256": (2.8, 1.5),
    "unet-256": (2.8, 1.5),
    "dmpls-128": (1.9, 1.5),
    "unet-128": (1.9, 1.5),
    "validation": (4.0, 1.5),
    "validation-dice-only": (None, None),
    "pool-scoring": (5.0, 1.5),
    "k-center": (20.0, 20.0),
}


@dataclass
class Clock:
    """CPU and wall seconds of one side's runs."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    _begun: tuple[float, float] = (0.0, 0.0)

    def start(self) -> None:
        """Begin a run."""
        self._begun = (time.process_time(), time.perf_counter())

    def stop(self) -> None:
        """End the run."""
        self.cpu.append(time.process_time() - self._begun[0])
        self.wall.append(time.perf_counter() - self._begun[1])

    def medians(self) -> tuple[float, float]:
        """Median CPU and wall seconds, without the first runs."""
        return median(self.cpu[WARM:]), median(self.wall[WARM:])


class Alternation:
    """Takes the reports of our training, and lets the published recipe take a step at each."""

    def __init__(self, their_step: Callable[[], None]) -> None:
        self.ours, self.theirs = Clock(), Clock()
        self._their_step = their_step
        self._running = False

    def __call__(self, _done: int, _total: int, _message: str) -> None:
        """Stop our clock, run and time a step of theirs, start our clock again."""
        if self._running:
            self.ours.stop()
        self.theirs.start()
        self._their_step()
        self.theirs.stop()
        self._running = True
        self.ours.start()


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str
    ours: Clock
    theirs: Clock
    outside: float | None = None  # share of our CPU seconds that is not inside the networks


def alternate(our_run: Callable[[], object], their_run: Callable[[], object], repeats: int) -> tuple[Clock, Clock]:
    """Time two runs in turn."""
    ours, theirs = Clock(), Clock()
    for _ in range(WARM + repeats):
        for clock, run in ((ours, our_run), (theirs, their_run)):
            clock.start()
            run()
            clock.stop()
    return ours, theirs


def make_slices(count: int, native: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Random images in [0, 1] and labels with about one pixel in a hundred labelled (4: not), (count, H, W)."""
    draws = np.random.default_rng(0)
    labels = np.where(draws.random((count, *native)) < 0.01, draws.integers(0, 4, (count, *native)), 4)
    return draws.random((count, *native), dtype=np.float32), labels.astype(np.uint8)


def measure_segmentation(network: str, size: int, repeats: int, precision: str) -> Row:
    """Steps of 12 slices: augmentation, forward, loss, backward, SGD."""
    images, labels = make_slices(12, NATIVE)
    if network == "unet":
        labels = labels % 4  # complete masks
    plain = published.PlainUNet(dual=network == "dmpls").train()
    optimizer = published.make_sgd(plain)
    alternation = Alternation(
        lambda: published.segmentation_step(plain, optimizer, list(images), list(labels), size),
    )
    config = SegmentationConfig(
        network=network, image_size=size, iterations=WARM + repeats + 1, batch_size=12, precision=precision
    )
    resized = resize_nearest(np.where(labels == 4, 255, labels).astype(np.uint8), (size, size))
    training = LabelledSlices(
        torch.from_numpy(resize_nearest(images, (size, size))).unsqueeze(1), torch.from_numpy(resized)
    )
    fit_segmentation(training, (), config, 0, alternation, CPU)
    return Row(f"{network}-{size}", alternation.ours, alternation.theirs)


def measure_encoder(repeats: int, precision: str) -> Row:
    """Contrastive steps of 9 slices of 256 x 256, two views each."""
    slices = torch.rand(36, 1, 256, 256, generator=torch.Generator().manual_seed(0))
    plain = ContrastiveEncoder(1).train()
    optimizer = torch.optim.Adam(plain.parameters(), lr=3e-4, weight_decay=1e-6)
    views, groups = published.make_views(256), torch.arange(3).repeat_interleave(3)
    alternation = Alternation(lambda: published.encoder_step(plain, optimizer, slices[:9], groups, views))
    places = torch.arange(36)
    pool = SlicePool(slices, places // 4, places // 2, places % 2)
    config = EncoderConfig(epochs=-(-(WARM + repeats + 1) // 12), start="scratch", precision=precision)
    fit_encoder(pool, config, 0, alternation, CPU)
    return Row("encoder-256", alternation.ours, alternation.theirs)


def make_hearts(count: int, native: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Noisy discs within discs, a grey value a class: images in [0, 1] and labels 0 to 3, (count, H, W)."""
    draws = np.random.default_rng(0)
    rows, columns = np.mgrid[: native[0], : native[1]]
    labels = np.zeros((count, *native), dtype=np.uint8)
    for plane in labels:
        radius, centre = draws.uniform(0.15, 0.3) * min(native), draws.uniform(0.4, 0.6, 2) * native
        away = np.hypot(rows - centre[0], columns - centre[1])
        for value, share in ((1, 1.0), (2, 0.7), (3, 0.4)):
            plane[away < share * radius] = value
    images = 0.2 + 0.2 * labels + draws.normal(0, 0.05, labels.shape)
    return images.clip(0, 1).astype(np.float32), labels


def make_twins(size: int, precision: str) -> tuple[UNet, published.PlainUNet]:
    """A U-Net that has learned the discs for some steps, and the published one with the same weights."""
    images, labels = make_hearts(24, (64, 64))
    config = SegmentationConfig(network="unet", image_size=64, iterations=80, batch_size=6, optimizer="adamw")
    fitted = fit_segmentation(
        LabelledSlices(torch.from_numpy(images).unsqueeze(1), torch.from_numpy(labels)),
        (),
        replace(config, learning_rate=5e-3, precision=precision),
        0,
        lambda *_: None,
        CPU,
    )
    plain = published.PlainUNet(dual=False)
    names = plain.state_dict().keys()
    plain.load_state_dict(dict(zip(names, fitted.state.values(), strict=True)))
    return build_network(fitted.state, replace(config, image_size=size, precision=precision)), plain


class NetworkClock:
    """CPU seconds inside the forward passes of networks."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        self.seconds = 0.0
        self._begun = 0.0
        for network in networks:
            network.register_forward_pre_hook(self._enter)
            network.register_forward_hook(self._leave)

    def _enter(self, *_facts: object) -> None:
        self._begun = time.process_time()

    def _leave(self, *_facts: object) -> None:
        self.seconds += time.process_time() - self._begun


def measure_validation(count: int, size: int, repeats: int, precision: str, *, with_hd95: bool) -> Row:
    """Dice of `count` volumes of 9 planes in native geometry; ends with an error should the two sides' differ.

    The published validation measures HD95 beside Dice and uses Dice alone; ours measures what it uses.
    """
    config = SegmentationConfig(image_size=size, precision=precision)
    images, labels = make_hearts(9, NATIVE)
    network, plain = make_twins(size, precision)
    ready = make_ready([network], precision, CPU)
    planes = torch.from_numpy(resize_nearest(images, (size, size))).unsqueeze(1)
    volumes = [ReferenceVolume(planes, labels, None)] * count
    joined, references = join_planes(volumes, config), [torch.from_numpy(each.reference) for each in volumes]
    inside = NetworkClock(ready)
    found: list[float | None] = [None, None]

    def validate() -> None:
        found[0] = validate_network(ready[0], joined, references, config, CPU)

    def validate_as_published() -> None:
        found[1], distances = published.validate(plain, [(images, labels)] * count, size, with_hd95=with_hd95)
        if with_hd95 and len(distances) != 3 * count:
            sys.exit(f"validation: {len(distances)} of {3 * count} HD95 were measured, for a class was not predicted")

    ours, theirs = alternate(validate, validate_as_published, repeats)
    if None in found or abs(found[0] - found[1]) > SAME_DICE:
        sys.exit(f"validation: Dice {found[0]} and {found[1]}")
    return Row("validation", ours, theirs, 1 - inside.seconds / sum(ours.cpu))


def measure_scoring(count: int, size: int, repeats: int, precision: str) -> Row:
    """Variance ratio of two members on `count` slices."""
    config = SegmentationConfig(image_size=size, precision=precision)
    images, _ = make_slices(count, NATIVE)
    plain = [published.PlainUNet(dual=False) for _ in range(2)]
    ready = make_ready([build_network(None, config) for _ in range(2)], precision, CPU)
    inside = NetworkClock(ready)
    planes = torch.from_numpy(resize_nearest(images, (size, size))).unsqueeze(1)
    members = Members(ready, lambda: planes, config, CPU, lambda *_: None)
    everything = np.arange(count, dtype=np.int64)
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = alternate(
            lambda: members.score_by_members(variance_ratio, everything),
            lambda: published.score_pool(plain, list(images), size, Path(folder)),
            repeats,
        )
    return Row("pool-scoring", ours, theirs, 1 - inside.seconds / sum(ours.cpu))


def measure_k_center(repeats: int) -> Row:
    """1,454 slices of 512 features, 581 picks; ends with an error should the picks differ."""
    features = np.random.default_rng(0).random((1454, 512), dtype=np.float32)
    nobody, everybody = np.zeros(1454, dtype=bool), np.ones(1454, dtype=bool)
    ours: list[int] = []
    theirs: list[int] = []

    def pick() -> None:
        ours[:] = k_center_greedy(features, nobody, everybody, 581, np.random.default_rng(0)).indices

    def pick_by_pairs() -> None:
        theirs[:] = published.k_center(features, ours[0], 581)

    clocks = alternate(pick, pick_by_pairs, repeats)
    if ours != theirs:
        sys.exit("K-Center: the picks differ")
    return Row("k-center", *clocks)


def measure(name: str, arguments: argparse.Namespace) -> Row:
    """One line of the table."""
    precision = "float32" if arguments.float32 else "auto"
    long_repeats = max(1, min(3, arguments.repeats))  # these run many slices each
    if name == "encoder-256":
        return measure_encoder(arguments.repeats, precision)
    if name.startswith("validation"):
        with_hd95 = name == "validation"
        return measure_validation(arguments.volumes, arguments.size, long_repeats, precision, with_hd95=with_hd95)
    if name == "pool-scoring":
        return measure_scoring(arguments.slices, arguments.size, long_repeats, precision)
    if name == "k-center":
        return measure_k_center(long_repeats)
    network, size = name.split("-")
    return measure_segmentation(network, int(size), arguments.repeats, precision)


def main() -> None:
    """Print the table line by line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=sorted(MARKS), default=list(MARKS))
    parser.add_argument("--repeats", type=int, default=7, help="counted runs of each side")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--volumes", type=int, default=40, help="volumes of the validation")
    parser.add_argument("--slices", type=int, default=96, help="slices of the pool that is scored")
    parser.add_argument("--size", type=int, default=256, help="pixels a side of validation and scoring")
    parser.add_argument("--float32", action="store_true", help="as on a CPU without bfloat16")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bfloat16 = uses_bfloat16("auto", CPU) and not arguments.float32
    print(f"torch {torch.__version__}, {arguments.threads} threads, bfloat16 {'on' if bfloat16 else 'off'}\n")
    print("| what | published, CPU s | ours, CPU s | ratio | wall ratio (ours, s) | at least | outside the networks |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for name in arguments.only:
        random.seed(0)
        torch.manual_seed(0)
        row = replace(measure(name, arguments), name=name)
        (our_cpu, our_wall), (their_cpu, their_wall) = row.ours.medians(), row.theirs.medians()
        outside = "" if row.outside is None else f"{row.outside:.1%}"
        print(
            f"| {name} | {their_cpu:.3f} | {our_cpu:.3f} | {their_cpu / our_cpu:.2f} | "
            f"{their_wall / our_wall:.2f} ({our_wall:.3f}) | {MARKS[name][not bfloat16] or ''} | {outside} |",
            flush=True,
        )


if __name__ == "__main__":
    main()

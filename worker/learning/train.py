"""Trains one member to segment, from the annotated slices of a round."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from itertools import islice
from time import perf_counter

import numpy as np
import torch
from torch import Tensor, nn

from worker.learning.averaging import WeightAverage
from worker.learning.configs import SegmentationConfig
from worker.learning.errors import BadInputError, ShapeError, TrainingDivergedError
from worker.learning.inference import make_ready
from worker.learning.memory import training_memory
from worker.learning.metrics import dice_of_counts, mean_dice
from worker.learning.nets.unet import build_network
from worker.learning.nets.winograd import take_winograd
from worker.learning.objective import batch_loss, draw_batch, prepare_slices
from worker.learning.precision import memory_format
from worker.learning.predict import predict_in_native, predict_labels
from worker.learning.resize import resize_labels
from worker.learning.resume import Checkpoints, Resumable
from worker.learning.seeding import derive_seed, torch_generator
from worker.learning.shapes import UNLABELLED, LabelledSlices, Progress, ReferenceVolume, as_unit_floats
from worker.learning.transfer import send

REPORT_EVERY = 10  # steps between two looks at the loss; each waits once for the device


@dataclass(frozen=True)
class FittedSegmentation:
    """A trained member, all tensors on the CPU."""

    state: dict[str, Tensor]  # best on validation; the last one when nothing could be validated
    last_state: dict[str, Tensor]
    config: SegmentationConfig
    best_step: int  # from 1
    best_dice: float | None  # mean foreground Dice in [0, 1] of `state` on the validation volumes
    history: tuple[tuple[int, float, float | None], ...]  # (step, mean loss since the last entry, validation Dice)
    validation_seconds: float
    seconds: float  # wall time in all


@dataclass
class Tally:
    """What a training has to show so far."""

    step: int = 0  # the last one that is done
    best_step: int = 0
    best_dice: float | None = None
    best_state: dict[str, Tensor] | None = None
    history: list[tuple[int, float, float | None]] = field(default_factory=list)
    validation_seconds: float = 0.0
    seconds: float = 0.0

    @classmethod
    def begin(cls, resumable: Resumable, checkpoints: Checkpoints | None) -> "Tally":
        """Give an empty tally, or put the training back to where a checkpoint left it and give that one's."""
        found = None if checkpoints is None else checkpoints.found
        if found is None:
            return cls()
        resumable.restore(found)
        history = [(step, loss, dice) for step, loss, dice in found.facts["history"]]
        return cls(**{**found.facts, "history": history, "best_state": found.part("kept") or None})

    def note(self, step: int, loss: float, dice: float | None, network: nn.Module) -> None:
        """Take down a step with its mean loss and, where it was validated, its Dice; keep the best weights."""
        self.step = step
        self.history.append((step, loss, dice))
        if dice is not None and (self.best_dice is None or dice > self.best_dice):
            self.best_step, self.best_dice, self.best_state = step, dice, copy_state(network)

    def facts(self, seconds: float) -> dict[str, object]:
        """Give everything but the best weights as plain values, `seconds` after the start."""
        plain = {each.name: getattr(self, each.name) for each in fields(self) if each.name != "best_state"}
        return plain | {"seconds": seconds}


def fit_segmentation(
    training: LabelledSlices,
    validation: Sequence[ReferenceVolume],
    config: SegmentationConfig,
    seed: int,
    on_progress: Progress,
    device: torch.device,
    checkpoints: Checkpoints | None = None,
) -> FittedSegmentation:
    """Give the member trained on `training`, as it was when it scored best on `validation` (of equals, the first).

    Same arguments, same device, same result, from whichever checkpoint it goes on. `on_progress` is called after every
    step and may raise to stop. Raises BadInputError for labels outside the classes or no slice at all, ShapeError for
    images of another size or channel count, TrainingDivergedError when the loss is no longer finite.
    """
    refuse_unfit_data(training, validation, config)
    started = perf_counter()
    layout = memory_format(config.precision, device)
    with (
        training_memory(device),
        seeded_globals(derive_seed(seed, "segmentation", "network"), device),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        network = build_network(None, config).to(device).to(memory_format=layout)
        take_winograd(network, config.precision, device)
        optimizer = make_optimizer(network, config)
        slices = prepare_slices(training, config, device)
        references = [torch.from_numpy(volume.reference).to(device) for volume in validation]
        planes = join_planes(validation, config).to(device)
        order = torch_generator(seed, "segmentation", "order")
        draws = torch_generator(seed, "segmentation", "augmentation", device=device)
        batches = endless_batches(len(slices.images), config.batch_size, order)
        average = WeightAverage(network, config.ema_decay)
        resumable = Resumable(average.networks, optimizer, draws, device)

        tally, message = Tally.begin(resumable, checkpoints), "starting"
        deque(islice(batches, tally.step), maxlen=0)  # the order comes from the seed alone, so it is drawn again
        started -= tally.seconds
        loss_sum, steps_since = torch.zeros((), device=device), 0
        for step in range(tally.step + 1, config.iterations + 1):
            rows = send(next(batches), device)
            batch, targets, masked = draw_batch(slices, rows, config, draws)
            batch = batch.contiguous(memory_format=layout)
            set_rate(optimizer, config, step)
            loss = batch_loss(network, batch, targets, masked, config, draws, step)
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
            average.update(step)
            loss_sum, steps_since = loss_sum + loss.detach(), steps_since + 1

            last = step == config.iterations
            validate = bool(validation) and (last or step % config.validate_every == 0)
            if not (validate or last or step % REPORT_EVERY == 0):
                on_progress(step, config.iterations, message)
                continue
            mean_loss = float(loss_sum) / steps_since
            if not math.isfinite(mean_loss):
                raise TrainingDivergedError(step, mean_loss)
            dice = None
            if validate:
                clock = perf_counter()
                dice = validate_network(average.network, planes, references, config, device)
                tally.validation_seconds += perf_counter() - clock
            tally.note(step, mean_loss, dice, average.network)
            message = describe_step(mean_loss, dice)
            loss_sum, steps_since = torch.zeros((), device=device), 0
            if checkpoints is not None and not last:
                checkpoints.keep(lambda: resumable.snapshot(tally.facts(perf_counter() - started), tally.best_state))
            on_progress(step, config.iterations, message)
        last_state = copy_state(average.network)

    return FittedSegmentation(
        state=last_state if tally.best_state is None else tally.best_state,
        last_state=last_state,
        config=config,
        best_step=tally.best_step or config.iterations,
        best_dice=tally.best_dice,
        history=tuple(tally.history),
        validation_seconds=tally.validation_seconds,
        seconds=perf_counter() - started,
    )


def validate_network(
    network: nn.Module, planes: Tensor, references: Sequence[Tensor], config: SegmentationConfig, device: torch.device
) -> float | None:
    """Give the mean over classes, then volumes, of the 3-D Dice in native geometry; None if no volume holds anything.

    `planes` are the slices of all volumes one after the other, (sum of Z, C, S, S); `references` their labels (Z, H, W)
    on `device`. Only counts leave the device.
    """
    depths = [len(reference) for reference in references]
    ready = make_ready([network], config.precision, device)
    if config.resize == "nearest":  # labels are small, so all volumes go through the network in large batches
        at_input = torch.split(predict_labels(ready, planes, config, device), depths)
        predicted = [
            resize_labels(labels, native_size(reference))
            for labels, reference in zip(at_input, references, strict=True)
        ]
    else:
        predicted = [
            predict_in_native(ready, volume, native_size(each), config, device)
            for volume, each in zip(torch.split(planes, depths), references, strict=True)
        ]
    counts = [
        confusion_counts(labels, reference, config.classes)
        for labels, reference in zip(predicted, references, strict=True)
    ]
    return mean_dice(foreground_dice(matrix) for matrix in torch.stack(counts).tolist())


def native_size(reference: Tensor) -> tuple[int, int]:
    """Give (H, W) of a (Z, H, W) reference."""
    return reference.shape[1], reference.shape[2]


def join_planes(volumes: Sequence[ReferenceVolume], config: SegmentationConfig) -> Tensor:
    """Give the slices of all volumes one after the other as floats, for one volume may hold bytes and another not."""
    none = torch.empty(0, config.channels, config.image_size, config.image_size)
    return torch.cat([none, *(as_unit_floats(volume.images) for volume in volumes)])


def confusion_counts(predicted: Tensor, reference: Tensor, classes: int) -> Tensor:
    """Give the (classes, classes) voxel counts of reference against predicted class, without unlabelled voxels."""
    truth = reference.clamp(max=classes).long()  # all unlabelled ones in a row of their own, cut off below
    codes = (truth * classes + predicted).flatten()
    # Not `bincount`, for which a GPU has to tell the host the largest code first.
    counts = torch.zeros((classes + 1) * classes, dtype=torch.int64, device=codes.device)
    return counts.scatter_add_(0, codes, torch.ones_like(codes)).view(classes + 1, classes)[:classes]


def foreground_dice(matrix: Sequence[Sequence[int]]) -> list[float | None]:
    """Give the Dice of the classes from 1 on, from a confusion matrix (reference, predicted)."""
    columns = [sum(column) for column in zip(*matrix, strict=True)]
    return [
        dice_of_counts(row[value], columns[value] - row[value], sum(row) - row[value])
        for value, row in enumerate(matrix)
        if value > 0
    ]


def endless_batches(count: int, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Give index batches of epoch after epoch, each in a new order; the last batch of an epoch may be smaller."""
    while True:
        yield from torch.split(torch.randperm(count, generator=generator), batch_size)


def make_optimizer(network: nn.Module, config: SegmentationConfig) -> torch.optim.Optimizer:
    """Give the optimizer that `config` names, over every parameter."""
    if config.optimizer == "adamw":
        return torch.optim.AdamW(
            network.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
        )
    return torch.optim.SGD(
        network.parameters(),
        lr=config.learning_rate,
        momentum=config.momentum,
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_rate(optimizer: torch.optim.Optimizer, config: SegmentationConfig, step: int) -> None:
    """Set the learning rate of `step` (from 1): the base rate times (1 - finished share) ** poly_power."""
    rate = config.learning_rate * (1 - (step - 1) / config.iterations) ** config.poly_power
    for group in optimizer.param_groups:
        group["lr"] = rate


def refuse_unfit_data(
    training: LabelledSlices, validation: Sequence[ReferenceVolume], config: SegmentationConfig
) -> None:
    """Raise BadInputError or ShapeError for slices that `config` cannot be trained or validated on."""
    if len(training.images) == 0:
        raise BadInputError("A training needs at least one annotated slice.")
    plane = (config.channels, config.image_size, config.image_size)
    for images in (training.images, *(volume.images for volume in validation)):
        if images.shape[1:] != plane:
            raise ShapeError("images", f"(n, {', '.join(map(str, plane))})", images.shape)
    for labels in (training.labels.numpy(force=True), *(volume.reference for volume in validation)):
        strange = labels[(labels >= config.classes) & (labels != UNLABELLED)]
        if strange.size:
            found = int(strange.max())
            raise BadInputError(f"A label {found} was found, but the classes go from 0 to {config.classes - 1}.")
    if not bool(np.isfinite(training.images.numpy(force=True)).all()):
        raise BadInputError("The images of the annotated slices hold values that are not finite.")


def copy_state(network: nn.Module) -> dict[str, Tensor]:
    """Give the weights as they are now, copied to the CPU in the default layout."""
    return {name: value.detach().to("cpu", copy=True).contiguous() for name, value in network.state_dict().items()}


def describe_step(loss: float, dice: float | None) -> str:
    """Give the message of a report."""
    return f"loss {loss:.3f}" if dice is None else f"loss {loss:.3f}, validation Dice {dice:.3f}"


@contextmanager
def seeded_globals(seed: int, device: torch.device) -> Iterator[None]:
    """Let fresh weights and dropout inside draw from `seed`, and put the global generators back afterwards.

    Initialisation and dropout take no generator of their own.
    """
    devices = [device.index or 0] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.default_generator.manual_seed(seed)
        if device.type == "cuda":
            with torch.cuda.device(devices[0]):
                torch.cuda.manual_seed(seed)
        yield

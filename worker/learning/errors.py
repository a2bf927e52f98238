"""The errors of the learning core.

LearningError
├── BadInputError
│   ├── NonFiniteError          a value is NaN or infinite; names where
│   ├── ShapeError              an array has another shape than promised
│   ├── PoolStructureError      patients, volumes and slice numbers contradict each other
│   └── UnrevealedLabelError    somebody asks for, or hands in, a label nobody has annotated
├── ConfigError                 a field of a configuration is out of its range
├── BudgetError                 fewer than one slice is asked for
├── NothingToPickError          no slice is available
├── ReaderMissingError          a strategy needs something its pool cannot read
├── MemoryExhaustedError        slices did not fit into the accelerator's memory, in halves neither
├── WeightsError                a file of weights cannot be used
├── WeightsMissingError         weights that somebody asked for cannot be had
└── TrainingDivergedError       a loss stopped being a number
"""

from collections.abc import Sequence
from pathlib import Path


class LearningError(Exception):
    """Anything the learning core refuses; the message is one sentence for a person."""


class BadInputError(LearningError):
    """Arrays that no part of the core can work with."""


class NonFiniteError(BadInputError):
    """An array holds NaN or infinity."""

    def __init__(self, what: str, index: Sequence[int]) -> None:
        self.what = what
        self.index = tuple(index)
        super().__init__(f"The {what} are not finite; the first bad value stands at index {self.index}.")


class ShapeError(BadInputError):
    """An array has another shape than the one promised."""

    def __init__(self, what: str, expected: str, found: Sequence[int]) -> None:
        self.what = what
        self.expected = expected
        self.found = tuple(found)
        super().__init__(f"The {what} should have the shape {expected} but have {self.found}.")


class PoolStructureError(BadInputError):
    """Patients, volumes and slice numbers contradict each other."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"The pool is inconsistent: {reason}.")


class UnrevealedLabelError(BadInputError):
    """A label of a slice that nobody has annotated was handed in or asked for."""

    def __init__(self, index: int) -> None:
        self.index = index
        super().__init__(f"Slice {index} has not been annotated, so selection may not see a label of it.")


class ConfigError(LearningError):
    """A field of a configuration is out of its range."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"The setting {field} is {value!r} but must be {allowed}.")


class BudgetError(LearningError):
    """Fewer than one slice is asked for."""

    def __init__(self, budget: int) -> None:
        self.budget = budget
        super().__init__(f"The budget is {budget} slices but must be at least 1.")


class NothingToPickError(LearningError):
    """Every slice is annotated or set aside."""

    def __init__(self, size: int) -> None:
        self.size = size
        super().__init__(f"None of the {size} slices in the pool is available for picking.")


class ReaderMissingError(LearningError):
    """A strategy needs something that its pool cannot read."""

    def __init__(self, need: str) -> None:
        self.need = need
        super().__init__(f"This pool was built without {need}, which the strategy needs.")


class MemoryExhaustedError(LearningError):
    """A pass over slices did not fit into the accelerator's memory, in halves neither."""

    def __init__(self, tried: Sequence[int]) -> None:
        self.tried = tuple(tried)
        passes = " and of ".join(map(str, tried))
        super().__init__(
            f"The GPU ran out of memory with passes of {passes} slices; nothing was lost. A larger GPU, or one that "
            "nothing else uses, would do."
        )


class WeightsError(LearningError):
    """A file of weights cannot be used."""

    def __init__(self, path: Path, reason: str) -> None:
        self.path = path
        self.reason = reason
        super().__init__(f"The weights in {path} cannot be used: {reason}.")


class WeightsMissingError(LearningError):
    """Weights that a strategy or network cannot do without are not on this machine."""

    def __init__(self, what: str, *, is_public: bool = True) -> None:
        self.what = what
        self.is_public = is_public  # whether they can be downloaded without asking anybody
        if is_public:
            missing = "are neither in the folder NEXTSLICE_WEIGHTS nor in torch's cache, and could not be downloaded"
        else:
            missing = "are not in the folder NEXTSLICE_WEIGHTS, and are never downloaded: put their file there"
        super().__init__(f"{what} {missing}.")


class TrainingDivergedError(LearningError):
    """A training loss stopped being a finite number."""

    def __init__(self, step: int, loss: float) -> None:
        self.step = step
        self.loss = loss
        super().__init__(f"Training diverged: the loss is {loss} by step {step}.")

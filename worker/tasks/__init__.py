"""One thin file a job; each has `run(work: Work) -> Record`.

A task's module is imported when its first job comes, in the process that runs it: torch is large, and an accelerator
cannot be shared with a process that was forked after it was touched.
"""

from __future__ import annotations

from importlib import import_module
from typing import cast

from app.names import JobKind
from worker.runner import Task

TASKS: dict[JobKind, str] = {
    JobKind.TRAIN_ENCODER: "worker.tasks.train_encoder",
    JobKind.PROPOSE: "worker.tasks.propose",
    JobKind.TRAIN_SEGMENTATION: "worker.tasks.train_segmentation",
    JobKind.EVALUATE: "worker.tasks.evaluate",
    JobKind.PREDICT: "worker.tasks.predict",
    JobKind.IMPORT: "worker.tasks.import_volumes",
    JobKind.EXPORT: "worker.tasks.export",
    JobKind.COVERAGE: "worker.tasks.coverage",
}


def find_task(kind: JobKind) -> Task:
    """The function that does jobs of this kind."""
    return cast("Task", import_module(TASKS[kind]).run)

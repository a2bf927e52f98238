"""What the commands have in common: the terminal, the service that they ask, what they read of their options."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from app.client import Client, Report, connect
from app.log import configure_logging
from app.names import Queue
from app.settings import Settings

out = Console(highlight=False, soft_wrap=True)
_QUIET_S = 30.0  # without a terminal a line of progress comes this often

Url = Annotated[str, typer.Option(help="A running service, its token in NEXTSLICE_TOKEN; else one is started.")]


@contextmanager
def service(url: str, knobs: Settings, queues: tuple[Queue, ...]) -> Iterator[Client]:
    """A client of the service at `url`, or of one that lives as long as the command."""
    if url:
        with connect(url, os.environ.get("NEXTSLICE_TOKEN", "")) as client:
            yield client
        return
    from app.embedded import running_service

    with (
        log_file(knobs),
        running_service(knobs.model_copy(update={"port": 0}), queues) as own,
        connect(own) as client,
    ):
        yield client


@contextmanager
def log_file(knobs: Settings) -> Iterator[None]:
    """The service's log goes into a file: what a person reads on the terminal is only what concerns them."""
    folder = knobs.home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "api.log").open("a", encoding="utf-8") as file:
        configure_logging(stream=file)
        yield


@contextmanager
def progress() -> Iterator[Callable[[float, str], None]]:
    """`tell(share, text)`: a bar with the time left on a terminal, else a line now and then; Ctrl+C is heard there."""
    with _hearing_interrupts() as check, _shown() as show:

        def tell(share: float, text: str) -> None:
            check()
            show(share, text)

        yield tell


@contextmanager
def _hearing_interrupts() -> Iterator[Callable[[], None]]:
    """`check()` raises KeyboardInterrupt once Ctrl+C was pressed; pressed again, it is raised at once, as always.

    Raised wherever the program happens to be it may land in a weak reference's callback: Python drops it there, and the
    command goes on. In a text that is executed, as dataclasses do, Python notes it and ends by the signal though it was
    caught.
    """
    asked = threading.Event()

    def hear(_signal: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.write(2, b"nextslice: stopping; the same command goes on from here\n")

    def check() -> None:
        if asked.is_set():
            raise KeyboardInterrupt

    # A shell's background jobs ignore it, and go on doing so.
    hears = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears:
        signal.signal(signal.SIGINT, hear)
    try:
        yield check
    finally:
        if hears:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def _shown() -> Iterator[Callable[[float, str], None]]:
    started, last = time.monotonic(), 0.0

    def left(share: float) -> str:
        if share <= 0.02:
            return ""
        seconds = (time.monotonic() - started) * (1 - share) / share
        return f"{int(seconds // 60)}:{int(seconds % 60):02d} left"

    if not out.is_terminal:

        def tell(share: float, text: str) -> None:
            nonlocal last
            if time.monotonic() - last >= _QUIET_S or share >= 1:
                last = time.monotonic()
                out.print(f"{share:4.0%} {left(share)} {text}".rstrip(), soft_wrap=True)

        yield tell
        return
    columns = (
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[left]}  {task.description}"),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task("", total=1.0, left="")
        yield lambda share, text: bar.update(task, completed=share, description=text, left=left(share))


def by_share(tell: Callable[[float, str], None]) -> Report:
    """What a client reports to: so much done of so much."""
    return lambda done, total, message: tell(done / max(total, 1), message)


def read_numbers(text: str) -> list[float]:
    """The numbers of an option; raises BadParameter."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a comma-separated list of numbers") from None


def read_object(text: str) -> dict[str, Any]:
    """The JSON object of an option; raises BadParameter."""
    import json

    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} is not a JSON object")
    return value

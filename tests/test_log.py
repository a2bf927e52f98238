"""One line an event, with the ids that stand around it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from app.log import configure_logging, get_log, log_context


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    handlers = logging.getLogger().handlers[:]
    yield
    configure_logging(stream=io.StringIO())
    logging.getLogger().handlers[:] = handlers


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_the_ids_of_the_context_stand_on_every_line_within_it_and_on_none_after() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    with log_context(job_id="j-1"):
        get_log("worker.runner").info("job_started", queue="cpu")
        logging.getLogger("some.library").warning("slow %s", "disk")
    get_log("worker.runner").info("idle")
    started, library, idle = lines(stream)
    assert (started["event"], started["queue"], started["job_id"]) == ("job_started", "cpu", "j-1")
    assert (started["level"], started["logger"]) == ("info", "worker.runner")
    assert (library["event"], library["job_id"], library["logger"]) == ("slow disk", "j-1", "some.library")
    assert "job_id" not in idle


def test_a_traceback_is_one_field_of_one_line() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream)
    try:
        _ = 1 / 0
    except ZeroDivisionError:
        get_log("app").exception("job_failed")
    (line,) = lines(stream)
    assert line["event"] == "job_failed"
    assert line["exception"].endswith("ZeroDivisionError: division by zero")


def test_the_level_holds_for_libraries_too() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, level="WARNING")
    logging.getLogger("some.library").info("chatter")
    get_log("app").info("chatter")
    assert stream.getvalue() == ""


def test_a_person_reads_text_instead_of_json() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, as_json=False)
    get_log("app").info("job_started", queue="gpu")
    assert "job_started" in stream.getvalue()
    assert "queue=gpu" in stream.getvalue()

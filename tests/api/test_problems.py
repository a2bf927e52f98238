"""What the database refuses becomes an answer that says whether to try again."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import psycopg.errors
import pytest
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

from app.api.problems import install_problem_handlers


@pytest.mark.parametrize(
    ("cause", "expected"),
    [
        (psycopg.errors.DeadlockDetected("deadlock detected"), (409, "raced")),
        (psycopg.errors.SerializationFailure("could not serialize"), (409, "raced")),
        (psycopg.errors.AdminShutdown("terminating connection"), (503, "database-unavailable")),
        (psycopg.OperationalError("connection refused"), (503, "database-unavailable")),
    ],
    ids=lambda each: type(each).__name__,
)
def test_a_transaction_that_was_ended_for_another_is_no_outage(cause: Any, expected: tuple[int, str]) -> None:
    app = FastAPI()
    install_problem_handlers(app)

    @app.post("/")
    def write() -> None:
        raise OperationalError("UPDATE slices", {}, cause)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            return await http.post("/")

    answer = asyncio.run(ask())
    assert (answer.status_code, answer.json()["code"]) == expected

"""What happens to every request: an id that is on every log line and answer, and a limit to its body."""

from __future__ import annotations

import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.api.problems import problem_answer
from app.errors import BodyTooLarge
from app.log import get_log, tag_log

_log = get_log(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


class TagRequest:
    """Takes `X-Request-Id` or makes one, logs the request when it is answered, and hands the id back."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        started, status = time.perf_counter(), 0

        async def tagged(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        # Not taken off again: what nobody foresaw is logged further out, once here and once by the server. Each request
        # runs in a context of its own, so the id reaches no other.
        tag_log(request_id=request_id)
        try:
            await self._app(scope, receive, tagged)
        finally:
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            # Reads that went well would drown everything else: front ends poll.
            level = "debug" if scope["method"] == "GET" and status < 400 else "info"
            getattr(_log, level)("request", method=scope["method"], path=scope["path"], status=status, ms=milliseconds)


class LimitBody:
    """Refuses a body longer than the limit: at once where its length is announced, else as soon as it passes it."""

    def __init__(self, app: ASGIApp, limit_bytes: int) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = problem_answer(Request(scope), BodyTooLarge(self._limit))
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            await refusal(scope, receive, send)
            return
        received = 0

        async def limited() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise BodyTooLarge(self._limit)
            return message

        async def answered(message: Message) -> None:
            # Whoever reads the body turns what `limited` raises into an answer of its own; this one is the clear one.
            if received <= self._limit:
                await send(message)
            elif message["type"] == "http.response.start":
                await refusal(scope, receive, send)

        await self._app(scope, limited, answered)

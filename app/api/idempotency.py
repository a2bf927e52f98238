"""`Idempotency-Key` on the wire: the route class of everything that creates.

The key's owner is the account, whichever of its tokens or sessions asks, so that nobody is handed the answer to
somebody else. A secret is not kept with its answer: a repetition shows null in its place. Kept encrypted under the key
it would lie beside what opens it, for the key is the row's name and no secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.api.schemas import unkept_fields
from app.errors import IdempotencyKeyRefused, RequestStillRunning
from app.services.idempotency import KeptAnswer, KeyedRequest, find_answer, fingerprint_request, keep_answer
from app.services.people import Person

_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_CREATING = ("POST", "PUT")
_KEPT_HEADERS = ("content-type", "etag", "location")
_running: set[tuple[str, str]] = set()  # keys at work in this process; only its event loop touches it


class AnsweredBefore(Exception):
    """The request was answered before; nothing is to be done."""

    def __init__(self, answer: KeptAnswer) -> None:
        self.answer = answer


class CreatingRoute(APIRoute):
    """A route that answers a repeated `Idempotency-Key` as it did the first time."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler; it runs inside of the transaction that its session dependency opens."""
        answer = super().get_route_handler()
        unkept = unkept_fields(self.response_model)

        async def handle(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method not in _CREATING:
                return await answer(request)
            keyed = await _keyed_request(request, key)
            if (keyed.owner, keyed.key) in _running:
                raise RequestStillRunning(keyed.key)
            _running.add((keyed.owner, keyed.key))
            try:
                request.state.keyed = keyed
                response = await answer(request)
                session: Session | None = getattr(request.state, "keyed_session", None)
                if session is not None:
                    await run_in_threadpool(keep_answer, session, keyed, _kept(response, unkept))
                return response
            except AnsweredBefore as before:
                headers = {**before.answer.headers, "Idempotency-Replayed": "true"}
                return Response(before.answer.body, before.answer.status, headers)
            finally:
                _running.discard((keyed.owner, keyed.key))

        return handle


def begin_keyed(request: Request, session: Session) -> None:
    """For whoever opens the transaction of a request: ends it where the request's key was answered before."""
    keyed: KeyedRequest | None = getattr(request.state, "keyed", None)
    if keyed is None:
        return
    kept = find_answer(session, keyed)
    if kept is not None:
        raise AnsweredBefore(kept)
    request.state.keyed_session = session


async def _keyed_request(request: Request, key: str) -> KeyedRequest:
    if not _KEY.fullmatch(key):
        raise IdempotencyKeyRefused
    person: Person = request.state.person  # the gate lets nobody without one to a creating route
    owner = "local" if person.account_id is None else str(person.account_id)
    target = f"{request.url.path}?{request.url.query}"
    if_match = request.headers.get("if-match", "")
    content_type = request.headers.get("content-type", "")
    body = await request.body()
    # A mask may be large: its digest is made beside the event loop.
    fingerprint = await run_in_threadpool(
        fingerprint_request, request.method, f"{target} {if_match}", content_type, body
    )
    return KeyedRequest(owner, key, fingerprint)


def _kept(response: Response, unkept: frozenset[str]) -> KeptAnswer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    body = bytes(response.body)
    if unkept:
        body = json.dumps(json.loads(body) | dict.fromkeys(unkept), separators=(",", ":")).encode()
    return KeptAnswer(response.status_code, body, headers)

"""Carries webhook deliveries: a few threads of each API process; the table says what is due, so any number may run."""

from __future__ import annotations

import asyncio
import json
import threading
import time
import uuid
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from sqlalchemy.exc import SQLAlchemyError

from app.db.session import Database
from app.errors import WebhookRefused
from app.log import get_log
from app.outbox import SilentBell, unit_of_work
from app.services.webhooks import Letter, record_answer, resolve_address, signature_headers, take_letters
from app.settings import Settings

TIMEOUT_S = 10.0
"""What a letter may take in all; whoever answers a byte now and then gets no longer."""
STOP_TIMEOUT_S = 2 * TIMEOUT_S
LANES = 8
"""So many webhooks are sent to side by side."""

_log = get_log(__name__)


class Postman:
    """Looks for due deliveries every `sweep_s` seconds and carries them.

    Those of one webhook go one after the other, those of several side by side: a slow receiver holds up its own alone.
    """

    def __init__(self, database: Database, knobs: Settings) -> None:
        self._database = database
        self._knobs = knobs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)
        self._lanes = ThreadPoolExecutor(LANES, thread_name_prefix="postman")
        self._in_hand: dict[Future[None], uuid.UUID] = {}

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the letters in hand."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        with self._lanes:
            while not self._stopping.wait(self._knobs.sweep_s):
                try:
                    self.carry_due()
                except SQLAlchemyError as error:
                    _log.warning("deliveries_not_read", reason=str(error))

    def carry_due(self) -> None:
        """Carry everything that is due now, and what falls due meanwhile."""
        while not self._stopping.is_set():
            self._take()
            if not self._in_hand:
                return
            # Not for longer than a sweep: webhooks that nobody is sending to may have something due by then.
            done, _ = wait(self._in_hand, self._knobs.sweep_s, FIRST_COMPLETED)
            for each in done:
                del self._in_hand[each]
                each.result()

    def _take(self) -> None:
        free = LANES - len(self._in_hand)
        if free == 0:
            return
        with unit_of_work(self._database, SilentBell()) as session:
            letters = take_letters(session, free, without=list(self._in_hand.values()))
        for letter in letters:
            self._in_hand[self._lanes.submit(self._carry, letter)] = letter.webhook_id

    def _carry(self, letter: Letter) -> None:
        status, error = self._try(letter)
        try:
            with unit_of_work(self._database, SilentBell()) as session:
                record_answer(session, letter.delivery_id, status, error, self._knobs.webhook_retry_s)
        except SQLAlchemyError as failure:  # it is sent again, as if the process had been killed
            _log.warning("answer_not_recorded", delivery=str(letter.delivery_id), reason=str(failure))
        _log.info("webhook_sent", delivery=str(letter.delivery_id), status=status, error=error)

    def _try(self, letter: Letter) -> tuple[int | None, str]:
        try:
            return send_letter(letter, self._knobs.webhook_private)
        except Exception as error:  # noqa: BLE001 - what one letter trips over must not end the thread of all others
            _log.exception("webhook_not_sent", delivery=str(letter.delivery_id))
            return None, self._knobs.hide_folders(f"{type(error).__name__}: {error}")


def send_letter(letter: Letter, allow_private: bool) -> tuple[int | None, str]:
    """One try: (status of the answer, "") or (status or None, what went wrong). Redirects are not followed.

    The connection goes to the address that was checked, under the name that was given, so that a name that changes its
    address in between leads nowhere.
    """
    import httpx  # most services have no webhook

    deadline = time.monotonic() + TIMEOUT_S
    try:
        host, address = resolve_address(letter.url, allow_private)
    except WebhookRefused as refused:
        return None, refused.reason
    try:
        status = asyncio.run(_post(letter, host, address, deadline - time.monotonic()))
    except (TimeoutError, httpx.TimeoutException):
        return None, f"no answer within {TIMEOUT_S:g} s"
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, f"{type(error).__name__}: {error}"
    return status, "" if 200 <= status < 300 else f"the answer was {status}"


async def _post(letter: Letter, host: str, address: str, seconds: float) -> int:
    import httpx

    # Asynchronous as that can be cut off at any point: httpx's own limits begin anew with every byte.
    body = json.dumps(letter.body, separators=(",", ":"), sort_keys=True).encode()
    parts = urlsplit(letter.url)
    port = f":{parts.port}" if parts.port else ""
    url = parts._replace(netloc=f"{_bracketed(address)}{port}", fragment="").geturl()
    headers = signature_headers(letter, body, int(time.time())) | {"Host": f"{_bracketed(host)}{port}"}
    # Of the answer only the status counts; its body is not read, however long it is.
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": host}) as answer,
    ):
        return answer.status_code


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

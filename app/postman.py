"""Carries webhook deliveries: one thread of each API process; the table says what is due, so any number may run."""

from __future__ import annotations

import json
import threading
import time
from urllib.parse import urlsplit

import httpx
from sqlalchemy.exc import SQLAlchemyError

from app.db.session import Database
from app.errors import WebhookRefused
from app.log import get_log
from app.outbox import SilentBell, unit_of_work
from app.services.webhooks import Letter, record_answer, resolve_address, signature_headers, take_letters
from app.settings import Settings

TIMEOUT_S = 10.0
STOP_TIMEOUT_S = 2 * TIMEOUT_S

_log = get_log(__name__)


class Postman:
    """Looks for due deliveries every `sweep_s` seconds and carries them out one after the other."""

    def __init__(self, database: Database, knobs: Settings) -> None:
        self._database = database
        self._knobs = knobs
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postman", daemon=True)

    @property
    def is_alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the letter in hand."""
        self._stopping.set()
        self._thread.join(STOP_TIMEOUT_S)

    def _run(self) -> None:
        while not self._stopping.wait(self._knobs.sweep_s):
            try:
                self.carry_due()
            except SQLAlchemyError as error:
                _log.warning("deliveries_not_read", reason=str(error))

    def carry_due(self) -> None:
        """Carry everything that is due now."""
        while not self._stopping.is_set():
            with unit_of_work(self._database, SilentBell()) as session:
                letters = take_letters(session)
            for letter in letters:
                status, error = self._try(letter)
                with unit_of_work(self._database, SilentBell()) as session:
                    record_answer(session, letter.delivery_id, status, error, self._knobs.webhook_retry_s)
                _log.info("webhook_sent", delivery=str(letter.delivery_id), status=status, error=error)
            if not letters:
                return

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
    body = json.dumps(letter.body, separators=(",", ":"), sort_keys=True).encode()
    try:
        host, address = resolve_address(letter.url, allow_private)
    except WebhookRefused as refused:
        return None, refused.reason
    parts = urlsplit(letter.url)
    port = f":{parts.port}" if parts.port else ""
    target = f"[{address}]" if ":" in address else address
    url = parts._replace(netloc=f"{target}{port}", fragment="").geturl()
    named = f"[{host}]" if ":" in host else host
    headers = signature_headers(letter, body, int(time.time())) | {"Host": f"{named}{port}"}
    try:
        # Of the answer only the status counts; its body is not read, however long it is.
        with (
            httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client,
            client.stream("POST", url, content=body, headers=headers, extensions={"sni_hostname": host}) as answer,
        ):
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return None, f"{type(error).__name__}: {error}"
    return status, "" if 200 <= status < 300 else f"the answer was {status}"

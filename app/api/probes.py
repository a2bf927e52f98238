"""Checks with a deadline: a part that hangs is named as readily as one that refuses."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping

ANSWER_WITHIN_S = 5.0
_LOOK_S = 0.01


class Probe(threading.Thread):
    """One check under way; whoever asks meanwhile waits for the same answer."""

    def __init__(self, name: str, check: Callable[[], str]) -> None:
        super().__init__(name=f"probe {name}", daemon=True)  # one that hangs keeps no process from ending
        self.answer: str | None = None
        self._check = check

    def run(self) -> None:
        """Ask, and keep the answer; what nobody foresaw is one, too."""
        try:
            self.answer = self._check()
        except Exception as error:  # noqa: BLE001
            self.answer = type(error).__name__


async def ask_parts(
    checks: Mapping[str, Callable[[], str]], probes: dict[str, Probe], within_s: float = ANSWER_WITHIN_S
) -> dict[str, str]:
    """What each check says of its part, all asked at once; of one that does not answer in time, that it did not.

    `probes` are those of earlier calls: a check that hangs is not begun again while it does. The threads that answer
    requests are not needed: they may all hang on the very part that is to be named.
    """
    asked: dict[str, Probe] = {}
    for part, check in checks.items():
        before = probes.get(part)
        asked[part] = before if before is not None and before.is_alive() else Probe(part, check)
        if asked[part] is not before:
            asked[part].start()
    probes.update(asked)
    end = time.monotonic() + within_s
    while any(probe.is_alive() for probe in asked.values()) and time.monotonic() < end:
        await asyncio.sleep(_LOOK_S)
    return {part: probe.answer or f"no answer within {within_s:g} s" for part, probe in asked.items()}

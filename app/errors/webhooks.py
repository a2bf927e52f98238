"""Webhooks that cannot be."""

from __future__ import annotations

from app.errors.tree import InvalidInput


class WebhookRefused(InvalidInput):
    """An address that nothing is sent to."""

    code = "webhook-refused"

    def __init__(self, url: str, reason: str) -> None:
        self.url, self.reason = url, reason
        super().__init__(f"{url[:200]!r} cannot be a webhook: {reason}.")

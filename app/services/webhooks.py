"""Webhooks: who is told of what, and what became of each telling.

    announced (same transaction as the event) ──> pending ──200-299──> delivered
                                                   │  ▲ └──7th try──> failed ─┐
                                                   └──┘ pause ×6              │ redelivered
                                                      ▲───────────────────────┘

A delivery is sent at least once; its id stays the same over all tries, so that a receiver can tell a repeated one.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import secrets
import socket
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from app.db.models import Project, Webhook, WebhookDelivery
from app.db.session import database_now, prepared
from app.errors import WebhookRefused
from app.names import DeliveryState, WebhookEvent
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows

ATTEMPTS = 7
RETRY_FACTOR = 6
SENDING_S = 60.0
"""A delivery that a killed process had in hand is taken up again after this."""

# The last 32 bits of these are an IPv4 address: IPv4-compatible, IPv4-translated (RFC 2765), NAT64 (RFC 6052).
_EMBEDDING = tuple(ipaddress.IPv6Network(each) for each in ("::/96", "::ffff:0:0:0/96", "64:ff9b::/96"))
_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")  # all that IANA has given out; site-local, for one, lies outside
_SIGNATURE_HEADER = "X-NextSlice-Signature"

_ACTIVE = prepared(select(Webhook).where(Webhook.project_id == bindparam("project"), Webhook.active))


@dataclass(frozen=True)
class Letter:
    """What is to be sent where, as plain facts, so that no transaction is open meanwhile."""

    delivery_id: uuid.UUID
    webhook_id: uuid.UUID
    url: str
    event: str
    secret: str
    body: dict[str, Any]


@dataclass(frozen=True)
class JudgedUrl:
    """A webhook's URL that was looked up, and why it is refused, if it is."""

    url: str
    refused: WebhookRefused | None


def judge_url(url: str, allow_private: bool) -> JudgedUrl:
    """Look the URL's host up: to be done before a transaction begins, for a resolver may take its time."""
    try:
        resolve_address(url, allow_private)
    except WebhookRefused as refused:
        return JudgedUrl(url, refused)
    return JudgedUrl(url, None)


def create_webhook(session: Session, project: Project, judged: JudgedUrl, events: Sequence[WebhookEvent]) -> Webhook:
    """A webhook with a new secret; raises WebhookRefused for an address that is not public."""
    url = _accepted(judged)
    hook = Webhook(project_id=project.id, url=url, events=sorted(set(events)), secret=secrets.token_urlsafe(32))
    session.add(hook)
    session.flush()
    return hook


def change_webhook(
    session: Session,
    hook: Webhook,
    *,
    judged: JudgedUrl | None = None,
    events: Sequence[WebhookEvent] | None = None,
    active: bool | None = None,
) -> Webhook:
    """The webhook with these fields changed; raises WebhookRefused as `create_webhook` does."""
    if judged is not None:
        hook.url = _accepted(judged)
    if events is not None:
        hook.events = sorted(set(events))
    if active is not None:
        hook.active = active
    session.flush()
    return hook


def list_webhooks(session: Session, project: Project, span: Span = ALL) -> Listed[Webhook]:
    """All webhooks of a project, the oldest first."""
    return list_rows(session, select(Webhook).where(Webhook.project_id == project.id), [Webhook.id], span)


def find_webhook(session: Session, reference: str) -> Webhook:
    """The webhook of this id; raises RecordNotFound."""
    return find_row(session, Webhook, "webhook", reference)


def find_delivery(session: Session, reference: str) -> WebhookDelivery:
    """The delivery of this id; raises RecordNotFound."""
    return find_row(session, WebhookDelivery, "delivery", reference)


def list_deliveries(session: Session, hook: Webhook, span: Span = ALL) -> Listed[WebhookDelivery]:
    """The deliveries of a webhook, the newest first."""
    query = select(WebhookDelivery).where(WebhookDelivery.webhook_id == hook.id)
    return list_rows(session, query, [WebhookDelivery.id], span, descending=True)


def announce(session: Session, project_id: uuid.UUID, event: WebhookEvent, facts: dict[str, Any]) -> None:
    """Write down that the project's webhooks are to be told, in the transaction of what they are told of."""
    for hook in session.scalars(_ACTIVE, {"project": project_id}):
        if event in hook.events:
            address_delivery(session, hook, event, facts)


def address_delivery(session: Session, hook: Webhook, event: WebhookEvent, facts: dict[str, Any]) -> WebhookDelivery:
    """One delivery to one webhook, due at once."""
    now = database_now(session)
    body = {"event": event, "project_id": str(hook.project_id), "at": now.isoformat(), **facts}
    delivery = WebhookDelivery(webhook_id=hook.id, event=event, body=body, next_at=now)
    session.add(delivery)
    session.flush()
    return delivery


def redeliver(session: Session, delivery: WebhookDelivery) -> WebhookDelivery:
    """Send a delivery again, with all its tries given back."""
    delivery.state, delivery.attempts = DeliveryState.PENDING, 0
    delivery.next_at = database_now(session)
    session.flush()
    return delivery


def take_letters(session: Session, limit: int, without: Collection[uuid.UUID] = ()) -> list[Letter]:
    """The oldest due delivery of each webhook that waits the longest, each handed to one process only.

    Those of a webhook that rests, or whose project was deleted, wait until it is back. `without` names the webhooks
    that are being sent to: one that is slow gets its letters one after the other.
    """
    now = database_now(session)
    due = (WebhookDelivery.state == DeliveryState.PENDING, WebhookDelivery.next_at <= now)
    hook_id, oldest = WebhookDelivery.webhook_id, func.min(WebhookDelivery.next_at)
    waiting = (
        select(Webhook)
        .join(WebhookDelivery, hook_id == Webhook.id)
        .join(Project, Project.id == Webhook.project_id)  # no session sees one that was deleted
        .where(*due, Webhook.active, Webhook.id.not_in(without))
        .group_by(Webhook.id)
        .order_by(oldest, Webhook.id)
        .limit(limit)
    )
    letters = []
    for hook in session.scalars(waiting).all():
        first = select(WebhookDelivery).where(*due, hook_id == hook.id)
        first = first.order_by(WebhookDelivery.next_at, WebhookDelivery.id).limit(1).with_for_update(skip_locked=True)
        delivery = session.scalars(first).first()
        if delivery is None:  # another process has just taken it
            continue
        delivery.attempts += 1
        delivery.next_at = now + timedelta(seconds=SENDING_S)
        letters.append(Letter(delivery.id, hook.id, hook.url, delivery.event, hook.secret, delivery.body))
    session.flush()
    return letters


def record_answer(
    session: Session, delivery_id: uuid.UUID, status: int | None, error: str, first_retry_s: float
) -> None:
    """Keep what came of a try: delivered, another one later, or given up."""
    delivery = session.get(WebhookDelivery, delivery_id)
    if delivery is None:  # its webhook was removed meanwhile
        return
    now = database_now(session)
    delivery.status, delivery.error = status, error[:500]
    if status is not None and 200 <= status < 300:
        delivery.state, delivery.delivered_at = DeliveryState.DELIVERED, now
    elif delivery.attempts >= ATTEMPTS:
        delivery.state = DeliveryState.FAILED
    else:
        pause_s = first_retry_s * RETRY_FACTOR ** (delivery.attempts - 1)
        delivery.next_at = now + timedelta(seconds=pause_s)
    session.flush()


def signature_headers(letter: Letter, body: bytes, moment: int) -> dict[str, str]:
    """Headers of one try: `t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>." and the body>` under the webhook's secret."""
    signed = f"{moment}.".encode() + body
    digest = hmac.new(letter.secret.encode(), signed, hashlib.sha256).hexdigest()
    return {
        _SIGNATURE_HEADER: f"t={moment},v1={digest}",
        "X-NextSlice-Event": letter.event,
        "X-NextSlice-Delivery": str(letter.delivery_id),
        "Content-Type": "application/json",
    }


def resolve_address(url: str, allow_private: bool) -> tuple[str, str]:
    """(host, IP) of a webhook's URL; raises WebhookRefused unless every address of the host is a public one.

    The host is in ASCII (IDNA), as headers and certificates have it. Whoever connects must take this very IP: a name
    may mean another address a moment later.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        raise WebhookRefused(url, "it is no URL") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username or parts.password:
        raise WebhookRefused(url, "it must be http:// or https:// and a host, without a user")
    try:
        host = parts.hostname.encode("idna").decode("ascii")
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise WebhookRefused(url, "its host has no address") from None
    addresses = [str(each[4][0]) for each in found]
    if not allow_private and not all(_is_public(each) for each in addresses):
        raise WebhookRefused(url, "its address is private")
    return host, addresses[0]


def _accepted(judged: JudgedUrl) -> str:
    if judged.refused is not None:
        raise judged.refused
    return judged.url


def _is_public(text: str) -> bool:
    address = ipaddress.ip_address(text.split("%", 1)[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is None:
            return address in _GLOBAL_UNICAST and address.is_global
        address = inner
    return address.is_global and not address.is_multicast


def _embedded(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    # A gateway, or the kernel itself, takes a packet for such an address to the IPv4 address within.
    if any(address in network for network in _EMBEDDING):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour

"""Routes of webhooks and of the log of their deliveries."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response
from pydantic import Field

from app.api.deps import Reading, TheHouse, Writing
from app.api.idempotency import CreatingRoute
from app.api.paging import Paged, page_of
from app.api.schemas import SHOWN_ONCE, Asked, Page, Wire
from app.names import DeliveryState, WebhookEvent
from app.services import projects, webhooks

router = APIRouter(prefix="/v1", tags=["webhooks"], route_class=CreatingRoute)


class WebhookAsked(Asked):
    """A new webhook."""

    url: str = Field(max_length=2000, examples=["https://ward.example.org/nextslice"])
    events: list[WebhookEvent] = Field(min_length=1, examples=[["round.proposed", "round.closed"]])


class WebhookChange(Asked):
    """What to change of a webhook; what is left out stays."""

    url: str | None = Field(default=None, max_length=2000)
    events: list[WebhookEvent] | None = Field(default=None, min_length=1)
    active: bool | None = None


class WebhookWire(Wire):
    """A webhook."""

    id: uuid.UUID
    url: str
    events: list[WebhookEvent]
    active: bool
    created_at: datetime


class WebhookMade(WebhookWire):
    """A new webhook, with the secret that signs what it gets; it is not shown again."""

    secret: Annotated[str | None, SHOWN_ONCE] = Field(
        description="null where the answer to an earlier request is repeated."
    )


class DeliveryWire(Wire):
    """One delivery and what has come of it so far."""

    id: uuid.UUID
    webhook_id: uuid.UUID
    event: WebhookEvent
    body: dict[str, Any]
    state: DeliveryState
    attempts: int
    next_at: datetime
    status: int | None
    error: str
    created_at: datetime
    delivered_at: datetime | None


def _judged(asked: WebhookAsked, house: TheHouse) -> webhooks.JudgedUrl:
    return webhooks.judge_url(asked.url, house.settings.webhook_private)


def _judged_change(asked: WebhookChange, house: TheHouse) -> webhooks.JudgedUrl | None:
    return None if asked.url is None else webhooks.judge_url(asked.url, house.settings.webhook_private)


# Named before the session, these are done before it opens: on SQLite every writer would wait for a slow resolver.
Judged = Annotated[webhooks.JudgedUrl, Depends(_judged)]
JudgedChange = Annotated[webhooks.JudgedUrl | None, Depends(_judged_change)]


@router.post("/projects/{project}/webhooks", status_code=201)
def create_webhook(
    project: str, asked: WebhookAsked, judged: Judged, session: Writing, response: Response
) -> WebhookMade:
    """Have an address told what happens in the project; only the first answer shows the secret."""
    found = projects.find_project(session, project)
    hook = webhooks.create_webhook(session, found, judged, asked.events)
    response.headers["Location"] = f"/v1/webhooks/{hook.id}"
    return WebhookMade.model_validate(hook)


@router.get("/projects/{project}/webhooks")
def list_webhooks(project: str, session: Reading, span: Paged) -> Page[WebhookWire]:
    """All webhooks of a project."""
    found = webhooks.list_webhooks(session, projects.find_project(session, project), span)
    return page_of(found, WebhookWire.model_validate)


@router.get("/webhooks/{webhook}")
def read_webhook(webhook: str, session: Reading) -> WebhookWire:
    """One webhook."""
    return WebhookWire.model_validate(webhooks.find_webhook(session, webhook))


@router.patch("/webhooks/{webhook}")
def change_webhook(webhook: str, asked: WebhookChange, judged: JudgedChange, session: Writing) -> WebhookWire:
    """Change a webhook's address or events, or rest it."""
    hook = webhooks.find_webhook(session, webhook)
    changed = webhooks.change_webhook(session, hook, judged=judged, events=asked.events, active=asked.active)
    return WebhookWire.model_validate(changed)


@router.delete("/webhooks/{webhook}", status_code=204)
def remove_webhook(webhook: str, session: Writing) -> None:
    """Remove a webhook with the log of its deliveries."""
    session.delete(webhooks.find_webhook(session, webhook))


@router.post("/webhooks/{webhook}/ping", status_code=202)
def ping_webhook(webhook: str, session: Writing) -> DeliveryWire:
    """Send a webhook a delivery that means nothing."""
    hook = webhooks.find_webhook(session, webhook)
    return DeliveryWire.model_validate(webhooks.address_delivery(session, hook, WebhookEvent.PING, {}))


@router.get("/webhooks/{webhook}/deliveries")
def list_deliveries(webhook: str, session: Reading, span: Paged) -> Page[DeliveryWire]:
    """The deliveries of a webhook, the newest first."""
    found = webhooks.list_deliveries(session, webhooks.find_webhook(session, webhook), span)
    return page_of(found, DeliveryWire.model_validate)


@router.post("/webhook-deliveries/{delivery}/redeliver", status_code=202)
def redeliver(delivery: str, session: Writing) -> DeliveryWire:
    """Send a delivery again."""
    return DeliveryWire.model_validate(webhooks.redeliver(session, webhooks.find_delivery(session, delivery)))

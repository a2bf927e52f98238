"""Routes of signing in through an OpenID Connect provider.

The browser leaves with what `begin` gives and comes back to a page of ours, which posts what the provider sent along
to `complete`: so the cookies stay SameSite=Strict, nothing is changed by a GET, and a refusal is told in words.
"""

from __future__ import annotations

import hmac

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api.deps import House, TheHouse
from app.api.people import PersonWire, address_of, sign_in_answer
from app.api.schemas import Asked, Wire
from app.db.audit import note_actor, note_outcome
from app.errors import ProviderNotConfigured, ProviderRefused, SignInNotBegun
from app.oidc import begin_flow, redeem_code
from app.outbox import SilentBell, unit_of_work
from app.services import identities, people

router = APIRouter(prefix="/v1/auth/provider", tags=["people"])

FLOW_COOKIE = "nextslice_sign_in"  # ties the flow to the browser that began it


class ProviderWire(Wire):
    """Whether people may sign in through a provider, and what it is called on the screen."""

    configured: bool
    name: str


class BegunWire(Wire):
    """Where the browser goes now."""

    url: str


class CompletionAsked(Asked):
    """What the provider sent the browser back with: a code, or an error."""

    state: str = Field(max_length=500)
    code: str = Field(default="", max_length=4000, repr=False)
    error: str = Field(default="", max_length=500)


@router.get("")
def read_provider(house: TheHouse) -> ProviderWire:
    """Whether there is another way to sign in than name and password."""
    configured = bool(house.settings.oidc_issuer)
    return ProviderWire(configured=configured, name=house.settings.oidc_name if configured else "")


@router.post("/begin")
def begin(house: TheHouse, request: Request, response: Response) -> BegunWire:
    """Begin to sign in: the address to send the browser to. 503 when the provider does not answer."""
    _require_provider(house)
    address = address_of(request)
    with house.database.reading() as session:
        identities.refuse_too_many_flows(session, address)
    flow = begin_flow(house.settings)
    note_outcome("sign-in begun")
    with unit_of_work(house.database, SilentBell()) as session:
        identities.keep_flow(session, flow, address)
    response.set_cookie(
        FLOW_COOKIE,
        flow.state,
        max_age=int(identities.FLOW_S),
        httponly=True,
        samesite="strict",
        secure=house.settings.public_url.startswith("https://"),
        path=router.prefix,
    )
    response.headers["Cache-Control"] = "no-store"
    return BegunWire(url=flow.url)


@router.post("/complete")
def complete(asked: CompletionAsked, house: TheHouse, request: Request, response: Response) -> PersonWire:
    """End the sign-in: the answer sets the session's cookie. A state is good for one answer, whatever comes of it."""
    _require_provider(house)
    begun_here = request.cookies.get(FLOW_COOKIE, "")
    if not hmac.compare_digest(begun_here.encode("utf-8", "replace"), asked.state.encode("utf-8", "replace")):
        raise SignInNotBegun
    note_outcome("attempt")
    with unit_of_work(house.database, SilentBell()) as session:
        nonce, verifier = identities.take_flow(session, asked.state)
    if asked.error or not asked.code:
        raise ProviderRefused(asked.error or "it sent no code")
    identity = redeem_code(house.settings, asked.code, nonce, verifier)
    with unit_of_work(house.database, SilentBell()) as session:
        entry = identities.enter(session, identity, house.settings.oidc_accounts)
        note_actor(entry.account.name, entry.account.id)
        note_outcome(f"account {entry.how} through {identity.issuer}")
        secret = people.open_session(session, entry.account, house.settings.session_s)
        person = people.person_of_account(entry.account)
    response.delete_cookie(FLOW_COOKIE, path=router.prefix, httponly=True, samesite="strict")
    return sign_in_answer(house, request, response, secret, person)


def _require_provider(house: House) -> None:
    if not house.settings.oidc_issuer:
        raise ProviderNotConfigured

"""Routes of people: signing in and out, oneself, one's tokens, and for administrators everybody's accounts."""

from __future__ import annotations

import uuid
from datetime import datetime

from fastapi import APIRouter, Request, Response
from pydantic import Field

from app.api.deps import House, Reading, TheHouse, ThePerson, Writing
from app.api.gate import SESSION_COOKIE
from app.api.paging import Paged, page_of
from app.api.schemas import Asked, Page, Wire
from app.db.audit import note_actor, note_outcome
from app.db.models import Account
from app.errors import RecordNotFound, SignInFailed, TooManySignIns
from app.names import Scope
from app.outbox import SilentBell, unit_of_work
from app.services import people, sign_in
from app.services.people import Person

router = APIRouter(prefix="/v1", tags=["people"])


class LoginAsked(Asked):
    """A name and a password."""

    name: str = Field(max_length=200)
    password: str = Field(max_length=1000, repr=False)


class PersonWire(Wire):
    """Who asks; `local` is true on a service without accounts."""

    name: str
    account_id: uuid.UUID | None
    administrator: bool
    scope: Scope
    local: bool


class PasswordAsked(Asked):
    """A new password, by the word of the old one."""

    current: str = Field(max_length=1000, repr=False)
    new: str = Field(max_length=1000, repr=False)


class TokenAsked(Asked):
    """A new token."""

    name: str = Field(max_length=100)
    scope: Scope = Scope.READ
    days: int = Field(default=90, ge=1, le=people.TOKEN_DAYS_AT_MOST)


class TokenWire(Wire):
    """A token, without its secret."""

    id: uuid.UUID
    name: str
    scope: Scope
    until: datetime
    created_at: datetime


class TokenMade(TokenWire):
    """A new token with its secret, which is not shown again."""

    token: str


class UserAsked(Asked):
    """A new account; without a password it signs in by tokens only."""

    name: str = Field(max_length=200)
    password: str | None = Field(default=None, max_length=1000, repr=False)
    administrator: bool = False


class UserChange(Asked):
    """What to change of an account; what is left out stays."""

    password: str | None = Field(default=None, max_length=1000, repr=False)
    administrator: bool | None = None
    disabled: bool | None = None


class UserWire(Wire):
    """An account."""

    id: uuid.UUID
    name: str
    administrator: bool
    disabled: bool
    created_at: datetime


@router.post("/auth/login")
def log_in(asked: LoginAsked, house: TheHouse, request: Request, response: Response) -> PersonWire:
    """Sign in; the answer sets the session's cookie. 401 and 429 do not say whether there is such an account."""
    address = address_of(request)
    with house.database.reading() as session:
        account = sign_in.account_named(session, asked.name)
    _take_an_attempt(house, asked.name, address)
    if not people.is_password(account, asked.password) or account is None:
        raise SignInFailed
    note_actor(account.name, account.id)
    with unit_of_work(house.database, SilentBell()) as session:
        sign_in.forget_failures(session, asked.name, address)
        secret = people.open_session(session, session.get_one(Account, account.id), house.settings.session_s)
    return sign_in_answer(house, request, response, secret, people.person_of_account(account))


@router.post("/auth/logout", status_code=204)
def log_out(request: Request, session: Writing, response: Response) -> None:
    """Sign out; the cookie is worth nothing from now on."""
    cookie = request.cookies.get(SESSION_COOKIE)
    if cookie is not None:
        people.close_session(session, cookie)
    response.delete_cookie(SESSION_COOKIE, path="/", httponly=True, samesite="strict")


@router.get("/me")
def read_me(person: ThePerson) -> PersonWire:
    """Who one is."""
    return _person_wire(person)


@router.post("/me/password", status_code=204)
def change_password(asked: PasswordAsked, house: TheHouse, person: ThePerson, request: Request) -> None:
    """A new password for oneself; every session of the account ends, this one too."""
    address = address_of(request)
    with house.database.reading() as session:
        account = people.find_account(session, _own_id(person))
    _take_an_attempt(house, account.name, address)
    if not people.is_password(account, asked.current):
        raise SignInFailed
    with unit_of_work(house.database, SilentBell()) as session:
        sign_in.forget_failures(session, account.name, address)
        people.set_password(session, people.find_account(session, _own_id(person)), asked.new)


@router.get("/tokens")
def list_tokens(session: Reading, person: ThePerson, span: Paged) -> Page[TokenWire]:
    """One's own tokens."""
    return page_of(people.list_tokens(session, person.account_id, span), TokenWire.model_validate)


@router.post("/tokens", status_code=201)
def create_token(asked: TokenAsked, session: Writing, person: ThePerson, response: Response) -> TokenMade:
    """A new token for oneself; the answer alone shows its secret."""
    account = people.find_account(session, _own_id(person))
    token, secret = people.create_token(session, account, asked.name, asked.scope, asked.days)
    response.headers["Location"] = f"/v1/tokens/{token.id}"
    response.headers["Cache-Control"] = "no-store"
    return TokenMade(**TokenWire.model_validate(token).model_dump(), token=secret)


@router.delete("/tokens/{token}", status_code=204)
def revoke_token(token: str, session: Writing, person: ThePerson) -> None:
    """Revoke one of one's own tokens; it is refused from the next request on."""
    people.revoke_token(session, person.account_id, token)


@router.get("/users")
def list_users(session: Reading, span: Paged) -> Page[UserWire]:
    """All accounts."""
    return page_of(people.list_accounts(session, span), UserWire.model_validate)


@router.post("/users", status_code=201)
def create_user(asked: UserAsked, session: Writing) -> UserWire:
    """Make an account."""
    account = people.create_account(session, asked.name, asked.password, administrator=asked.administrator)
    return UserWire.model_validate(account)


@router.patch("/users/{account}")
def change_user(account: str, asked: UserChange, session: Writing) -> UserWire:
    """Set a password, disable or enable, make or unmake an administrator."""
    found = people.find_account(session, account)
    if asked.password is not None:
        people.set_password(session, found, asked.password)
    people.change_account(session, found, disabled=asked.disabled, administrator=asked.administrator)
    return UserWire.model_validate(found)


def sign_in_answer(house: House, request: Request, response: Response, secret: str, person: Person) -> PersonWire:
    """Who is signed in now, with the session's cookie set."""
    response.set_cookie(
        SESSION_COOKIE,
        secret,
        max_age=int(house.settings.session_s),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https" or house.settings.public_url.startswith("https://"),
        path="/",
    )
    return _person_wire(person)


def address_of(request: Request) -> str:
    """The address that a request came from; empty where the server does not know it."""
    return request.client.host if request.client is not None else ""


def _take_an_attempt(house: House, name: str, address: str) -> None:
    """Raises TooManySignIns; the attempt is committed, with its audit row, before anything is judged."""
    note_outcome("attempt")
    with unit_of_work(house.database, SilentBell()) as session:
        attempt = sign_in.begin_attempt(session, name, address)
    try:
        with house.database.reading() as session:
            sign_in.refuse_too_many(session, name, address)
    except TooManySignIns:
        note_outcome("attempt that came too soon")
        with unit_of_work(house.database, SilentBell()) as session:
            sign_in.forget_attempt(session, attempt)
        raise
    note_outcome("account")


def _own_id(person: Person) -> str:
    if person.account_id is None:
        raise RecordNotFound("account", person.name)
    return str(person.account_id)


def _person_wire(person: Person) -> PersonWire:
    return PersonWire(
        name=person.name,
        account_id=person.account_id,
        administrator=person.administrator,
        scope=person.scope,
        local=person.account_id is None,
    )

"""People: accounts, the sessions and tokens by which they are known, and who is asking."""

from __future__ import annotations

import hashlib
import re
import secrets
import threading
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.models import Account, ApiToken, SignIn
from app.db.session import database_now
from app.errors import (
    AccountRefused,
    LastOwner,
    NameTaken,
    NotInAnothersName,
    RecordNotFound,
    RoleMissing,
    SignedByAnother,
)
from app.names import Role, Scope
from app.services import leases
from app.services.lookup import find_row
from app.services.paging import ALL, Listed, Span, list_rows

if TYPE_CHECKING:
    from argon2 import PasswordHasher

TOKEN_PREFIX = "nxs_"  # noqa: S105 - by which scanners of repositories find a token that was leaked
PASSWORD_LENGTHS = (12, 200)
TOKEN_DAYS_AT_MOST = 366

_NAME = re.compile(r"[a-z0-9](?:[a-z0-9._@+-]{0,98}[a-z0-9])?")
_TOKEN_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9 ._-]{0,98}[A-Za-z0-9])?")
_RESERVED = frozenset({"local", "oracle"})  # the local user and the oracle sign their work with these
# A hash takes 64 MiB and a tenth of a second: a crowd at the door must not take the machine.
_hashing = threading.Semaphore(2)


@dataclass(frozen=True)
class Person:
    """Who asks, and what they may do in the project that the request is about.

    `role` and `project_id` are None where the request is about no project; `account_id` is None for the local user.
    """

    name: str
    account_id: uuid.UUID | None
    administrator: bool
    scope: Scope
    role: Role | None = None
    project_id: uuid.UUID | None = None

    def covers(self, needed: Role) -> bool:
        """True when the person's role in this project reaches."""
        return self.role is not None and self.role.covers(needed)

    def require(self, needed: Role) -> None:
        """Raises RoleMissing unless the person's role in this project reaches."""
        if not self.covers(needed):
            raise RoleMissing(needed)

    def signing_as(self, name: str | None) -> str:
        """The name under a decision: one's own; where nobody has an account, any that is given."""
        if self.account_id is not None and name not in (None, self.name):
            raise SignedByAnother(str(name))
        return name or self.name

    def acting_as(self, name: str | None) -> str:
        """The name that is signed with: one's own, or for a manager of the project the given one."""
        if name is None or name == self.name:
            return self.name
        if not self.covers(Role.MANAGER):
            raise NotInAnothersName(name)
        return name

    def entering_for(self, author: str) -> str | None:
        """Who enters what this author drew; None: the author, or somebody at a service without accounts."""
        return self.name if self.account_id is not None and author != self.name else None


LOCAL = Person("local", None, administrator=True, scope=Scope.ADMIN, role=Role.OWNER)
"""Who sits at the machine of a service without accounts: owner of everything."""


def create_account(session: Session, name: str, password: str | None, *, administrator: bool = False) -> Account:
    """A new account; without a password it can sign in by token only."""
    if not _NAME.fullmatch(name) or name in _RESERVED:
        rule = "1 to 100 lower-case letters, digits and ._@+-, not 'local' or 'oracle'"
        raise AccountRefused("name of an account", rule)
    if session.scalar(select(Account.id).where(Account.name == name)) is not None:
        raise NameTaken("an account", name)
    hashed = None if password is None else hash_password(password)
    account = Account(name=name, password_hash=hashed, administrator=administrator)
    session.add(account)
    session.flush()
    return account


def find_account(session: Session, reference: str) -> Account:
    """The account with this name or id; raises RecordNotFound."""
    account = session.scalar(select(Account).where(Account.name == reference))
    return account or find_row(session, Account, "account", reference)


def list_accounts(session: Session, span: Span = ALL) -> Listed[Account]:
    """All accounts by name."""
    return list_rows(session, select(Account), [Account.name], span)


def change_account(
    session: Session, account: Account, *, disabled: bool | None = None, administrator: bool | None = None
) -> Account:
    """Disable or enable an account, make or unmake an administrator; raises LastOwner for the last administrator.

    Who is disabled holds no lease any more.
    """
    loses = bool(disabled) or administrator is False
    if loses and account.administrator and not account.disabled:
        others = select(Account.id).where(Account.administrator, ~Account.disabled, Account.id != account.id)
        # Locked, so that of two administrators who demote each other at once only one succeeds.
        session.scalars(select(Account.id).where(Account.administrator).order_by(Account.id).with_for_update()).all()
        if session.scalar(others.limit(1)) is None:
            raise LastOwner("the service")
    if disabled is not None:
        account.disabled = disabled
    if administrator is not None:
        account.administrator = administrator
    if account.disabled:
        session.execute(delete(SignIn).where(SignIn.account_id == account.id))
        leases.release_all(session, account.name)
    return account


def set_password(session: Session, account: Account, password: str) -> None:
    """A new password; whoever is signed in by the old one is signed out."""
    account.password_hash = hash_password(password)
    session.execute(delete(SignIn).where(SignIn.account_id == account.id))


def hash_password(password: str) -> str:
    """The argon2id hash of a password of a fitting length."""
    shortest, longest = PASSWORD_LENGTHS
    if not shortest <= len(password) <= longest:
        raise AccountRefused("password", f"{shortest} to {longest} characters long")
    with _hashing:
        return _hasher().hash(password.encode("utf-8", "surrogatepass"))


def is_password(account: Account | None, password: str) -> bool:
    """Whether this is the account's password; it takes as long for an account that does not exist."""
    from argon2.exceptions import InvalidHashError, VerificationError

    known = account is not None and account.password_hash is not None and not account.disabled
    stored = account.password_hash if known and account is not None else None
    with _hashing:
        try:
            _hasher().verify(stored or _nobodys_hash(), password.encode("utf-8", "surrogatepass"))
        except (VerificationError, InvalidHashError):
            return False
    return stored is not None


def open_session(session: Session, account: Account, length_s: float) -> str:
    """Sign an account in; gives the secret of the cookie, of which only the hash is kept."""
    secret, now = secrets.token_urlsafe(32), database_now(session)
    session.execute(delete(SignIn).where(SignIn.until < now))
    session.add(SignIn(account_id=account.id, token_hash=_digest(secret), until=now + timedelta(seconds=length_s)))
    return secret


def close_session(session: Session, secret: str) -> None:
    """Sign out."""
    session.execute(delete(SignIn).where(SignIn.token_hash == _digest(secret)))


def create_token(session: Session, account: Account, name: str, scope: Scope, days: int) -> tuple[ApiToken, str]:
    """A new token and its secret, which is not kept and cannot be shown again."""
    if not _TOKEN_NAME.fullmatch(name):
        raise AccountRefused("name of a token", "1 to 100 letters, digits, spaces and ._-")
    if not 1 <= days <= TOKEN_DAYS_AT_MOST:
        raise AccountRefused("life of a token", f"1 to {TOKEN_DAYS_AT_MOST} days")
    if session.scalar(select(ApiToken.id).where(ApiToken.account_id == account.id, ApiToken.name == name)) is not None:
        raise NameTaken("a token", name)
    secret = TOKEN_PREFIX + secrets.token_urlsafe(32)
    until = database_now(session) + timedelta(days=days)
    token = ApiToken(account_id=account.id, name=name, scope=scope, token_hash=_digest(secret), until=until)
    session.add(token)
    session.flush()
    return token, secret


def account_names(session: Session, ids: Sequence[uuid.UUID]) -> dict[uuid.UUID, str]:
    """Account id -> name."""
    rows = session.execute(select(Account.id, Account.name).where(Account.id.in_(ids)))
    return {row[0]: row[1] for row in rows}


def list_tokens(session: Session, account_id: uuid.UUID | None, span: Span = ALL) -> Listed[ApiToken]:
    """An account's tokens by name, expired ones among them."""
    return list_rows(session, select(ApiToken).where(ApiToken.account_id == account_id), [ApiToken.name], span)


def revoke_token(session: Session, account_id: uuid.UUID | None, reference: str) -> None:
    """End a token of this account; another's is not found."""
    token = find_row(session, ApiToken, "token", reference)
    if token.account_id != account_id:
        raise RecordNotFound("token", reference)
    session.delete(token)


def person_of_session(session: Session, secret: str) -> Person | None:
    """Whose cookie this is; None where it is forged or expired, or the account disabled."""
    row = session.execute(
        select(Account, SignIn.until)
        .join(SignIn, SignIn.account_id == Account.id)
        .where(SignIn.token_hash == _digest(secret))
    ).one_or_none()
    return None if row is None else _person(session, row[0], row[1], Scope.ADMIN)


def person_of_token(session: Session, secret: str) -> Person | None:
    """Whose token this is; None where it is forged or expired, or the account disabled."""
    row = session.execute(
        select(Account, ApiToken.until, ApiToken.scope)
        .join(ApiToken, ApiToken.account_id == Account.id)
        .where(ApiToken.token_hash == _digest(secret))
    ).one_or_none()
    return None if row is None else _person(session, row[0], row[1], Scope(row[2]))


def person_of_account(account: Account) -> Person:
    """The holder of an account, who has just signed in."""
    return Person(account.name, account.id, account.administrator, Scope.ADMIN)


def count_accounts(session: Session) -> int:
    """How many accounts there are."""
    return session.scalars(select(func.count()).select_from(Account)).one()


def _person(session: Session, account: Account, until: datetime, scope: Scope) -> Person | None:
    if account.disabled or until <= database_now(session):
        return None
    return Person(account.name, account.id, account.administrator, scope)


def _digest(secret: str) -> str:
    # 256 random bits need no slow hash, and a lookup by hash tells nothing by its duration.
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


@lru_cache(maxsize=1)
def _hasher() -> PasswordHasher:
    from argon2 import PasswordHasher

    return PasswordHasher()


@lru_cache(maxsize=1)
def _nobodys_hash() -> str:
    return _hasher().hash(secrets.token_bytes(16))

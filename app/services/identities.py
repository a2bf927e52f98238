"""Whose account somebody may enter whom a provider vouches for, and the sign-ins that were begun there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.db.models import Account, ExternalIdentity, SignInFlow
from app.db.session import database_now
from app.errors import AccountRefused, IdentityUnknown, NameTaken, SignInNotBegun, TooManySignIns
from app.oidc import SUBJECT_LENGTH, Flow, Identity
from app.services.people import create_account

FLOW_S = 600.0
FLOWS_OF_ADDRESS = 100  # begun and not ended within FLOW_S: a hospital may sit behind one address

Policy = Literal["linked", "email", "create"]


@dataclass(frozen=True)
class Entry:
    """The account that was found, and how: known, linked or made."""

    account: Account
    how: Literal["known", "linked", "made"]


def refuse_too_many_flows(session: Session, address: str) -> None:
    """Raises TooManySignIns when too many sign-ins from this address wait for their end."""
    waiting = select(func.count()).where(SignInFlow.address == address[:64], SignInFlow.until > database_now(session))
    if session.scalars(waiting).one() >= FLOWS_OF_ADDRESS:
        raise TooManySignIns(int(FLOW_S))


def keep_flow(session: Session, flow: Flow, address: str) -> None:
    """Remember a sign-in that was begun; those that are too old are forgotten."""
    now = database_now(session)
    session.execute(delete(SignInFlow).where(SignInFlow.until <= now))
    session.add(
        SignInFlow(
            state_hash=_digest(flow.state),
            nonce=flow.nonce,
            verifier=flow.verifier,
            address=address[:64],
            until=now + timedelta(seconds=FLOW_S),
        )
    )


def take_flow(session: Session, state: str) -> tuple[str, str]:
    """(nonce, verifier) of the sign-in with this state, which then is used up; raises SignInNotBegun."""
    # One statement: of two answers with one state only one finds it.
    found = session.execute(
        delete(SignInFlow)
        .where(SignInFlow.state_hash == _digest(state), SignInFlow.until > database_now(session))
        .returning(SignInFlow.nonce, SignInFlow.verifier)
    ).one_or_none()
    if found is None:
        raise SignInNotBegun
    return found[0], found[1]


def enter(session: Session, identity: Identity, policy: Policy) -> Entry:
    """The account of an identity; raises IdentityUnknown unless the policy lets it in.

    An address counts once: an account that is linked already is not given to another subject with the same address,
    as addresses are handed on and subjects are not.
    """
    known = session.scalar(
        select(Account)
        .join(ExternalIdentity, ExternalIdentity.account_id == Account.id)
        .where(ExternalIdentity.issuer == identity.issuer, ExternalIdentity.subject == identity.subject)
    )
    if known is not None:
        return Entry(_open(known, identity), "known")
    if policy == "linked" or not identity.verified_email:
        raise IdentityUnknown(identity.subject)
    named = session.scalar(select(Account).where(Account.name == identity.verified_email))
    if named is not None:
        if _subject_of(session, named, identity.issuer) is not None:
            raise IdentityUnknown(identity.subject)
        link_identity(session, _open(named, identity), identity.issuer, identity.subject)
        return Entry(named, "linked")
    if policy != "create":
        raise IdentityUnknown(identity.subject)
    made = create_account(session, identity.verified_email, None)
    link_identity(session, made, identity.issuer, identity.subject)
    return Entry(made, "made")


def link_identity(session: Session, account: Account, issuer: str, subject: str) -> None:
    """Let this subject of the provider into the account, in place of any other; raises NameTaken, AccountRefused."""
    if not 0 < len(subject) <= SUBJECT_LENGTH:
        raise AccountRefused("subject", f"1 to {SUBJECT_LENGTH} characters long")
    other = session.scalar(
        select(ExternalIdentity).where(ExternalIdentity.issuer == issuer, ExternalIdentity.subject == subject)
    )
    if other is not None and other.account_id != account.id:
        raise NameTaken("an account of the subject", subject)
    unlink_identity(session, account, issuer)
    session.add(ExternalIdentity(account_id=account.id, issuer=issuer, subject=subject))
    session.flush()


def unlink_identity(session: Session, account: Account, issuer: str) -> None:
    """Let nobody of this provider into the account any more."""
    session.execute(
        delete(ExternalIdentity).where(ExternalIdentity.account_id == account.id, ExternalIdentity.issuer == issuer)
    )


def _open(account: Account, identity: Identity) -> Account:
    if account.disabled:
        raise IdentityUnknown(identity.subject)
    return account


def _subject_of(session: Session, account: Account, issuer: str) -> str | None:
    return session.scalar(
        select(ExternalIdentity.subject).where(
            ExternalIdentity.account_id == account.id, ExternalIdentity.issuer == issuer
        )
    )


def _digest(state: str) -> str:
    return hashlib.sha256(state.encode("utf-8", "surrogatepass")).hexdigest()

"""Commands on the server's own database: the first account is made here, where no one can sign in yet.

What reaches the database is imported when a command runs, so that the other commands start without it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from app.errors import ProviderNotConfigured
from app.names import Scope
from app.settings import settings

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from app.db.session import Database

user_commands = typer.Typer(no_args_is_help=True, help="Accounts, on the database of this server.")
token_commands = typer.Typer(no_args_is_help=True, help="Tokens for programs, on the database of this server.")

Name = Annotated[str, typer.Argument(help="Name of the account.")]


@user_commands.command("add")
def add_user(
    name: Name,
    administrator: Annotated[bool, typer.Option("--administrator", help="May do everything, everywhere.")] = False,
    no_password: Annotated[bool, typer.Option("--no-password", help="Signs in by tokens only.")] = False,
) -> None:
    """Make an account; the password is asked for, or read as a line where there is no terminal."""
    from app.services import people

    password = None if no_password else _ask_password()
    with _writing("user add", name) as session:
        people.create_account(session, name, password, administrator=administrator)
    typer.echo(f"Account {name} is made.")


@user_commands.command("list")
def list_users() -> None:
    """List the accounts."""
    from app.services import people

    with _database() as database, database.reading() as session:
        for account in people.list_accounts(session):
            marks = [
                mark
                for mark, holds in (("administrator", account.administrator), ("disabled", account.disabled))
                if holds
            ]
            typer.echo("\t".join([account.name, *marks]))


@user_commands.command("disable")
def disable_user(name: Name) -> None:
    """Sign an account out and keep it out; what it made stays."""
    from app.services import people

    with _writing("user disable", name) as session:
        people.change_account(session, people.find_account(session, name), disabled=True)
    typer.echo(f"Account {name} is disabled.")


@user_commands.command("password")
def change_password(name: Name) -> None:
    """Give an account a new password."""
    from app.services import people

    password = _ask_password()
    with _writing("user password", name) as session:
        people.set_password(session, people.find_account(session, name), password)
    typer.echo(f"Account {name} has a new password.")


@user_commands.command("link")
def link_user(
    name: Name, subject: Annotated[str, typer.Argument(help="`sub` of the person at the provider of the settings.")]
) -> None:
    """Let a subject of the OpenID Connect provider sign in as this account, in place of any other."""
    from app.services import identities, people

    issuer = _issuer()
    with _writing("user link", name) as session:
        identities.link_identity(session, people.find_account(session, name), issuer, subject)
    typer.echo(f"Account {name} is linked.")


@user_commands.command("unlink")
def unlink_user(name: Name) -> None:
    """Let nobody of the OpenID Connect provider sign in as this account."""
    from app.services import identities, people

    issuer = _issuer()
    with _writing("user unlink", name) as session:
        identities.unlink_identity(session, people.find_account(session, name), issuer)
    typer.echo(f"Account {name} is not linked any more.")


@token_commands.command("create")
def create_token(
    account: Name,
    name: Annotated[str, typer.Argument(help="What the token is for.")],
    scope: Annotated[Scope, typer.Option()] = Scope.READ,
    days: Annotated[int, typer.Option(help="How long it holds.")] = 90,
) -> None:
    """Make a token; its secret is printed once."""
    from app.services import people

    with _writing("token create", account) as session:
        _, secret = people.create_token(session, people.find_account(session, account), name, scope, days)
    typer.echo(secret)


@token_commands.command("revoke")
def revoke_token(account: Name, name: Annotated[str, typer.Argument(help="Name of the token.")]) -> None:
    """End a token."""
    from app.services import people

    with _writing("token revoke", account) as session:
        owner = people.find_account(session, account)
        found = {token.name: str(token.id) for token in people.list_tokens(session, owner.id)}
        people.revoke_token(session, owner.id, found.get(name, name))
    typer.echo(f"Token {name} is revoked.")


@contextmanager
def _database() -> Iterator[Database]:
    from app.db.migrate import migrate
    from app.db.session import Database

    database = Database(settings().database)
    migrate(database)
    yield database
    database.dispose()


@contextmanager
def _writing(action: str, name: str) -> Iterator[Session]:
    from app.db.audit import Trace, traced
    from app.outbox import SilentBell, unit_of_work

    trace = Trace("command line", None, f"nextslice {action}", f"account {name}", None, "", "")
    with _database() as database, traced(trace), unit_of_work(database, SilentBell()) as session:
        yield session


def _issuer() -> str:
    if not settings().oidc_issuer:
        raise ProviderNotConfigured
    return settings().oidc_issuer


def _ask_password() -> str:
    if sys.stdin.isatty():
        password: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return password
    return sys.stdin.readline().rstrip("\n")

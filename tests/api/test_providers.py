"""Signing in through an OpenID Connect provider: who comes in, who does not, and what is not believed."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey
from sqlalchemy import func, select, update

from app.db.models import Account, AuditEvent, ExternalIdentity, SignInFlow
from app.db.session import Database, database_now
from app.embedded import running_service
from app.errors import NameTaken, ProviderSettingsRefused
from app.main import create_app
from app.outbox import SilentBell, unit_of_work
from app.services import identities, people
from app.settings import Settings
from tests.api.conftest import on_sqlite
from tests.api.provider import CLIENT_ID, CLIENT_SECRET, Claims, Provider
from tests.rows import refusing_audit_rows

ANNA = {"sub": "subject-1", "email": "Anna@ward.example", "email_verified": True}


@dataclass
class Entrance:
    """A service with accounts and a provider beside it."""

    url: str
    provider: Provider
    database: Database

    @contextmanager
    def browser(self) -> Iterator[httpx.Client]:
        with httpx.Client(base_url=self.url, headers={"Origin": self.url}) as browser:
            yield browser

    def visit_provider(self, browser: httpx.Client) -> dict[str, str]:
        """Leave for the provider; gives what it sends the browser back with."""
        begun = browser.post("/v1/auth/provider/begin")
        assert begun.status_code == 200, begun.text
        sent_back = httpx.get(begun.json()["url"])
        assert sent_back.status_code == 302
        return {name: values[0] for name, values in parse_qs(urlsplit(sent_back.headers["location"]).query).items()}

    def sign_in(self, browser: httpx.Client) -> httpx.Response:
        return browser.post("/v1/auth/provider/complete", json=self.visit_provider(browser))

    def code_of_refusal(self) -> tuple[int, str]:
        """(status, code) of a sign-in that fails, which leaves nobody signed in."""
        with self.browser() as browser:
            answer = self.sign_in(browser)
            assert answer.headers["content-type"] == "application/problem+json", answer.text
            assert browser.get("/v1/me").status_code == 401
            return answer.status_code, answer.json()["code"]

    def add_account(self, name: str, subject: str | None = None, **fields: Any) -> None:
        with unit_of_work(self.database, SilentBell()) as session:
            account = people.create_account(session, name, None, **fields)
            if subject is not None:
                identities.link_identity(session, account, self.provider.issuer, subject)


def knobs_for(provider: Provider, home: Path, database_url: str, **changes: Any) -> Settings:
    given: dict[str, Any] = {
        "home": home,
        "port": 0,
        "database_url": database_url,
        "sign_in": "accounts",
        "public_url": "http://127.0.0.1:9",
        "oidc_issuer": provider.issuer,
        "oidc_client_id": CLIENT_ID,
        "oidc_client_secret": CLIENT_SECRET,
    }
    return Settings(**(given | changes))


@pytest.fixture
def policy() -> str:
    return "create"


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider(dict(ANNA), redirect_uri="http://127.0.0.1:9/signed-in.html")
    yield made
    made.stop()


@pytest.fixture
def entrance(database: Database, tmp_path: Path, provider: Provider, policy: str) -> Iterator[Entrance]:
    knobs = knobs_for(provider, tmp_path / "home", database.url, oidc_accounts=policy)
    with running_service(knobs, queues=()) as url:
        yield Entrance(url, provider, database)


def with_policy(word: str) -> Any:
    return pytest.mark.parametrize("policy", [word])


def test_a_first_sign_in_makes_an_account_without_rights_and_the_next_one_finds_it(entrance: Entrance) -> None:
    for _ in range(2):
        with entrance.browser() as browser:
            answer = entrance.sign_in(browser)
            assert answer.status_code == 200, answer.text
            assert (answer.json()["name"], answer.json()["administrator"]) == ("anna@ward.example", False)
            cookies = [each.lower() for each in answer.headers.get_list("set-cookie") if "nextslice_session" in each]
            assert all("httponly" in each and "samesite=strict" in each for each in cookies)
            assert browser.get("/v1/me").json()["name"] == "anna@ward.example"
            assert browser.get("/v1/projects").json()["items"] == []
    with entrance.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Account)).one() == 1
        assert session.scalars(select(func.count()).select_from(SignInFlow)).one() == 0
        rows = [(row.actor, row.action, row.object) for row in session.scalars(select(AuditEvent))]
    issuer, complete = entrance.provider.issuer, "POST /v1/auth/provider/complete"
    assert rows.count(("anna@ward.example", complete, f"account made through {issuer}")) == 1
    assert rows.count(("anna@ward.example", complete, f"account known through {issuer}")) == 1
    assert rows.count(("", complete, "attempt")) == 2


@on_sqlite
def test_a_sign_in_is_neither_begun_nor_ended_without_its_audit_row(entrance: Entrance) -> None:
    def count(table: Any) -> int:
        with entrance.database.reading() as session:
            return session.scalars(select(func.count()).select_from(table)).one()

    with entrance.browser() as browser:
        with refusing_audit_rows(entrance.database):
            assert browser.post("/v1/auth/provider/begin").status_code >= 400
        assert count(SignInFlow) == 0
        sent_back = entrance.visit_provider(browser)
        noted = count(AuditEvent)
        with refusing_audit_rows(entrance.database):
            assert browser.post("/v1/auth/provider/complete", json=sent_back).status_code >= 400
        assert (count(SignInFlow), count(Account), count(AuditEvent)) == (1, 0, noted)
        assert browser.get("/v1/me").status_code == 401
        assert browser.post("/v1/auth/provider/complete", json=sent_back).status_code == 200, "nothing was used up"


@pytest.mark.parametrize("algorithm", ["ES256", "PS256"])
def test_other_kinds_of_keys_and_a_client_without_a_secret(
    sqlite_url: str, tmp_path: Path, provider: Provider, algorithm: str
) -> None:
    provider.algorithm, provider.public = algorithm, True
    if algorithm == "ES256":
        provider.key = ECKey.generate_key("P-256", {"kid": "one"})
    knobs = knobs_for(provider, tmp_path / "home", sqlite_url, oidc_client_secret="", oidc_accounts="create")
    database = Database(sqlite_url)
    with running_service(knobs, queues=()) as url:
        entrance = Entrance(url, provider, database)
        with entrance.browser() as browser:
            assert entrance.sign_in(browser).status_code == 200
    database.dispose()


# --- who may come in --------------------------------------------------------------------------------------------------


@on_sqlite
@with_policy("linked")
def test_by_default_only_who_was_linked_comes_in(entrance: Entrance) -> None:
    assert Settings().oidc_accounts == "linked"
    entrance.add_account("anna@ward.example")
    assert entrance.code_of_refusal() == (403, "identity-unknown")
    with unit_of_work(entrance.database, SilentBell()) as session:
        account = people.find_account(session, "anna@ward.example")
        identities.link_identity(session, account, entrance.provider.issuer, "subject-1")
    with entrance.browser() as browser:
        assert entrance.sign_in(browser).status_code == 200
    with unit_of_work(entrance.database, SilentBell()) as session:
        identities.unlink_identity(session, people.find_account(session, "anna@ward.example"), entrance.provider.issuer)
    assert entrance.code_of_refusal() == (403, "identity-unknown")


@on_sqlite
@with_policy("email")
def test_a_verified_address_finds_its_account_once(entrance: Entrance) -> None:
    assert entrance.code_of_refusal() == (403, "identity-unknown")  # nobody has this name
    entrance.add_account("anna@ward.example")
    with entrance.browser() as browser:
        assert entrance.sign_in(browser).json()["name"] == "anna@ward.example"
    entrance.provider.who["sub"] = "subject-2"  # the address was handed on to somebody else
    assert entrance.code_of_refusal() == (403, "identity-unknown")


@on_sqlite
def test_an_address_that_is_not_vouched_for_opens_nothing(entrance: Entrance) -> None:
    entrance.add_account("anna@ward.example")
    for word in (False, None, "true", 1):
        entrance.provider.misbehave = {"email_verified": word}
        assert entrance.code_of_refusal() == (403, "identity-unknown"), word
    with entrance.database.reading() as session:
        assert session.scalars(select(func.count()).select_from(Account)).one() == 1
        assert session.scalars(select(func.count()).select_from(ExternalIdentity)).one() == 0


@on_sqlite
def test_a_disabled_account_stays_closed_however_it_is_found(entrance: Entrance) -> None:
    entrance.add_account("head", administrator=True)
    entrance.add_account("anna@ward.example", "subject-1")
    with unit_of_work(entrance.database, SilentBell()) as session:
        people.change_account(session, people.find_account(session, "anna@ward.example"), disabled=True)
    assert entrance.code_of_refusal() == (403, "identity-unknown")
    entrance.provider.who["sub"] = "subject-2"
    assert entrance.code_of_refusal() == (403, "identity-unknown")


@on_sqlite
def test_an_address_that_is_no_name_of_an_account_is_refused(entrance: Entrance) -> None:
    entrance.provider.who["email"] = 'a"b@ward.example'
    assert entrance.code_of_refusal() == (422, "account-refused")


@on_sqlite
def test_a_subject_has_one_account(entrance: Entrance) -> None:
    entrance.add_account("anna", "subject-1")
    with pytest.raises(NameTaken):
        entrance.add_account("berta", "subject-1")


# --- what is not believed ---------------------------------------------------------------------------------------------


FALSE_CLAIMS: tuple[Claims, ...] = (
    {"nonce": "another"},
    {"nonce": None},
    {"aud": "another-service"},
    {"aud": [CLIENT_ID, "another-service"]},  # without a word on whom it was made for
    {"aud": None},
    {"azp": "another-service"},
    {"iss": "http://127.0.0.1:1/realm"},
    {"iss": None},
    {"exp": int(time.time()) - 3600},
    {"exp": None},
    {"exp": "never"},
    {"iat": int(time.time()) + 3600},
    {"nbf": int(time.time()) + 3600},
    {"sub": None},
    {"sub": ""},
    {"sub": 7},
    {"sub": "s" * 256},
    {"at_hash": "of-another-token"},
)


@on_sqlite
def test_a_claim_that_is_not_as_it_should_be_is_refused(entrance: Entrance) -> None:
    for claims in FALSE_CLAIMS:
        entrance.provider.misbehave = claims
        assert entrance.code_of_refusal() == (401, "identity-refused"), claims


def _by_another_key(provider: Provider, claims: Claims) -> str:
    return provider.sign(claims, RSAKey.generate_key(2048, {"kid": "one"}))


def _by_nobody(_provider: Provider, claims: Claims) -> str:
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).decode().rstrip("=") for each in parts) + "."


def _by_the_shared_secret(_provider: Provider, claims: Claims) -> str:
    return jwt.encode({"alg": "HS256"}, claims, OctKey.import_key(CLIENT_SECRET), algorithms=["HS256"])


def _changed_afterwards(provider: Provider, claims: Claims) -> str:
    head, _, signature = provider.sign(claims, provider.key).split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims | {"sub": "head"}).encode()).decode().rstrip("=")
    return f"{head}.{body}.{signature}"


def _by_an_unknown_key(provider: Provider, claims: Claims) -> str:
    return jwt.encode({"alg": "RS256", "kid": "two"}, claims, provider.key, algorithms=["RS256"])


def _garbage(_provider: Provider, _claims: Claims) -> str:
    return "a.b.c"


@on_sqlite
def test_a_forged_signature_is_refused(entrance: Entrance) -> None:
    ways = (_by_another_key, _by_nobody, _by_the_shared_secret, _changed_afterwards, _by_an_unknown_key, _garbage)
    for entrance.provider.forge in ways:
        assert entrance.code_of_refusal() == (401, "identity-refused"), entrance.provider.forge


def test_a_state_is_good_once_and_in_the_browser_that_began(entrance: Entrance) -> None:
    path = "/v1/auth/provider/complete"
    with entrance.browser() as browser, entrance.browser() as another:
        sent = entrance.visit_provider(browser)
        for given in (sent | {"state": "forged"}, sent | {"state": ""}, sent | {"state": "\ud800"}):
            packed = json.dumps(given).encode()
            answer = browser.post(path, content=packed, headers={"Content-Type": "application/json"})
            assert answer.status_code in {401, 422}
        answer = another.post(path, json=sent)  # somebody is made to end another's sign-in
        assert (answer.status_code, answer.json()["code"]) == (401, "sign-in-not-begun")
        elsewhere = browser.post(path, json=sent, headers={"Origin": "http://evil.example"})
        assert elsewhere.json()["code"] == "cross-site-request"
        kept = dict(browser.cookies)
        assert browser.post(path, json=sent).status_code == 200
        again = httpx.post(entrance.url + path, json=sent, cookies=kept, headers={"Origin": entrance.url})
        assert (again.status_code, again.json()["code"]) == (401, "sign-in-not-begun")


@on_sqlite
def test_a_sign_in_that_took_too_long_is_begun_again(entrance: Entrance) -> None:
    with entrance.browser() as browser:
        sent = entrance.visit_provider(browser)
        with unit_of_work(entrance.database, SilentBell()) as session:
            session.execute(update(SignInFlow).values(until=database_now(session)))
        answer = browser.post("/v1/auth/provider/complete", json=sent)
        assert (answer.status_code, answer.json()["code"]) == (401, "sign-in-not-begun")


@on_sqlite
def test_what_the_provider_refuses_is_told(entrance: Entrance) -> None:
    for changed in ({"code": "forged"}, {"code": "", "error": "access_denied"}, {"code": ""}):
        with entrance.browser() as browser:
            answer = browser.post("/v1/auth/provider/complete", json=entrance.visit_provider(browser) | changed)
            assert (answer.status_code, answer.json()["code"]) == (401, "provider-refused")
            assert (changed.get("error") or "") in answer.json()["detail"]


@on_sqlite
def test_sign_ins_that_nobody_ends_are_limited(entrance: Entrance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identities, "FLOWS_OF_ADDRESS", 2)
    with entrance.browser() as browser:
        assert [browser.post("/v1/auth/provider/begin").status_code for _ in range(3)] == [200, 200, 429]


# --- the provider itself ----------------------------------------------------------------------------------------------


@on_sqlite
def test_a_provider_that_is_away_or_talks_nonsense_is_told_and_passwords_go_on(entrance: Entrance) -> None:
    with unit_of_work(entrance.database, SilentBell()) as session:
        people.create_account(session, "head", "correct horse battery")
    with entrance.browser() as browser:
        sent = entrance.visit_provider(browser)
        for document, status in (
            ({"issuer": "http://127.0.0.1:1/realm"}, 200),
            ({"token_endpoint": None}, 200),
            ({"jwks_uri": "http://elsewhere.example/keys"}, 200),
            ({}, 500),
            ({}, 404),
        ):
            entrance.provider.document, entrance.provider.status = document, status
            answer = browser.post("/v1/auth/provider/begin")
            assert (answer.status_code, answer.json()["code"]) == (503, "provider-unreachable"), document
        entrance.provider.stop()
        for answer in (
            browser.post("/v1/auth/provider/complete", json=sent),
            browser.post("/v1/auth/provider/begin"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "provider-unreachable")
            assert answer.headers["retry-after"]
        given = {"name": "head", "password": "correct horse battery"}
        assert browser.post("/v1/auth/login", json=given).status_code == 200
        assert browser.get("/readyz").status_code == 200


@on_sqlite
def test_without_a_provider_there_is_no_such_way(database: Database, tmp_path: Path) -> None:
    knobs = Settings(home=tmp_path / "home", port=0, database_url=database.url, sign_in="accounts")
    with running_service(knobs, queues=()) as url:
        assert httpx.get(f"{url}/v1/auth/provider").json() == {"configured": False, "name": ""}
        for step, body in (("begin", None), ("complete", {"state": "s", "code": "c"})):
            answer = httpx.post(f"{url}/v1/auth/provider/{step}", json=body)
            assert (answer.status_code, answer.json()["code"]) == (404, "provider-not-configured")


@pytest.mark.parametrize(
    "changes",
    [
        {"sign_in": "local"},
        {"oidc_client_id": ""},
        {"public_url": ""},
        {"oidc_issuer": "http://provider.example/realm"},
        {"oidc_issuer": "provider.example"},
    ],
)
def test_settings_that_contradict_each_other_do_not_start(
    provider: Provider, tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ProviderSettingsRefused):
        create_app(knobs_for(provider, tmp_path, "", **changes))


def test_a_service_starts_without_the_libraries_of_sign_in() -> None:
    look = "import sys, app.main; print([m for m in ('authlib', 'joserfc', 'cryptography') if m in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"


def test_a_subject_is_linked_on_the_command_line(tmp_path: Path) -> None:
    def command(*words: str, issuer: str = "https://provider.example") -> str:
        environment = {"NEXTSLICE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path)}
        line = [sys.executable, "-m", "app.cli", "user", *words]
        ran = subprocess.run(
            line, env=environment | {"NEXTSLICE_OIDC_ISSUER": issuer}, capture_output=True, text=True, check=False
        )
        return f"{ran.returncode} {ran.stdout}{ran.stderr}"

    assert command("add", "anna", "--no-password").startswith("0")
    assert command("link", "anna", "subject-1", issuer="").startswith("1 nextslice: This service signs nobody in")
    assert command("link", "anna", "s" * 256).startswith("1 nextslice: The subject must be")
    assert command("link", "anna", "subject-1").startswith("0 Account anna is linked.")
    assert command("unlink", "anna").startswith("0 Account anna is not linked any more.")

"""What is said to an OpenID Connect provider: the authorization-code flow with PKCE, and how its answer is judged.

OpenID Connect Core 1.0, Discovery 1.0, RFC 7636. Nothing of a provider is kept between two sign-ins, so a key that it
has changed is known at once. Authlib builds the requests and judges the claims, joserfc the signature, httpx carries
them; all are imported when somebody signs in, so that the service starts without them.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from app.errors import IdentityRefused, ProviderRefused, ProviderSettingsRefused, ProviderUnreachable
from app.settings import Settings

if TYPE_CHECKING:
    import httpx
    from joserfc.jwk import KeySet
    from joserfc.jwt import Token

RETURN_PAGE = "/signed-in.html"
"""The page that a provider sends the browser back to; `public_url` stands before it."""

TIMEOUT_S = 5.0
LEEWAY_S = 30  # by which clocks may differ
SUBJECT_LENGTH = 255  # OpenID Connect Core 1.0, section 2
# Signatures by the provider's private key only: neither none, nor one made with a secret that is known here too.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")


@dataclass(frozen=True)
class Flow:
    """A sign-in that was begun: where the browser goes, and what must come back."""

    url: str
    state: str
    nonce: str
    verifier: str  # of PKCE


@dataclass(frozen=True)
class Identity:
    """Who signs in, by a word of the provider that was found to be true."""

    issuer: str
    subject: str
    verified_email: str  # lower case; empty where the provider does not vouch for it


def check_provider_settings(knobs: Settings) -> None:
    """Raises ProviderSettingsRefused when a provider is named and cannot be used as it is."""
    if not knobs.oidc_issuer:
        return
    if not knobs.has_accounts:
        raise ProviderSettingsRefused("accounts: set NEXTSLICE_SIGN_IN=accounts")
    if not knobs.oidc_client_id:
        raise ProviderSettingsRefused("NEXTSLICE_OIDC_CLIENT_ID")
    if not knobs.public_url:
        raise ProviderSettingsRefused("NEXTSLICE_PUBLIC_URL, which the provider sends browsers back to")
    if not _is_private_road(knobs.oidc_issuer):
        raise ProviderSettingsRefused("an issuer whose URL begins with https://")
    if find_spec("authlib") is None or find_spec("joserfc") is None:
        raise ProviderSettingsRefused("packages that are not installed; install nextslice[oidc]")


def begin_flow(knobs: Settings) -> Flow:
    """A new sign-in; raises ProviderUnreachable."""
    from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
    from authlib.oauth2.rfc7636 import create_s256_code_challenge

    metadata = _discover(knobs.oidc_issuer)
    state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
    url: str = prepare_grant_uri(
        metadata["authorization_endpoint"],
        client_id=knobs.oidc_client_id,
        response_type="code",
        redirect_uri=_return_url(knobs),
        scope="openid email",
        state=state,
        nonce=nonce,
        code_challenge=create_s256_code_challenge(verifier),
        code_challenge_method="S256",
    )
    return Flow(url, state, nonce, verifier)


def redeem_code(knobs: Settings, code: str, nonce: str, verifier: str) -> Identity:
    """Who signs in; raises ProviderUnreachable, ProviderRefused or IdentityRefused."""
    metadata = _discover(knobs.oidc_issuer)
    answer = _exchange(knobs, metadata, code, verifier)
    id_token = answer.get("id_token")
    if not isinstance(id_token, str):
        raise IdentityRefused("it holds no ID token")
    token = _verify_signature(id_token, metadata["jwks_uri"])
    return _judge_claims(knobs, token, nonce, answer.get("access_token"))


def _discover(issuer: str) -> Mapping[str, str]:
    from authlib.oidc.discovery import get_well_known_url

    what = "description of itself"
    found = _fetch(get_well_known_url(issuer, external=True), what)
    # Exactly: another provider's document must not be taken for this one's (Discovery 1.0, section 4.3).
    if found.get("issuer") != issuer:
        raise ProviderUnreachable(what, f"it calls itself {str(found.get('issuer'))[:200]!r}")
    for name in ("authorization_endpoint", "token_endpoint", "jwks_uri"):
        if not isinstance(found.get(name), str) or not _is_private_road(found[name]):
            raise ProviderUnreachable(what, f"its {name} is not an https:// address")
    return found


def _exchange(knobs: Settings, metadata: Mapping[str, Any], code: str, verifier: str) -> dict[str, Any]:
    import httpx
    from authlib.oauth2.auth import ClientAuth
    from authlib.oauth2.rfc6749.parameters import prepare_token_request

    form = prepare_token_request(
        "authorization_code", redirect_uri=_return_url(knobs), code=code, code_verifier=verifier
    )
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    proof = ClientAuth(knobs.oidc_client_id, knobs.oidc_client_secret, _way_of_proof(knobs, metadata))
    url, headers, body = proof.prepare("POST", metadata["token_endpoint"], headers, form)
    try:
        answer = httpx.post(url, headers=headers, content=body, timeout=TIMEOUT_S)
    except httpx.HTTPError as error:
        raise ProviderUnreachable("token", type(error).__name__) from None
    if answer.status_code >= 500:
        raise ProviderUnreachable("token", f"status {answer.status_code}")
    found = _json_object(answer, "token")
    if answer.status_code != 200:
        raise ProviderRefused(str(found.get("error", answer.status_code)))
    return found


def _way_of_proof(knobs: Settings, metadata: Mapping[str, Any]) -> str:
    if not knobs.oidc_client_secret:
        return "none"
    ways = metadata.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
    return "client_secret_basic" if "client_secret_basic" in ways else "client_secret_post"


def _verify_signature(id_token: str, keys_url: str) -> Token:
    from joserfc import jwt
    from joserfc.errors import JoseError

    keys = _keys(keys_url)
    try:
        return jwt.decode(id_token, keys, algorithms=ALGORITHMS)
    except (JoseError, ValueError) as error:
        raise IdentityRefused(f"its signature is not the provider's ({type(error).__name__})") from None


def _keys(url: str) -> KeySet:
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    found = _fetch(url, "set of keys")
    try:
        return KeySet.import_key_set(found)  # type: ignore[arg-type]  # judged there
    except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ProviderUnreachable("set of keys", type(error).__name__) from None


def _judge_claims(knobs: Settings, token: Token, nonce: str, access_token: object) -> Identity:
    from authlib.oidc.core import CodeIDToken
    from joserfc.errors import JoseError

    wanted = {
        "iss": {"essential": True, "value": knobs.oidc_issuer},
        "aud": {"essential": True, "value": knobs.oidc_client_id},
    }
    known = {"nonce": nonce, "client_id": knobs.oidc_client_id, "access_token": access_token}
    claims = CodeIDToken(token.claims, token.header, wanted, known)
    try:
        claims.validate(leeway=LEEWAY_S)
    except (JoseError, ValueError, TypeError) as error:
        raise IdentityRefused(str(error).rstrip(".")) from None
    subject, email = token.claims["sub"], token.claims.get("email")
    if not 0 < len(subject) <= SUBJECT_LENGTH:
        raise IdentityRefused("its subject is empty or too long")
    # The boolean true and nothing like it: what an address is worth depends on who checked it.
    vouched = token.claims.get("email_verified") is True and isinstance(email, str)
    return Identity(knobs.oidc_issuer, subject, str(email).lower() if vouched else "")


def _fetch(url: str, what: str) -> dict[str, Any]:
    import httpx

    try:
        answer = httpx.get(url, timeout=TIMEOUT_S)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ProviderUnreachable(what, type(error).__name__) from None
    if answer.status_code != 200:
        raise ProviderUnreachable(what, f"status {answer.status_code}")
    return _json_object(answer, what)


def _json_object(answer: httpx.Response, what: str) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ProviderUnreachable(what, "not a JSON object")
    return found


def _return_url(knobs: Settings) -> str:
    return knobs.public_url.rstrip("/") + RETURN_PAGE


def _is_private_road(url: str) -> bool:
    """True for https, and for http that stays on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if parts.scheme == "https":
        return bool(host)
    try:
        return parts.scheme == "http" and (host == "localhost" or ip_address(host).is_loopback)
    except ValueError:
        return False

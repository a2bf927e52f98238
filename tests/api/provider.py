"""A small OpenID Connect provider over a real socket, with keys of its own; it can be told to misbehave."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, RSAKey

CLIENT_ID, CLIENT_SECRET = "nextslice", "provider-secret-of-32-characters"
Claims = dict[str, Any]


@dataclass
class Provider:
    """Signs `who` in at once; `misbehave` changes the claims, `document` the metadata, `forge` makes the token."""

    who: Claims
    redirect_uri: str = ""
    host: str = "127.0.0.1"  # the name that it goes by
    key: RSAKey | ECKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "one", "use": "sig"}))
    algorithm: str = "RS256"
    misbehave: Claims = field(default_factory=dict)
    forge: Callable[[Provider, Claims], str] | None = None
    document: Claims = field(default_factory=dict)
    status: int = 200
    public: bool = False  # a client without a secret
    asked: list[str] = field(default_factory=list)
    _codes: dict[str, Claims] = field(default_factory=dict)

    def __post_init__(self) -> None:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, urlsplit(self.path).path, parse_qs(urlsplit(self.path).query))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                provider.answer(self, self.path, parse_qs(body))

            def log_message(self, *_: object) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    @property
    def issuer(self) -> str:
        return f"http://{self.host}:{self._server.server_address[1]}/realm"

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, request: BaseHTTPRequestHandler, path: str, given: dict[str, list[str]]) -> None:
        self.asked.append(path)
        one = {name: values[0] for name, values in given.items()}
        if self.status != 200:
            _send(request, self.status, {"error": "server_error"})
        elif path.endswith("/.well-known/openid-configuration"):
            _send(request, 200, self._metadata() | self.document)
        elif path.endswith("/keys"):
            _send(request, 200, KeySet([self.key]).as_dict(private=False))
        elif path.endswith("/authorize"):
            self._authorize(request, one)
        elif path.endswith("/token"):
            self._token(request, one)

    def _metadata(self) -> Claims:
        names = {"authorization_endpoint": "authorize", "token_endpoint": "token", "jwks_uri": "keys"}
        return {"issuer": self.issuer} | {name: f"{self.issuer}/{path}" for name, path in names.items()}

    def _authorize(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        assert asked["client_id"] == CLIENT_ID
        assert asked["response_type"] == "code"
        assert asked["redirect_uri"] == self.redirect_uri
        assert "openid" in asked["scope"].split()
        assert asked["code_challenge_method"] == "S256"
        code = secrets.token_urlsafe(16)
        self._codes[code] = {"nonce": asked["nonce"], "challenge": asked["code_challenge"]}
        request.send_response(302)
        answer = urlencode({"code": code, "state": asked["state"]})
        request.send_header("Location", f"{self.redirect_uri}?{answer}")
        request.end_headers()

    def _token(self, request: BaseHTTPRequestHandler, asked: dict[str, str]) -> None:
        issued = self._codes.pop(asked["code"], None)
        challenge = base64.urlsafe_b64encode(hashlib.sha256(asked["code_verifier"].encode()).digest()).rstrip(b"=")
        known = "Basic " + base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
        trusted = asked.get("client_id") == CLIENT_ID if self.public else request.headers["Authorization"] == known
        if issued is None or issued["challenge"] != challenge.decode() or asked["redirect_uri"] != self.redirect_uri:
            _send(request, 400, {"error": "invalid_grant"})
        elif not trusted:
            _send(request, 401, {"error": "invalid_client"})
        else:
            now = int(time.time())
            claims = {"iss": self.issuer, "aud": CLIENT_ID, "iat": now, "exp": now + 300, "nonce": issued["nonce"]}
            claims = {k: v for k, v in (claims | self.who | self.misbehave).items() if v is not None}
            token = self.forge(self, claims) if self.forge else self.sign(claims, self.key)
            _send(request, 200, {"access_token": "a", "token_type": "Bearer", "id_token": token})

    def sign(self, claims: Claims, key: RSAKey | ECKey) -> str:
        return jwt.encode({"alg": self.algorithm, "kid": "one"}, claims, key, algorithms=[self.algorithm])


def _send(request: BaseHTTPRequestHandler, status: int, body: Claims) -> None:
    packed = json.dumps(body).encode()
    request.send_response(status)
    request.send_header("Content-Type", "application/json")
    request.send_header("Content-Length", str(len(packed)))
    request.end_headers()
    request.wfile.write(packed)

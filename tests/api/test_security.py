"""Pages are sent with a policy that lets nothing from elsewhere run, and the API's own caching is left alone."""

from __future__ import annotations

import asyncio

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from app.api.security import CONTENT_SECURITY_POLICY, ProtectPages


async def _answer(_request: Request) -> Response:
    return PlainTextResponse("here", headers={})


async def _answer_forever(_request: Request) -> Response:
    return PlainTextResponse("here", headers={"Cache-Control": "immutable"})


def headers_of(path: str) -> httpx.Headers:
    routes = [
        Route("/", _answer),
        Route("/docs/", _answer),
        Route("/v1/projects", _answer),
        Route("/v1/image", _answer_forever),
    ]
    transport = httpx.ASGITransport(Starlette(routes=routes, middleware=[Middleware(ProtectPages)]))

    async def ask() -> httpx.Headers:
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.get(path)).headers

    return asyncio.run(ask())


def test_pages_carry_the_policy_and_are_revalidated() -> None:
    headers = headers_of("/")
    assert headers["content-security-policy"] == CONTENT_SECURITY_POLICY
    assert headers["cache-control"] == "no-cache"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_policy_allows_no_inline_script_no_inline_style_and_no_other_host() -> None:
    assert "unsafe" not in CONTENT_SECURITY_POLICY
    assert "http" not in CONTENT_SECURITY_POLICY
    assert CONTENT_SECURITY_POLICY.startswith("default-src 'none'")


def test_answers_of_the_api_keep_their_own_caching() -> None:
    assert "cache-control" not in headers_of("/v1/projects")
    assert headers_of("/v1/image")["cache-control"] == "immutable"


def test_the_documentation_page_may_show_the_icons_of_its_style_sheet_and_nothing_more() -> None:
    policy = headers_of("/docs/")["content-security-policy"]
    assert policy.replace(" data:", "") == CONTENT_SECURITY_POLICY

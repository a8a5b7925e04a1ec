"""The door: who may ask, and what a browser may do with the answer.

A page on the internet can make this machine's browser send requests to a loopback port. So every request must carry
the session's token (in a cookie that no other site's request has), name a host that is ours (against DNS rebinding)
and, where the browser says where it comes from, come from ourselves.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from http.cookies import CookieError, SimpleCookie
from urllib.parse import parse_qsl, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})

HEADERS: Mapping[str, str] = {
    "content-security-policy": "; ".join(
        (
            "default-src 'none'",
            "script-src 'self'",
            "style-src 'self'",
            "img-src 'self' data: blob:",
            "connect-src 'self'",
            "worker-src 'self'",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types evolve",
        )
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
"""Of every answer. Scripts and styles come from our files only, nothing is fetched from elsewhere, and text can become
markup nowhere (trusted types): a candidate's diff, log or idea stays text."""


class Guard:
    """Wraps the application. `hosts`: further names the server may be called by."""

    def __init__(self, app: ASGIApp, token: str, port: int, hosts: Iterable[str] = ()) -> None:
        self.app = app
        self._token = token
        self._cookie = hashlib.sha256(b"evolve session " + token.encode()).hexdigest()
        self.cookie_name = f"evolve_{port}"
        self._hosts = LOOPBACK | {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return
        refusal = self._refuse(scope)
        if refusal is not None:
            await refusal(scope, receive, _with_headers(send))
            return
        await self.app(scope, receive, _with_headers(send))

    def _refuse(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if _name(host) not in self._hosts:
            return PlainTextResponse(f"This server is not {host[:200]!r}.\n", 421)
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return PlainTextResponse("Requests from other origins are refused.\n", 403)
        method = scope["method"]
        navigation = method == "GET" and headers.get("sec-fetch-mode", "navigate") == "navigate"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and not navigation:
            return PlainTextResponse("Requests from other sites are refused.\n", 403)
        if method not in ("GET", "HEAD") and origin is None and "authorization" not in headers:
            return PlainTextResponse("A request that acts must say where it comes from.\n", 403)
        return self._authenticate(scope, headers)

    def _authenticate(self, scope: Scope, headers: Headers) -> Response | None:
        """None where the request may pass; a redirect that turns the token in the address into the cookie."""
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        if given:
            if not hmac.compare_digest(given[0].encode(), self._token.encode()):
                return self._stranger()
            rest = urlencode([pair for pair in query if pair[0] != "token"])
            path = "/" + scope["path"].lstrip("/")
            answer = RedirectResponse(path + (f"?{rest}" if rest else ""), 303)
            answer.set_cookie(self.cookie_name, self._cookie, httponly=True, samesite="strict", path="/")
            return answer
        scheme, _, value = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(value.strip().encode(), self._token.encode()):
            return None
        if hmac.compare_digest(self._cookie_of(headers).encode("utf-8", "replace"), self._cookie.encode()):
            return None
        return self._stranger()

    def _cookie_of(self, headers: Headers) -> str:
        jar: SimpleCookie = SimpleCookie()
        try:
            jar.load(headers.get("cookie", ""))
        except CookieError:
            return ""
        return jar[self.cookie_name].value if self.cookie_name in jar else ""

    def _stranger(self) -> Response:
        return PlainTextResponse(
            "This page needs the token of its session: open the address that 'evolve ui' printed, whole.\n", 401
        )


def _name(host: str) -> str:
    """Host name of a Host header, without its port (a tunnel may use another)."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""


def _with_headers(send: Send) -> Send:
    async def wrapped(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("cache-control", "no-store")
        await send(message)

    return wrapped

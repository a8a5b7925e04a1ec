"""The broker: the only holder of keys. Agents reach a model's service through its loopback port with a token of their
own, which is worth nothing anywhere else and nothing after their lease.

    agent --(token)--> 127.0.0.1:port/... --(key)--> the service

Requests are passed on byte for byte but for the key; answers stream back as they come. What an answer says about its
use of tokens is read on the way, so that a lease's limits on money, tokens and requests hold, whatever the agent says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from evolve.models.ceiling import ANSWERS, Bounded, bounded
from evolve.models.wire import Price, Usage

HEAD_CAP = 64 << 10
BODY_CAP = 64 << 20
"""Bytes of a request's head and of its body."""

TAIL = 64 << 10
"""Bytes of an answer's end in which its count of tokens is looked for."""

_DROPPED = ("authorization", "x-api-key", "x-goog-api-key", "api-key", "host", "connection", "accept-encoding", "content-length",
            "transfer-encoding", "expect", "proxy-authorization", "keep-alive")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Upstream:
    """A service. api: "anthropic", "openai" or "gemini": where its key goes. price: dollars; None: unknown."""

    api: str
    base_url: str
    key: str
    price: Price | None = None


@dataclass(slots=True)
class Pass:
    """What one agent may do, and what it did. money: dollars, None: no limit. until: seconds of a monotonic clock."""

    token: str
    until: float
    money: float | None = None
    tokens: int | None = None
    requests: int = 0
    used: Usage = field(default_factory=Usage)
    unknown: int = 0
    refused: str = ""
    held: dict[int, Bounded] = field(default_factory=dict)
    """The most that each request under way may cost."""

    def spent(self, price: Price | None) -> float | None:
        """Dollars; None where the price is unknown, or an answer did not say what it used."""
        return None if price is None or self.unknown else price.of(self.used)


class Broker:
    """`async with Broker(upstream) as broker:` then `broker.grant(...)`; `broker.url` is what agents are told."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.passes: dict[str, Pass] = {}
        self.url = ""
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Broker:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=HEAD_CAP)
        port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()

    def grant(self, seconds: float, *, money: float | None = None, tokens: int | None = None) -> Pass:
        """A new token, good for `seconds` and up to the limits."""
        made = Pass(f"evolve-{secrets.token_urlsafe(24)}", time.monotonic() + seconds, money, tokens)
        self.passes[made.token] = made
        return made

    def revoke(self, granted: Pass) -> None:
        self.passes.pop(granted.token, None)

    # ---- one connection ------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._request(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            pass  # the agent hung up, or sent what is no request
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(ConnectionError, OSError):
                await writer.wait_closed()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *rest = head.split("\r\n")
        parts = line.split(" ")
        if len(parts) != 3:
            return await _say(writer, 400, "that is no request")
        method, target, _ = parts
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (item.partition(":") for item in rest if item)
        }
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _body(reader, headers)
        if body is None:
            return await _say(writer, 413, f"a request may have {BODY_CAP} bytes")
        granted = self._pass(headers, target)
        if granted is None:
            return await _say(writer, 401, "this token is not known here, or its lease is over")
        fits = self._fit(granted, target, body)
        if isinstance(fits, str):
            granted.refused = fits
            return await _say(writer, 402, fits)
        granted.requests += 1
        number, unknown = granted.requests, granted.unknown
        granted.held[number] = fits
        try:
            await self._forward(method, target, headers, fits.body, granted, writer)
        finally:
            if granted.unknown == unknown:  # else nobody knows what it cost: all that it may have cost stays held
                del granted.held[number]

    def _pass(self, headers: Mapping[str, str], target: str) -> Pass | None:
        given = headers.get("x-api-key") or headers.get("x-goog-api-key") or headers.get("api-key") or ""
        if not given and headers.get("authorization", "").lower().startswith("bearer "):
            given = headers["authorization"][7:].strip()
        if not given and (match := re.search(r"[?&]key=([^&]+)", target)):
            given = match[1]
        for token, granted in self.passes.items():
            if hmac.compare_digest(token, given) and time.monotonic() < granted.until:
                return granted
        return None

    def _fit(self, granted: Pass, target: str, body: bytes) -> Bounded | str:
        """The request, its answer bounded by what is left of the lease beside the requests under way; or why there is too little."""
        price, held = self.upstream.price, granted.held.values()
        money = tokens = None
        if granted.money is not None and price is not None:
            money = granted.money - price.of(granted.used) - sum(each.money or 0.0 for each in held)
        if granted.tokens is not None:
            tokens = granted.tokens - granted.used.into - granted.used.out - sum(each.tokens for each in held)
        return bounded(self.upstream.api, target, body, price, money, tokens)

    # ---- the service ---------------------------------------------------------------------------------------------

    async def _forward(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str],
        body: bytes,
        granted: Pass,
        writer: asyncio.StreamWriter,
    ) -> None:
        base = urlsplit(self.upstream.base_url)
        secure = base.scheme == "https"
        port = base.port or (443 if secure else 80)
        host = base.hostname or ""
        try:
            up_reader, up = await asyncio.wait_for(
                asyncio.open_connection(
                    host, port, ssl=ssl.create_default_context() if secure else None, limit=HEAD_CAP
                ),
                20,
            )
        except (OSError, TimeoutError) as error:
            return await _say(writer, 502, f"the service cannot be reached: {error}")
        try:
            path = base.path.rstrip("/") + re.sub(r"([?&])key=[^&]*&?", r"\1", target).rstrip("?&")
            kept = {name: value for name, value in headers.items() if name not in _DROPPED}
            kept |= self._key() | {"host": base.netloc, "connection": "close", "accept-encoding": "identity"}
            kept["content-length"] = str(len(body))
            lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in kept.items())]
            up.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            await up.drain()
            tail = await _relay(up_reader, writer)
            self._count(granted, tail, target)
        except BaseException:
            granted.unknown += 1  # cut in the middle: it may have been paid for, nobody knows how much
            raise
        finally:
            up.close()

    def _key(self) -> dict[str, str]:
        if self.upstream.api == "anthropic":
            return {"x-api-key": self.upstream.key}
        if self.upstream.api == "gemini":
            return {"x-goog-api-key": self.upstream.key}
        return {"authorization": f"Bearer {self.upstream.key}"}

    def _count(self, granted: Pass, tail: bytes, target: str) -> None:
        usage = used(tail)
        if usage is not None:
            granted.used += usage
        elif ANSWERS.search(target) and b" 200 " in tail[:64]:
            granted.unknown += 1


async def _body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes | None:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        parts: list[bytes] = []
        while True:
            size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if size + sum(map(len, parts)) > BODY_CAP:
                return None
            parts.append(await reader.readexactly(size))
            await reader.readuntil(b"\r\n")
            if not size:
                return b"".join(parts)
    length = int(headers.get("content-length") or 0)
    return None if length > BODY_CAP else await reader.readexactly(length)


async def _relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Pass an answer on as it comes; returns its head and the end of its body, for counting."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if not line.lower().startswith((b"connection:", b"keep-alive:"))]
    writer.write(b"\r\n".join([lines[0], b"connection: close", *lines[1:]]))
    start, tail = b"", b""
    while chunk := await reader.read(1 << 16):
        writer.write(chunk)
        await writer.drain()
        if len(start) < TAIL:
            start += chunk[: TAIL - len(start)]
        tail = (tail + chunk)[-TAIL:]
    return lines[0] + b"\n" + (start if len(start) < TAIL else start + b"\n" + tail)


async def _say(writer: asyncio.StreamWriter, status: int, why: str) -> None:
    body = json.dumps({"type": "error", "error": {"type": "broker", "message": why}}).encode()
    head = f"HTTP/1.1 {status} Broker\r\ncontent-type: application/json\r\nconnection: close\r\n"
    writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode())
    writer.write(body)
    await writer.drain()


_COUNTS = {
    "input_tokens": "fresh", "cache_read_input_tokens": "cached", "cache_creation_input_tokens": "written",
    "output_tokens": "out",
    "prompt_tokens": "fresh", "completion_tokens": "out", "promptTokenCount": "fresh", "candidatesTokenCount": "out",
}  # fmt: skip
_COUNT = re.compile(rb'"(' + "|".join(_COUNTS).encode() + rb')"\s*:\s*(\d+)')


def used(answer: bytes) -> Usage | None:
    """Tokens that an answer says it used: the largest of each count, since a stream repeats them as they grow.

    None where it says nothing.
    """
    most: dict[str, int] = {}
    for name, number in _COUNT.findall(answer):
        kind = _COUNTS[name.decode()]
        most[kind] = max(most.get(kind, 0), int(number))
    return Usage(**most) if most else None

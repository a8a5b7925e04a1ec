"""What all clients share: canonical requests, prices, and how long to wait for a service that is away."""

from __future__ import annotations

import asyncio
import email.utils
import importlib.util
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from evolve.errors import AccessError

T = TypeVar("T")


def canonical(body: Mapping[str, Any]) -> bytes:
    """JSON with sorted keys and no white space: equal requests are equal bytes."""
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of one attempt. `fresh` input was neither read from nor written to a cache."""

    fresh: int = 0
    cached: int = 0
    written: int = 0
    out: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.fresh + other.fresh, self.cached + other.cached, self.written + other.written, self.out + other.out
        )

    @property
    def into(self) -> int:
        return self.fresh + self.cached + self.written


@dataclass(frozen=True, slots=True)
class Price:
    """US dollars a million tokens. cached, written: reading from and writing to a prompt cache."""

    input: float
    output: float
    cached: float | None = None
    written: float | None = None

    def of(self, usage: Usage) -> float:
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.written is None else self.written
        total = usage.fresh * self.input + usage.cached * cached + usage.written * written + usage.out * self.output
        return total / 1e6


def price_of(model: str, provider: str) -> Price | None:
    """The price in the optional `genai-prices` data; None where that is not installed or does not know the model."""
    if importlib.util.find_spec("genai_prices") is None:
        return None
    import genai_prices

    million = 1_000_000
    try:
        into = genai_prices.calc_price(genai_prices.Usage(input_tokens=million), model, provider_id=provider)
        out = genai_prices.calc_price(genai_prices.Usage(output_tokens=million), model, provider_id=provider)
        cached = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=million, cache_read_tokens=million), model, provider_id=provider
        )
        written = genai_prices.calc_price(
            genai_prices.Usage(input_tokens=million, cache_write_tokens=million), model, provider_id=provider
        )
    except (LookupError, ValueError):
        return None
    return Price(*(float(p.total_price) for p in (into, out, cached, written)))


BYTES_A_TOKEN = 2.5
"""Fewer than any tokeniser needs on program text, so that a reservation is never too small."""


def reservation(request: bytes, most: int, price: Price | None) -> tuple[float | None, int]:
    """(dollars, tokens) that a request may cost: all of its bytes as fresh or written input, `most` tokens out."""
    into = int(len(request) / BYTES_A_TOKEN) + 1
    if price is None:
        return None, into + most
    dear = max(price.input, price.written or 0.0)
    return (into * dear + most * price.output) / 1e6, into + most


# ---- waiting ---------------------------------------------------------------------------------------------------------


class Lost(Exception):
    """An attempt that may succeed later: no connection, a busy or broken service, a stream cut short.

    after: seconds the service asked to wait. used: tokens the attempt is known to have cost.
    unknown: it may have been served and paid for, though nothing of it came back.
    """

    def __init__(
        self, why: str, *, after: float | None = None, used: Usage | None = None, unknown: bool = False
    ) -> None:
        super().__init__(why)
        self.after, self.used, self.unknown = after, used or Usage(), unknown


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a service that is away is waited for: exponential, with jitter, for ever unless `most` is set.

    first, factor, cap: seconds of the first wait, its growth, and the longest single wait. most: seconds in all.
    stall: seconds without a byte after which a stream counts as hung. connect: seconds to get a connection.
    A wait the service asks for (`retry-after`) is kept, up to `longest_asked`.
    """

    first: float = 1.0
    factor: float = 2.0
    cap: float = 600.0
    most: float | None = None
    stall: float = 300.0
    connect: float = 20.0
    longest_asked: float = 7200.0

    def pause(self, attempt: int, asked: float | None) -> float:
        """Seconds before attempt number `attempt` (from 1)."""
        own: float = min(self.first * self.factor ** min(attempt - 1, 60), self.cap) * (0.75 + 0.5 * random.random())
        return max(min(asked, self.longest_asked), 0.0) if asked is not None else own


@dataclass(slots=True)
class Attempts:
    """What the attempts before the one that succeeded cost. unknown: how many may have been paid for unseen."""

    used: Usage
    unknown: int = 0
    tries: int = 0


async def persist(
    attempt: Callable[[], Awaitable[T]], patience: Patience, report: Callable[[str, float], None] | None = None
) -> tuple[T, Attempts]:
    """The result of the first attempt that is not Lost, and what the lost ones cost.

    report: told why an attempt was lost and how many seconds are waited. Raises the last Lost once `patience.most`
    seconds are over; whatever else an attempt raises.
    """
    began, spent = time.monotonic(), Attempts(Usage())
    while True:
        spent.tries += 1
        try:
            return await attempt(), spent
        except Lost as lost:
            spent.used += lost.used
            spent.unknown += lost.unknown
            wait = patience.pause(spent.tries, lost.after)
            if patience.most is not None and time.monotonic() - began + wait > patience.most:
                raise
            if report:
                report(str(lost), wait)
        await asyncio.sleep(wait)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds of a `retry-after-ms` or `retry-after` header, given in seconds or as a date; None where there is none."""
    if (text := headers.get("retry-after-ms")) is not None:
        return _number(text, 1e-3)
    text = headers.get("retry-after")
    if text is None:
        return None
    seconds = _number(text, 1.0)
    if seconds is None and (when := email.utils.parsedate_tz(text)) is not None:
        seconds = email.utils.mktime_tz(when) - time.time()
    return None if seconds is None else max(seconds, 0.0)


def _number(text: str, scale: float) -> float | None:
    try:
        return float(text) * scale
    except ValueError:
        return None


RETRIED = (408, 409, 425, 429)
DENIED = (401, 402, 403)
OVERFLOW = (
    "prompt is too long",
    "context_length_exceeded",
    "maximum context length",
    "context window",
    "exceeds the available context",
)


def status_error(status: int, headers: Mapping[str, str], text: str, name: str) -> tuple[str, str]:
    """(outcome, why) of an error status that no waiting cures.

    Raises Lost for one that waiting may cure, AccessError for a refused key or an empty account.
    """
    why = f"{name}: HTTP {status}: {' '.join(text.split())[:400]}"
    if status in DENIED:
        raise AccessError(f"{why}. Check the key and the account; the same command resumes")
    if status >= 500 or status in RETRIED or status < 400:
        raise Lost(why, after=retry_after(headers), unknown=status == 408)
    return ("overflow" if status == 413 or any(sign in text.lower() for sign in OVERFLOW) else "rejected"), why

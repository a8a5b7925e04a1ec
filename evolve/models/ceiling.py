"""Requests held to what is left of a limit before they are forwarded: an answer's length is bounded by the money and tokens for it.

Other programs write these requests, so the bound is put into the field that the service reads it from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from evolve.models.wire import BYTES_A_TOKEN, Price

LEAST = 500
"""Tokens of an answer below which asking is not worth its input."""

ANSWERS = re.compile(r"/(messages|completions|responses)(\?|$)|enerateContent")
"""Addresses at which a model answers. Others, a count of tokens or a list of models, take no bound."""

UNSTATED = 32_000
"""Tokens that an answer may have where its request does not say and nothing is limited."""


@dataclass(frozen=True, slots=True)
class Bounded:
    """A request that fits, with the most that it may cost. money None: no price is known."""

    body: bytes
    tokens: int
    money: float | None


def bounded(
    api: str, target: str, body: bytes, price: Price | None, money: float | None, tokens: int | None
) -> Bounded | str:
    """The request with its answer bounded so that it fits into `money` dollars and `tokens` (None: no limit); why not, where
    even a short answer does not fit, or where the request cannot be read. One that asks no model for an answer is let through."""
    if not ANSWERS.search(target) or (money is None and tokens is None):
        return Bounded(body, 0, 0.0)
    try:
        document = json.loads(body)
    except (ValueError, UnicodeDecodeError):
        document = None
    if not isinstance(document, dict):
        return "under a limit a request must be a JSON object, plain and not compressed: its longest answer could not be bounded"
    into = int(len(body) / BYTES_A_TOKEN) + 1
    place, field = _field(api, target, document)
    stated = place.get(field)
    asked = stated if isinstance(stated, int) and stated > 0 else UNSTATED
    most = asked
    if tokens is not None:
        most = min(most, tokens - into)
    dear = max(price.input, price.written or 0.0) if price else 0.0
    if money is not None and price is not None and price.output > 0:
        most = min(most, int((money * 1e6 - into * dear) / price.output))
    elif money is not None and price is not None and into * dear > money * 1e6:
        most = 0
    if most < min(LEAST, asked):
        left = [f"{money:.4f} dollars"] if money is not None else []
        left += [f"{tokens} tokens"] if tokens is not None else []
        return f"{' and '.join(left)} of the lease are left, not enough for this request and a short answer"
    if most < asked or stated is None:
        place[field] = most
        body = json.dumps(document).encode()
    return Bounded(body, into + most, None if price is None else (into * dear + most * price.output) / 1e6)


def _field(api: str, target: str, document: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """Where a request of this service says how long its answer may be: (object, key)."""
    if api == "gemini":
        found = document.setdefault("generationConfig", {})
        return (found if isinstance(found, dict) else {}), "maxOutputTokens"
    if api == "anthropic":
        return document, "max_tokens"
    if "/responses" in target:
        return document, "max_output_tokens"
    return document, "max_tokens" if "max_tokens" in document else "max_completion_tokens"

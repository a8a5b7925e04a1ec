"""How much of the prompts really sent a service could have cached: the share that they have in common from the start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from evolve.population import events as ev
from evolve.population.archive import Archive


def reading_order(request: bytes) -> str:
    """A request's content in the order in which a service hashes it: model, tools, system, messages.

    Cache markers are no content. Raises ValueError for what is no request of ours.
    """
    body = json.loads(request)
    parts = [
        body.get("model"),
        body.get("tools"),
        body.get("system") or body.get("stable"),
        body.get("messages") or body.get("turns"),
    ]
    return json.dumps([_plain(part) for part in parts], sort_keys=True, ensure_ascii=False)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key != "cache_control"}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def common_prefix_share(requests: Iterable[bytes], window: int = 8) -> float:
    """Share of all characters that stand in a prefix shared with one of the `window` requests before, 0..1.

    The first request shares nothing. 0.0 for none.
    """
    total = shared = 0
    recent: list[str] = []
    for request in requests:
        text = reading_order(request)
        total += len(text)
        shared += max((_common(text, earlier) for earlier in recent), default=0)
        recent = [*recent[-window + 1 :], text]
    return shared / total if total else 0.0


def _common(one: str, other: str) -> int:
    """Length of the common prefix, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def cached_share(calls: Sequence[tuple[int, int]]) -> float:
    """Share of input tokens that services said they read from a cache; calls: (tokens in, of them cached)."""
    total = sum(into for into, _ in calls)
    return sum(cached for _, cached in calls) / total if total else 0.0


@dataclass(frozen=True, slots=True)
class Sent:
    """Of one model in one run: requests on record, the share of their text in common prefixes, and the share of input
    tokens that the service said it read from its cache."""

    model: str
    requests: int
    common: float
    cached: float


def report(archive: Archive, run: str) -> list[Sent]:
    """What each model of a run was really sent, from the record. A request too large to be kept whole is left out."""
    requests: dict[str, list[bytes]] = {}
    calls: dict[str, list[tuple[int, int]]] = {}
    for recorded in archive.events(run):
        event = recorded.event
        if isinstance(event, ev.Answered):
            calls.setdefault(event.model, []).append((event.tokens_in, event.tokens_cached))
        elif isinstance(event, ev.Requested):
            body = archive.artifact(recorded.oid, f"request-{event.call}")
            kept = requests.setdefault(event.model, [])
            if body is not None and _is_request(body):
                kept.append(body)
    return [
        Sent(model, len(bodies), common_prefix_share(bodies), cached_share(calls.get(model, ())))
        for model, bodies in requests.items()
    ]


def _is_request(body: bytes) -> bool:
    try:
        found = json.loads(body)
    except ValueError:
        return False
    return isinstance(found, dict) and ("messages" in found or "turns" in found)

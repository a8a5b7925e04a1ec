"""Requests gathered into batches (half the price, hours of latency). A batch's id is durable before it is waited for,
so that a resume goes on polling it instead of paying twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from evolve.models.wire import Attempts, Lost, Usage, canonical, persist, status_error
from evolve.mutators import Desk, Reply

if TYPE_CHECKING:
    from evolve.models.anthropic_api import Anthropic

SHARE = 0.5
"""Price of a batched token beside a direct one, as the service documents it."""


class BatchBooks(Protocol):
    """What a desk remembers of batches."""

    def batch_of(self, digest: str) -> str | None:
        """The batch that holds the request of that digest (hex sha256), if one is on record without an answer."""
        ...

    async def batched(self, batch: str, model: str, digests: list[str]) -> None:
        """Put a batch on record; returns once that is durable."""
        ...


@dataclass(slots=True)
class Batches:
    """window: seconds a batch stays open after its first request. most: requests that close it at once.
    poll: seconds between two looks at a batch."""

    window: float = 30.0
    most: int = 100
    poll: float = 60.0
    _open: dict[str, tuple[bytes, asyncio.Future[str]]] = field(default_factory=dict)
    _results: dict[str, asyncio.Task[dict[str, Any]]] = field(default_factory=dict)
    _closing: asyncio.Task[None] | None = None
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _dead: set[str] = field(default_factory=set)

    async def send(self, model: Anthropic, request: bytes, desk: Desk) -> Reply:
        """One reply out of a batch; a request whose batch failed goes into another."""
        digest = hashlib.sha256(request).hexdigest()
        found, spent = await persist(lambda: self._once(model, request, digest, desk), model.patience, model.report)
        outcome, body, usage = found
        return model.reply(outcome, body, usage + spent.used, request, share=SHARE)

    async def _once(self, model: Anthropic, request: bytes, digest: str, desk: Desk) -> tuple[str, bytes, Usage]:
        books: BatchBooks = desk  # type: ignore[assignment]
        batch = books.batch_of(digest)
        if batch is None or batch in self._dead:
            batch = await asyncio.shield(self._joined(model, request, digest, books))
        if batch not in self._results:
            self._results[batch] = asyncio.create_task(self._watch(model, batch))
        try:
            results = await asyncio.shield(self._results[batch])
        except Lost:
            self._results.pop(batch, None)
            raise
        return self._read(model, batch, results.get(digest))

    def _joined(self, model: Anthropic, request: bytes, digest: str, books: BatchBooks) -> asyncio.Future[str]:
        """The id that the open batch will have."""
        if digest not in self._open:
            self._open[digest] = (request, asyncio.get_running_loop().create_future())
        future = self._open[digest][1]
        if self._closing is None or self._closing.done():
            self._full.clear()
            self._closing = asyncio.create_task(self._close(model, books))
        if len(self._open) >= self.most:
            self._full.set()
        return future

    async def _close(self, model: Anthropic, books: BatchBooks) -> None:
        try:
            await asyncio.wait_for(self._full.wait(), self.window)
        except TimeoutError:
            pass
        waiting, self._open = self._open, {}
        requests = [{"custom_id": digest, "params": json.loads(request)} for digest, (request, _) in waiting.items()]
        try:
            batch, _ = await persist(lambda: self._create(model, requests), model.patience, model.report)
            await books.batched(batch, model.name, list(waiting))
        except BaseException as error:
            for _, future in waiting.values():
                if not future.done():
                    future.set_exception(error)
            if isinstance(error, asyncio.CancelledError):
                raise
            return
        for _, future in waiting.values():
            if not future.done():
                future.set_result(batch)

    async def _create(self, model: Anthropic, requests: list[dict[str, Any]]) -> str:
        made = await _asked(model, model.client().messages.batches.create(requests=requests))  # type: ignore[arg-type]
        return str(made.id)

    async def _watch(self, model: Anthropic, batch: str) -> dict[str, Any]:
        """Results of a batch by digest, once it has ended."""
        while True:
            state, _ = await persist(lambda: self._state(model, batch), model.patience, model.report)
            if state == "ended":
                break
            await asyncio.sleep(self.poll)
        found: tuple[dict[str, Any], Attempts] = await persist(
            lambda: self._fetch(model, batch), model.patience, model.report
        )
        return found[0]

    async def _state(self, model: Anthropic, batch: str) -> str:
        import anthropic

        try:
            state = await _asked(model, model.client().messages.batches.retrieve(batch))
        except anthropic.NotFoundError:
            return "ended"  # gone: its requests have no result and go into another
        return str(state.processing_status)

    async def _fetch(self, model: Anthropic, batch: str) -> dict[str, Any]:
        import anthropic

        async def lines() -> dict[str, Any]:
            stream = await model.client().messages.batches.results(batch)
            return {line.custom_id: line.result.to_dict(mode="json") async for line in stream}

        try:
            found: dict[str, Any] = await _asked(model, lines())
            return found
        except anthropic.NotFoundError:
            return {}

    def _read(self, model: Anthropic, batch: str, result: dict[str, Any] | None) -> tuple[str, bytes, Usage]:
        from evolve.models.anthropic_api import outcome_of

        kind = result["type"] if result else "missing"
        if result and kind == "succeeded":
            message = result["message"]
            return outcome_of(str(message["stop_reason"])), canonical(message), _usage(message["usage"])
        error = (((result or {}).get("error") or {}).get("error") or {}) if kind == "errored" else {}
        if error.get("type") == "invalid_request_error":
            outcome, why = status_error(400, {}, str(error.get("message", "")), model.name)
            return outcome, canonical({"type": "error", "error": why}), Usage()
        self._dead.add(batch)
        raise Lost(f"{model.name}: a request of batch {batch} is {kind} {error.get('message', '')}".strip())


async def _asked(model: Anthropic, call: Any) -> Any:
    """The result of an SDK call. Raises Lost, AccessError, NotFoundError."""
    import anthropic

    try:
        return await call
    except anthropic.NotFoundError:
        raise
    except anthropic.APIConnectionError as error:
        raise Lost(f"{model.name}: {error}") from error
    except anthropic.APIStatusError as error:
        _, why = status_error(error.status_code, error.response.headers, str(error.body), model.name)
        raise Lost(why, after=600.0) from error  # a whole batch refused: its requests are not lost, a person must look


def _usage(usage: dict[str, Any]) -> Usage:
    return Usage(
        usage.get("input_tokens") or 0, usage.get("cache_read_input_tokens") or 0,
        usage.get("cache_creation_input_tokens") or 0, usage.get("output_tokens") or 0,
    )  # fmt: skip

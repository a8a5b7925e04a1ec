"""Models at the Anthropic Messages API, through the `anthropic` SDK: streamed, cached by prefix, retried by us.

The SDK's own retries are off: it gives up after a few and knows nothing of what a lost attempt cost. Sampling
parameters are not sent (the service refuses them); variety comes from prompts, parents and effort.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evolve.errors import UsageError
from evolve.models import Answer, Call, Prompt, Turn
from evolve.models.wire import Lost, Patience, Price, Usage, canonical, persist, reservation, status_error
from evolve.mutators import Desk, Reply

if TYPE_CHECKING:
    import anthropic

TOOL = {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"}
"""The service's own text-editor tool: the model knows its schema."""


@dataclass(slots=True)
class Anthropic:
    """id: the service's name of the model. key: None takes ANTHROPIC_API_KEY. most: tokens an answer may have.

    effort: "low" .. "max", "" for the service's default. thinking: "adaptive", "off", a number of tokens, "" default.
    ttl: how long a cached prefix lives, "5m" or "1h". price: US dollars; None where unknown.
    """

    id: str
    name: str = ""
    base_url: str | None = None
    key: str | None = None
    most: int = 32_000
    effort: str = ""
    thinking: str = ""
    ttl: str = "5m"
    price: Price | None = None
    patience: Patience = field(default_factory=Patience)
    report: Callable[[str, float], None] | None = None
    batches: Any = None
    _client: Any = None

    def __post_init__(self) -> None:
        self.name = self.name or self.id

    def encode(self, prompt: Prompt) -> bytes:
        return canonical(self.body(prompt))

    def body(self, prompt: Prompt) -> dict[str, Any]:
        """The request. The stable texts are the system prompt, each of the last three ending a cached prefix."""
        body: dict[str, Any] = {
            "model": self.id,
            "max_tokens": self.most,
            "messages": [_message(t) for t in prompt.turns],
        }
        system: list[dict[str, Any]] = [{"type": "text", "text": text} for text in prompt.stable if text]
        for block in system[-3:]:
            block["cache_control"] = {"type": "ephemeral"} | ({} if self.ttl == "5m" else {"ttl": self.ttl})
        if system:
            body["system"] = system
        if self.effort:
            body["output_config"] = {"effort": self.effort}
        if self.thinking:
            body["thinking"] = _thinking(self.thinking)
        if prompt.tool:
            body["tools"] = [TOOL]
        return body

    def reserve(self, request: bytes) -> tuple[float | None, int]:
        money, tokens = reservation(request, self.most, self.price)
        return (money if money is None or self.batches is None else money / 2), tokens

    async def send(self, request: bytes, desk: Desk) -> Reply:
        if self.batches is not None:
            batched: Reply = await self.batches.send(self, request, desk)
            return batched
        body = json.loads(request)
        (outcome, answer, usage), spent = await persist(lambda: self._attempt(body), self.patience, self.report)
        return self.reply(outcome, answer, usage + spent.used, request, spent.unknown)

    def reply(
        self, outcome: str, answer: bytes, usage: Usage, request: bytes, unknown: int = 0, share: float = 1.0
    ) -> Reply:
        """A reply with its cost; an attempt that may have been paid for unseen costs its reservation."""
        money = None if self.price is None else self.price.of(usage) * share
        tokens_out = usage.out
        if unknown:
            most, tokens = self.reserve(request)
            tokens_out += unknown * tokens
            money = None if money is None or most is None else money + unknown * most
        return Reply(answer, outcome, money, usage.into, usage.cached, tokens_out)

    async def _attempt(self, body: dict[str, Any]) -> tuple[str, bytes, Usage]:
        import anthropic
        import httpx2

        usage, done = Usage(), False
        try:
            async with self.client().messages.stream(**body) as stream:
                async for event in stream:
                    if event.type in ("message_start", "message_delta"):
                        usage = _usage(stream.current_message_snapshot.usage)
                    done = done or event.type == "message_stop"
                message = stream.current_message_snapshot if done else None
        except anthropic.APITimeoutError as error:
            raise Lost(f"{self.name}: no answer in time ({error})", used=usage, unknown=usage == Usage()) from error
        except anthropic.APIConnectionError as error:
            raise Lost(f"{self.name}: {error} {error.__cause__ or ''}".strip(), used=usage) from error
        except anthropic.APIStatusError as error:
            text = json.dumps(error.body) if error.body is not None else str(error)
            status = 529 if error.status_code == 200 else error.status_code  # an error event inside a stream
            try:
                outcome, why = status_error(status, error.response.headers, text, self.name)
            except Lost as lost:
                raise Lost(str(lost), after=lost.after, used=usage, unknown=lost.unknown) from error
            return outcome, canonical({"type": "error", "error": why}), usage
        except (httpx2.HTTPError, json.JSONDecodeError) as error:  # cut in the middle of the stream
            raise Lost(f"{self.name}: the stream broke: {error!r}", used=usage, unknown=usage == Usage()) from error
        if message is None:
            raise Lost(f"{self.name}: the stream ended before the message did", used=usage, unknown=usage == Usage())
        plain = message.to_dict(mode="json")
        return outcome_of(str(message.stop_reason)), canonical(plain), usage

    def read(self, body: bytes, outcome: str) -> Answer:
        message = json.loads(body)
        if message.get("type") == "error":
            return Answer("", (), outcome, str(message.get("error", "")))
        blocks = message["content"]
        text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        calls = tuple(Call(block["id"], block["input"]) for block in blocks if block["type"] == "tool_use")
        details = message.get("stop_details") or {}
        why = str(details.get("explanation") or details.get("category") or message.get("stop_reason", ""))
        return Answer(text, calls, outcome, "" if outcome == "ok" else why)

    def client(self) -> anthropic.AsyncAnthropic:
        """The SDK's client, made at its first use. Raises UsageError where the extra is not installed."""
        if self._client is None:
            try:
                import anthropic
                import httpx2
            except ImportError as error:
                raise UsageError("the anthropic SDK is not installed; pip install 'evolve-search[models]'") from error
            wait = self.patience
            timeout = httpx2.Timeout(wait.stall, connect=wait.connect)
            self._client = anthropic.AsyncAnthropic(
                api_key=self.key, base_url=self.base_url, max_retries=0, timeout=timeout
            )
        client: anthropic.AsyncAnthropic = self._client
        return client

    async def close(self) -> None:
        """Close its connections, in the event loop that opened them."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()


def outcome_of(stop: str) -> str:
    return {"refusal": "refusal", "model_context_window_exceeded": "overflow", "max_tokens": "truncated"}.get(
        stop, "ok"
    )


def _usage(usage: Any) -> Usage:
    return Usage(
        usage.input_tokens or 0,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
        usage.output_tokens or 0,
    )


def _thinking(setting: str) -> dict[str, Any]:
    if setting == "off":
        return {"type": "disabled"}
    return {"type": "enabled", "budget_tokens": int(setting)} if setting.isdigit() else {"type": setting}


def _message(turn: Turn) -> dict[str, Any]:
    content: list[dict[str, Any]] = [
        {"type": "tool_result", "tool_use_id": call, "content": text} for call, text in turn.results.items()
    ]
    if turn.text:
        content.append({"type": "text", "text": turn.text})
    content += [{"type": "tool_use", "id": c.id, "name": TOOL["name"], "input": dict(c.input)} for c in turn.calls]
    return {"role": turn.role, "content": content}

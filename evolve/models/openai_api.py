"""Models at any server that speaks the OpenAI chat-completions protocol (vLLM, llama.cpp, ollama, ...), by base URL."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from evolve.errors import UsageError
from evolve.models import Answer, Call, Prompt, Turn
from evolve.models.wire import Lost, Patience, Price, Usage, canonical, persist, reservation, status_error
from evolve.mutators import Desk, Reply

if TYPE_CHECKING:
    import openai

TOOL = {
    "type": "function",
    "function": {
        "name": "edit",
        "description": "Change a file. str_replace replaces old_str, which must occur exactly once; insert adds insert_text "
        "after line insert_line; create writes a whole file.",
        "parameters": {
            "type": "object",
            "properties": {
                "command": {"type": "string", "enum": ["str_replace", "insert", "create"]},
                "path": {"type": "string"},
                "old_str": {"type": "string"},
                "new_str": {"type": "string"},
                "insert_line": {"type": "integer"},
                "insert_text": {"type": "string"},
                "file_text": {"type": "string"},
            },
            "required": ["command", "path"],
        },
    },
}  # fmt: skip


@dataclass(slots=True)
class OpenAICompatible:
    """id: the server's name of the model. key: None takes OPENAI_API_KEY, and "none" where a base URL is given.

    most: tokens an answer may have; `most_field` is what the server calls that. effort: reasoning effort, "" to leave
    it out. extra: further fields of the request, as the server documents them (sampling, penalties, a seed).
    """

    id: str
    name: str = ""
    base_url: str | None = None
    key: str | None = None
    most: int = 16_000
    most_field: str = "max_tokens"
    effort: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)
    price: Price | None = None
    patience: Patience = field(default_factory=Patience)
    report: Callable[[str, float], None] | None = None
    _client: Any = None

    def __post_init__(self) -> None:
        self.name = self.name or self.id

    def encode(self, prompt: Prompt) -> bytes:
        messages: list[dict[str, Any]] = []
        if any(prompt.stable):
            messages.append({"role": "system", "content": "\n\n".join(text for text in prompt.stable if text)})
        for turn in prompt.turns:
            messages += _messages(turn)
        body: dict[str, Any] = {"model": self.id, "messages": messages, self.most_field: self.most}
        if self.effort:
            body["reasoning_effort"] = self.effort
        if prompt.tool:
            body["tools"] = [TOOL]
        return canonical(body | dict(self.extra))

    def reserve(self, request: bytes) -> tuple[float | None, int]:
        return reservation(request, self.most, self.price)

    async def send(self, request: bytes, desk: Desk) -> Reply:
        body = json.loads(request)
        (outcome, answer, usage), spent = await persist(lambda: self._attempt(body), self.patience, self.report)
        usage += spent.used
        money = None if self.price is None else self.price.of(usage)
        tokens_out = usage.out
        if spent.unknown:
            most, tokens = self.reserve(request)
            tokens_out += spent.unknown * tokens
            money = None if money is None or most is None else money + spent.unknown * most
        return Reply(answer, outcome, money, usage.into, usage.cached, tokens_out)

    async def _attempt(self, body: dict[str, Any]) -> tuple[str, bytes, Usage]:
        import httpx2
        import openai

        made = _Assembly()
        known = {"model", "messages", "max_tokens", "max_completion_tokens", "reasoning_effort", "tools"}
        extra = {key: value for key, value in body.items() if key not in known}
        plain = {key: value for key, value in body.items() if key in known}
        try:
            stream = await self.client().chat.completions.create(
                **plain, stream=True, stream_options={"include_usage": True}, extra_body=extra or None
            )
            async with stream:
                async for chunk in stream:
                    made.take(chunk)
        except openai.APITimeoutError as error:
            raise Lost(
                f"{self.name}: no answer in time ({error})", used=made.usage, unknown=made.begun or True
            ) from error
        except openai.APIConnectionError as error:
            raise Lost(f"{self.name}: {error} {error.__cause__ or ''}".strip(), used=made.usage) from error
        except openai.APIStatusError as error:
            outcome, why = status_error(error.status_code, error.response.headers, str(error.body or error), self.name)
            return outcome, canonical({"error": why}), Usage()
        except (openai.APIError, httpx2.HTTPError, json.JSONDecodeError) as error:
            raise Lost(f"{self.name}: the stream broke: {error!r}", used=made.usage, unknown=made.unseen) from error
        if not made.finish:
            raise Lost(f"{self.name}: the stream ended before the message did", used=made.usage, unknown=made.unseen)
        outcome = {"length": "truncated", "content_filter": "refusal"}.get(made.finish, "ok")
        return ("refusal" if made.refusal else outcome), canonical(made.body()), made.usage

    def read(self, body: bytes, outcome: str) -> Answer:
        message = json.loads(body)
        if "error" in message:
            return Answer("", (), outcome, str(message["error"]))
        calls = tuple(Call(c["id"], _arguments(c["arguments"])) for c in message.get("calls", ()))
        why = "" if outcome == "ok" else str(message.get("refusal") or message.get("finish_reason", ""))
        return Answer(message["text"], calls, outcome, why)

    def client(self) -> openai.AsyncOpenAI:
        """The SDK's client, made at its first use. Raises UsageError where the extra is not installed."""
        if self._client is None:
            try:
                import httpx2
                import openai
            except ImportError as error:
                raise UsageError("the openai SDK is not installed; pip install 'evolve-search[models]'") from error
            timeout = httpx2.Timeout(self.patience.stall, connect=self.patience.connect)
            key = self.key or ("none" if self.base_url else None)
            self._client = openai.AsyncOpenAI(api_key=key, base_url=self.base_url, max_retries=0, timeout=timeout)
        client: openai.AsyncOpenAI = self._client
        return client

    async def close(self) -> None:
        """Close its connections, in the event loop that opened them."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.close()


class _Assembly:
    """A message put together from its chunks."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.refusal: list[str] = []
        self.calls: dict[int, dict[str, str]] = {}
        self.finish = ""
        self.usage = Usage()
        self.begun = False

    @property
    def unseen(self) -> bool:
        """It was being served, and no count of tokens came: that comes last."""
        return self.begun and self.usage == Usage()

    def take(self, chunk: Any) -> None:
        self.begun = True
        if chunk.usage is not None:
            details = getattr(chunk.usage, "prompt_tokens_details", None)
            cached = (getattr(details, "cached_tokens", 0) or 0) if details else 0
            self.usage = Usage(max(chunk.usage.prompt_tokens - cached, 0), cached, 0, chunk.usage.completion_tokens)
        for choice in chunk.choices or ():
            self.text.append(choice.delta.content or "")
            self.refusal += [text] if (text := getattr(choice.delta, "refusal", None)) else []
            for call in choice.delta.tool_calls or ():
                one = self.calls.setdefault(call.index, {"id": "", "arguments": ""})
                one["id"] = call.id or one["id"]
                one["arguments"] += (call.function.arguments or "") if call.function else ""
            self.finish = choice.finish_reason or self.finish

    def body(self) -> dict[str, Any]:
        body: dict[str, Any] = {"text": "".join(self.text), "finish_reason": self.finish}
        if self.refusal:
            body["refusal"] = "".join(self.refusal)
        if self.calls:
            body["calls"] = [self.calls[index] for index in sorted(self.calls)]
        return body


def _arguments(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return {"command": "unreadable arguments"}
    return found if isinstance(found, dict) else {"command": "unreadable arguments"}


def _messages(turn: Turn) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = [
        {"role": "tool", "tool_call_id": call, "content": text} for call, text in turn.results.items()
    ]
    if turn.role == "assistant":
        message: dict[str, Any] = {"role": "assistant", "content": turn.text}
        if turn.calls:
            message["tool_calls"] = [
                {"id": c.id, "type": "function", "function": {"name": "edit", "arguments": json.dumps(dict(c.input))}}
                for c in turn.calls
            ]
        return [message]
    return [*out, {"role": "user", "content": turn.text}] if turn.text or not out else out

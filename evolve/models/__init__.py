"""Models: a prompt in, an answer out, every request on the record.

    Model.encode(prompt) -> bytes      canonical JSON of what is sent, so that a request's digest names it
    Model.send(request, desk) -> Reply the service's whole answer; retries, back-off and outages are its business
    Model.read(body) -> Answer         pure: the same body is the same answer, live or replayed
    complete(model, prompt, desk)      the three together, through `Desk.call`

Ours: `anthropic_api.Anthropic`, `openai_api.OpenAICompatible`, `scripted.Scripted`. Which model serves which name is
the user's configuration (`settings.load`, docs/models.md); no model id is known here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from evolve.mutators import Desk, Reply


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the text-editor tool; `input` is its arguments as the model wrote them."""

    id: str
    input: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message. calls: what an assistant's turn called. results: call id -> what a user's turn answers to it."""

    role: Literal["user", "assistant"]
    text: str = ""
    calls: tuple[Call, ...] = ()
    results: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Prompt:
    """What a model is to see.

    stable: texts that stay the same over many prompts, the most stable first; they are what a service can cache.
    turns:  the conversation, beginning with a user's turn. tool: whether the text-editor tool is offered.
    """

    stable: tuple[str, ...]
    turns: tuple[Turn, ...]
    tool: bool = False

    def text(self) -> str:
        """All of it in the order in which a model reads it."""
        return "\n\n".join([*self.stable, *(turn.text for turn in self.turns)])


OUTCOMES = ("ok", "refusal", "overflow", "truncated", "rejected")
"""refusal: the model declined. overflow: more context than it has. truncated: the answer's limit was reached.
rejected: the service said the request cannot be served as it is (a 4xx that no waiting cures)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model answered. outcome: one of OUTCOMES; why: the service's words where it is not ok."""

    text: str
    calls: tuple[Call, ...] = ()
    outcome: str = "ok"
    why: str = ""


@runtime_checkable
class Model(Protocol):
    """A model at a service. `name` is what events, trailers and credit call it."""

    @property
    def name(self) -> str: ...

    def encode(self, prompt: Prompt) -> bytes:
        """Canonical JSON of the request: sorted keys, no white space, nothing that changes from call to call."""
        ...

    def reserve(self, request: bytes) -> tuple[float | None, int]:
        """The most a request may cost: (US dollars, tokens); None where the price is unknown."""
        ...

    async def send(self, request: bytes, desk: Desk) -> Reply:
        """Raises AccessError where the key is refused. Waits out every outage; cancel it to stop."""
        ...

    def read(self, body: bytes, outcome: str) -> Answer:
        """The answer in a reply's body. Raises ValueError for a body that is none."""
        ...


async def complete(model: Model, prompt: Prompt, desk: Desk) -> Answer:
    """One answer, on the record before it is used. Raises BudgetSpent, AccessError."""
    request = model.encode(prompt)
    money, tokens = model.reserve(request)

    async def send(body: bytes) -> Reply:
        return await model.send(body, desk)

    reply = await desk.call(request, send, model=model.name, money=money, tokens=tokens)
    return model.read(reply.body, reply.outcome)


__all__ = ["OUTCOMES", "Answer", "Call", "Model", "Prompt", "Turn", "complete"]

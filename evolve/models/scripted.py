"""Models that reach no service: a function in place of one, and a guard for replays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass

from evolve.errors import EvolveError
from evolve.models import Answer, Call, Model, Prompt
from evolve.models.wire import canonical
from evolve.mutators import Desk, Reply


@dataclass(slots=True)
class Scripted:
    """Answers by a function of what was really sent: `answer(request text) -> Answer or text`.

    latency: seconds. money: dollars a call; None: unknown.
    """

    answer: Callable[[str], Answer | str]
    name: str = "scripted"
    latency: float = 0.0
    money: float | None = 0.0
    sent: int = 0

    def encode(self, prompt: Prompt) -> bytes:
        turns = [{"role": t.role, "text": t.text, "results": dict(t.results)} for t in prompt.turns]
        return canonical({"model": self.name, "stable": list(prompt.stable), "turns": turns, "tool": prompt.tool})

    def reserve(self, request: bytes) -> tuple[float | None, int]:
        return self.money, 0

    async def send(self, request: bytes, desk: Desk) -> Reply:
        self.sent += 1
        if self.latency:
            await asyncio.sleep(self.latency)
        made = self.answer(request.decode())
        made = Answer(made) if isinstance(made, str) else made
        calls = [{"id": call.id, "input": dict(call.input)} for call in made.calls]
        body = canonical({"text": made.text, "calls": calls, "why": made.why})
        return Reply(body, made.outcome, self.money, len(request) // 4, 0, len(made.text) // 4)

    def read(self, body: bytes, outcome: str) -> Answer:
        data = json.loads(body)
        calls = tuple(Call(call["id"], call["input"]) for call in data["calls"])
        return Answer(data["text"], calls, outcome, data["why"])


class ReplayMiss(EvolveError):
    """A replay needed an answer that is not on record."""


@dataclass(frozen=True, slots=True)
class Offline:
    """A model whose service must not be reached: every answer has to be on record (`--replay`)."""

    model: Model

    @property
    def name(self) -> str:
        return self.model.name

    def encode(self, prompt: Prompt) -> bytes:
        return self.model.encode(prompt)

    def reserve(self, request: bytes) -> tuple[float | None, int]:
        return self.model.reserve(request)

    async def send(self, request: bytes, desk: Desk) -> Reply:
        raise ReplayMiss(
            f"a replay asked {self.name} something that is not on record; the code or the task has changed since"
        )

    def read(self, body: bytes, outcome: str) -> Answer:
        return self.model.read(body, outcome)

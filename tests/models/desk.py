# ruff: noqa: E501
"""A desk on its own: what a mutator sees, without a run; records its calls as a run would."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evolve.mutators import Reply
from evolve.population.candidate import Candidate
from evolve.population.novelty import shape
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task

TASK = '[task]\nname = "t"\neditable = ["*.py"]\n[evaluate]\ncommand = "python program.py"\nmetrics = [{ name = "score", goal = "max", pattern = "score: (.*)" }]\n'


@dataclass
class FakeDesk:
    """trees: commit -> files (context files too). calls: requests in order, with what was reserved and the reply."""

    trees: Mapping[str, Mapping[str, bytes]] = field(default_factory=dict)
    candidates: Mapping[str, Candidate] = field(default_factory=dict)
    seen: Mapping[str, Sequence[Evidence]] = field(default_factory=dict)
    task: Task = field(default_factory=lambda: Task.parse(TASK))
    recorded: dict[str, Reply] = field(default_factory=dict)
    calls: list[tuple[bytes, float | None, int, Reply]] = field(default_factory=list)
    kept_batches: dict[str, str] = field(default_factory=dict)

    def files(self, commit: str) -> Mapping[str, bytes]:
        return {path: content for path, content in self.trees[commit].items() if self.task.may_edit(path)}

    def read(self, commit: str, path: str) -> bytes | None:
        return self.trees[commit].get(path)

    def known(self, files: Mapping[str, bytes]) -> Candidate | None:
        wanted = shape(files)
        return next(
            (self.candidates[c] for c in self.trees if c in self.candidates and shape(self.files(c)) == wanted), None
        )

    async def behaves_as(self, files: Mapping[str, bytes | None]) -> Candidate | None:
        return None

    def everything(self, commit: str) -> tuple[dict[str, bytes], dict[str, int]]:
        return dict(self.trees[commit]), dict.fromkeys(self.trees[commit], 0o100644)

    def candidate(self, commit: str) -> Candidate:
        return self.candidates[commit]

    def evidence(self, commit: str) -> tuple[Evidence, ...]:
        return tuple(self.seen.get(commit, ()))

    def children(self, commit: str) -> tuple[Candidate, ...]:
        return tuple(c for c in self.candidates.values() if c.parents and c.parents[0] == commit)

    def merge_base(self, ours: str, theirs: str) -> str | None:
        return None

    def merge(self, base: str, ours: str, theirs: str) -> Mapping[str, bytes] | None:
        return None

    async def call(
        self,
        request: bytes,
        send: Callable[[bytes], Awaitable[Reply]],
        *,
        model: str,
        money: float | None = None,
        tokens: int = 0,
    ) -> Reply:
        digest = hashlib.sha256(request).hexdigest()
        reply = self.recorded.get(digest) or await send(request)
        self.recorded[digest] = reply
        self.calls.append((request, money, tokens, reply))
        return reply

    def batch_of(self, digest: str) -> str | None:
        return self.kept_batches.get(digest)

    async def batched(self, batch: str, model: str, digests: Sequence[str]) -> None:
        self.kept_batches.update(dict.fromkeys(digests, batch))

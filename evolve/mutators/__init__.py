"""Mutators: a brief in, a proposal out. Ours are in this folder; others register under the entry point `evolve.mutators`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from evolve.population.brief import Brief, Proposal
from evolve.population.candidate import Candidate
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model's service sent: the whole answer, and what it cost. money None: price unknown, never 0."""

    body: bytes
    outcome: str = "ok"
    money: float | None = None
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0


class Desk(Protocol):
    """What a mutator works from: the lineage's texts (read only), and a recorded line to the outside.

    Everything a mutator reads comes from here or from the brief, and every request leaves through `call`, so that a
    run can be replayed without a network.
    """

    task: Task

    def files(self, commit: str) -> Mapping[str, bytes]:
        """Editable files of a candidate: path -> content (regular files only)."""
        ...

    def read(self, commit: str, path: str) -> bytes | None:
        """Any file of a candidate's tree (context files, say); None where there is none or it is no regular file."""
        ...

    def candidate(self, commit: str) -> Candidate:
        """What is known of a candidate. Raises KeyError for one not in the archive."""
        ...

    def evidence(self, commit: str) -> tuple[Evidence, ...]:
        """All evidence of a candidate's tree, oldest first."""
        ...

    def children(self, commit: str) -> tuple[Candidate, ...]:
        """Candidates whose first parent it is, oldest first."""
        ...

    def merge_base(self, ours: str, theirs: str) -> str | None:
        """Best common ancestor, as git finds it."""
        ...

    async def call(
        self,
        request: bytes,
        send: Callable[[bytes], Awaitable[Reply]],
        *,
        model: str,
        money: float | None = None,
        tokens: int = 0,
    ) -> Reply:
        """Send a request on the record: the reservation is durable before it leaves, the answer before it is used.

        A request already answered for this brief (a resume, a replay) returns the recorded reply and sends nothing.
        Raises BudgetSpent (evolve.errors) when the reservation does not fit.
        """
        ...


@runtime_checkable
class Mutator(Protocol):
    """Answers briefs. Must be a pure function of (brief, desk) but for what `desk.call` brings.

    operators: which `Brief.operator` values it answers. latency: True where it waits on something outside (then it
    gets slots of its own); False for a quick computation in this process.
    """

    name: str
    operators: tuple[str, ...]
    latency: bool

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        """Never raises for a bad edit: that is `Proposal(stillborn=...)`."""
        ...

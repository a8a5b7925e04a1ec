"""Mutators: a brief in, a proposal out. Ours are in this folder; others register under the entry point `evolve.mutators`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
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

    def merge(self, base: str, ours: str, theirs: str) -> Mapping[str, bytes] | None:
        """Editable files of the three-way merge of two candidates; None where git finds a conflict."""
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

    @property
    def name(self) -> str: ...
    @property
    def operators(self) -> tuple[str, ...]: ...
    @property
    def latency(self) -> bool: ...

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        """Never raises for a bad edit: that is `Proposal(stillborn=...)`."""
        ...


def load(names: Sequence[str], *, offline: bool = False) -> list[Mutator]:
    """Mutators by name: ours ("syntactic", "random-search"), or registered under the entry point group
    `evolve.mutators` as a class, a function that makes one, or an object.

    offline: for a replay; models reach no service and need no key. Raises UsageError for an unknown name, for one given twice, and for what is no mutator.
    """
    from importlib.metadata import entry_points

    from evolve.errors import UsageError
    from evolve.mutators import named
    from evolve.mutators.random_search import RandomSearch
    from evolve.mutators.syntactic import Syntactic

    ours: dict[str, Callable[[], Mutator]] = {"syntactic": Syntactic, "random-search": RandomSearch}
    others = {point.name: point for point in entry_points(group="evolve.mutators")}
    made: list[Mutator] = []
    for name in names:
        if name in ours:
            found: object = ours[name]()
        elif (worded := named.make(name, offline=offline)) is not None:
            found = worded
        elif name in others:
            loaded = others[name].load()
            found = loaded() if callable(loaded) and not isinstance(loaded, Mutator) else loaded
            found = loaded() if isinstance(loaded, type) else found
        else:
            raise UsageError(f"unknown mutator {name!r}; known: {', '.join([*ours, *named.NAMES, *others])}")
        if not isinstance(found, Mutator):
            raise UsageError(
                f"mutator {name!r} is a {type(found).__name__} without name, operators, latency and propose"
            )
        if any(found.name == other.name for other in made):
            raise UsageError(f"mutator {name!r} is given twice")
        made.append(found)
    return made

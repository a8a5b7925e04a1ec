"""Choosing parents. A selector sees a bounded live population and a random stream, nothing else."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from evolve.population.brief import Inspiration
from evolve.population.candidate import Candidate
from evolve.population.policy import Policy


@dataclass(slots=True)
class Population:
    """What a selector may see of one task, at one position of the log.

    live:     island -> its bounded live members (eligible candidates), oldest first.
    champion: the reigning best; seed: the task's first candidate.
    asked, evaluated: briefs made and first verdicts given so far. left: share of the budget left, 0..1.
    island_gain: island -> decayed gains, normalised by the global best (docs/search.md).
    novelty:  commit -> mean distance (0..1) to its nearest live neighbours; 1.0 where unknown.
    stalled:  evaluations since the champion's last promotion.
    exact:    whether the noise check found none: two measurements of the seed agreed to the last bit.
    sketches: commit -> sketch of its text (population/novelty.py). goals: metric -> +1 where more is better, else -1.
    """

    task: str
    live: Mapping[str, Sequence[Candidate]]
    champion: Candidate
    seed: Candidate
    asked: int = 0
    evaluated: int = 0
    left: float = 1.0
    island_gain: Mapping[str, float] = field(default_factory=dict)
    novelty: Mapping[str, float] = field(default_factory=dict)
    stalled: int = 0
    exact: bool = False
    directives: Sequence[str] = ()
    sketches: Mapping[str, str] = field(default_factory=dict)
    goals: Mapping[str, float] = field(default_factory=dict)

    def everyone(self) -> list[Candidate]:
        """All live members once, island by island in the order of their names; the seed where there are none."""
        found = {c.commit: c for name in sorted(self.live) for c in self.live[name]}
        return list(found.values()) or [self.seed]


@dataclass(frozen=True, slots=True)
class Choice:
    """What to ask for next: an operator, 1..2 parents (hex ids), the island a child joins, inspirations."""

    operator: str
    parents: tuple[str, ...]
    island: str = "main"
    inspirations: tuple[Inspiration, ...] = ()
    hint: Mapping[str, object] = field(default_factory=dict)


@runtime_checkable
class Selector(Protocol):
    """Chooses parents. Deterministic in (population, rng): no clock, no global random state, no state of its own."""

    @property
    def name(self) -> str: ...

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        """One choice. `operators` are those the run's mutators answer; never empty."""
        ...


def load(name: str, policy: Policy | None = None) -> Selector:
    """A selector by name: ours, set by the policy, or one registered under the entry point group `evolve.selectors`.

    Raises UsageError naming the known ones.
    """
    from importlib.metadata import entry_points

    from evolve.population.selection.baselines import BestOfN, Greedy, Uniform
    from evolve.population.selection.grid import MapElites
    from evolve.population.selection.islands import Islands
    from evolve.population.selection.pareto import Cases, Pareto
    from evolve.population.selection.power import PowerLaw
    from evolve.population.selection.puct import Puct
    from evolve.tasks.errors import UsageError

    made: tuple[Selector, ...] = (
        Islands.of(policy or Policy()), Greedy(), BestOfN(), Uniform(), MapElites(), Pareto(), Cases(), Puct(), PowerLaw(),
    )  # fmt: skip
    ours = {selector.name: selector for selector in made}
    if name in ours:
        return ours[name]
    others = {point.name: point for point in entry_points(group="evolve.selectors")}
    if name in others:
        found = others[name].load()
        chosen: Selector = found() if isinstance(found, type) else found
        return chosen
    raise UsageError(f"unknown selector {name!r}; known: {', '.join([*ours, *others])}")

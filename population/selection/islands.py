"""The default: a few lineages share the budget by their decayed gains; within one, performance x novelty x 1/(1+children).

What each part is for, and what it was measured to be worth, is in docs/search.md.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from evolve.population.brief import Inspiration
from evolve.population.candidate import Candidate
from evolve.population.policy import Policy
from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import fitness, usual, weighted

SLOPE = 10.0
"""Of the performance sigmoid, in units of the median absolute deviation (ShinkaEvolve's weighted sampling)."""


@dataclass(frozen=True, slots=True)
class Islands:
    """names: the islands of the opening; later ones join by themselves. opening: briefs that start independently from
    the seed. elite: chance that an island's best is the parent. explore: share of briefs spread over all islands alike.
    cross, other: chances of a crossover, and of a transplant or explore where a mutator answers them. settle: share of
    the budget after which the leader's island gets all but `explore` of the briefs. climb: where the task measures exactly,
    the best of all is the parent while it has moved within so many evaluations."""

    name: str = "islands"
    names: tuple[str, ...] = ("i1", "i2", "i3")
    opening: int = 9
    elite: float = 0.6
    explore: float = 0.15
    cross: float = 0.05
    other: float = 0.05
    settle: float = 0.25
    climb: int = 0

    @classmethod
    def of(cls, policy: Policy) -> Islands:
        names = tuple(f"i{number + 1}" for number in range(policy.islands))
        return cls(
            names=names, opening=policy.opening, elite=policy.elite, explore=policy.spread, cross=policy.cross,
            other=policy.other, settle=policy.settle, climb=policy.climb,
        )  # fmt: skip

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        if population.asked < self.opening or not population.live:
            island = self.names[population.asked % len(self.names)]
            operator = (
                "explore" if "explore" in operators and population.asked >= len(self.names) else usual(operators)
            )
            return Choice(operator, (population.seed.commit,), island)
        if population.exact and population.stalled < self.climb:
            parent = max(population.everyone(), key=lambda c: (fitness(c), -c.number))
            island = parent.island or self.names[0]
        else:
            island = self._island(population, rng)
            members = list(population.live.get(island, ())) or [population.seed]
            parent = self._parent(members, population, rng)
        operator, second = self._operator(population, operators, parent, rng)
        inspirations = self._inspirations(population, parent)
        return Choice(operator, (parent.commit, *second), island, inspirations)

    # ---- parts ---------------------------------------------------------------------------------------------------

    def _island(self, population: Population, rng: random.Random) -> str:
        joined = sorted(set(population.live) - set(self.names))
        live = [name for name in (*self.names, *joined) if population.live.get(name)] or [self.names[0]]
        draw, pick = rng.random(), rng.random()
        if draw < self.explore or len(live) == 1:
            return live[int(pick * len(live))]
        if 1.0 - population.left >= self.settle:
            return max(live, key=lambda name: (_best(population.live[name]), name))
        gains = [population.island_gain.get(name, 0.0) for name in live]
        return weighted(live, [gain + 0.1 * (max(gains) or 1.0) for gain in gains], pick)

    def _parent(self, members: Sequence[Candidate], population: Population, rng: random.Random) -> Candidate:
        draw, pick = rng.random(), rng.random()
        if draw < self.elite:
            return max(members, key=lambda c: (fitness(c), -c.number))
        return weighted(members, weights(members, population), pick)

    def _operator(
        self, population: Population, operators: Sequence[str], parent: Candidate, rng: random.Random
    ) -> tuple[str, tuple[str, ...]]:
        draw, pick = rng.random(), rng.random()
        others = [c for name in sorted(population.live) for c in population.live[name] if c.commit != parent.commit]
        pair = next((op for op in ("crossover", "combine") if op in operators), "")
        if draw < self.cross and pair and others:
            return pair, (weighted(others, weights(others, population), pick).commit,)
        if draw < self.cross + self.other:
            spare = [op for op in operators if op in ("transplant", "explore", "simplify")]
            if spare:
                operator = spare[int(pick * len(spare))]
                if operator != "transplant":
                    return operator, ()
                if others:
                    return operator, (others[int(rng.random() * len(others))].commit,)
        return usual(operators), ()

    def _inspirations(self, population: Population, parent: Candidate) -> tuple[Inspiration, ...]:
        """The best of another family: the fittest live member of the other islands that is not an ancestor's twin."""
        others = [
            max(members, key=lambda c: (fitness(c), -c.number))
            for name, members in sorted(population.live.items())
            if members and name != parent.island
        ]
        others = [c for c in others if c.commit != parent.commit and c.commit != population.seed.commit]
        if not others:
            return ()
        best = max(others, key=lambda c: (fitness(c), -c.number))
        return (Inspiration(best.commit, f"best of island {best.island}"),)


def weights(members: Sequence[Candidate], population: Population) -> list[float]:
    """performance x novelty x 1/(1 + children) for each member; performance = sigmoid(10 (f - median) / MAD)."""
    values = [fitness(c) for c in members]
    centre = median(values)
    scale = max(median(abs(v - centre) for v in values), 1e-9 * max(abs(centre), 1.0))
    return [
        _sigmoid(SLOPE * (value - centre) / scale) * (0.1 + population.novelty.get(c.commit, 1.0)) / (1 + c.children)
        for c, value in zip(members, values, strict=True)
    ]


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0


def _best(members: Sequence[Candidate]) -> float:
    # asked for each island at each choice, so without a call for each member
    return max((v.fitness for c in members if (v := c.verdict) and v.fitness is not None), default=-math.inf)

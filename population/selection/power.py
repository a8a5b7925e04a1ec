"""Rank-weighted power law (as ShinkaEvolve's and many before): the k-th best is a parent with chance ~ k ** -exponent."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import asked, fitness, weighted


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """exponent: 0 is uniform, large is greedy. Children count against a parent as 1 / (1 + children)."""

    name: str = "power-law"
    exponent: float = 1.0

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        ranked = sorted(population.everyone(), key=lambda c: (-fitness(c), c.number))
        chances = [(rank + 1) ** -self.exponent / (1 + c.children) for rank, c in enumerate(ranked)]
        return asked(weighted(ranked, chances, rng.random()), ranked, operators, rng)

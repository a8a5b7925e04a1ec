"""Plain policies, for comparison and for users who want them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import fitness, usual


@dataclass(frozen=True, slots=True)
class Greedy:
    """Always the best so far (a (1+1) evolution strategy with a one-at-a-time mutator)."""

    name: str = "greedy"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        best = max(population.everyone(), key=lambda c: (fitness(c), -c.number))
        return Choice(usual(operators), (best.commit,))


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Independent attempts: every parent is the seed."""

    name: str = "best-of-n"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        return Choice(usual(operators), (population.seed.commit,))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A live candidate at random, whatever it is worth."""

    name: str = "random"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = population.everyone()
        return Choice(usual(operators), (members[int(rng.random() * len(members))].commit,))

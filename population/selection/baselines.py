"""Plain policies, for comparison and for users who want them."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.population.candidate import Candidate
from evolve.population.selection import Choice, Population


def _everyone(population: Population) -> list[Candidate]:
    unique = {c.commit: c for name in sorted(population.live) for c in population.live[name]}
    return list(unique.values()) or [population.seed]


def _improve(operators: Sequence[str]) -> str:
    return "improve" if "improve" in operators else operators[0]


@dataclass(frozen=True, slots=True)
class Greedy:
    """Always the best so far (a (1+1) evolution strategy with a one-at-a-time mutator)."""

    name: str = "greedy"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        best = max(_everyone(population), key=lambda c: (c.fitness if c.fitness is not None else -math.inf, -c.number))
        return Choice(_improve(operators), (best.commit,))


@dataclass(frozen=True, slots=True)
class BestOfN:
    """Independent attempts: every parent is the seed."""

    name: str = "best-of-n"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        return Choice(_improve(operators), (population.seed.commit,))


@dataclass(frozen=True, slots=True)
class Uniform:
    """A live candidate at random, whatever it is worth."""

    name: str = "random"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = _everyone(population)
        return Choice(_improve(operators), (members[int(rng.random() * len(members))].commit,))

"""PUCT with the best child's worth (TTT-Discover, arXiv 2601.16175): a node's value is the best of itself and its children."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.population.candidate import Candidate
from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import asked, fitness


@dataclass(frozen=True, slots=True)
class Puct:
    """explore: weight of the visit bonus. Values are ranks scaled to 0..1, so that no unit of fitness matters; the prior
    falls with the rank. Deterministic but for the operator."""

    name: str = "puct"
    explore: float = 1.0

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = population.everyone()
        ranked = sorted(members, key=lambda c: (fitness(c), -c.number))
        place = {c.commit: (rank + 1) / len(ranked) for rank, c in enumerate(ranked)}
        best = dict(place)
        for child in members:
            for parent in child.parents[:1]:
                if parent in best:
                    best[parent] = max(best[parent], place[child.commit])
        total = math.fsum(place.values())
        visits = math.sqrt(1 + sum(c.children for c in members))

        def bound(c: Candidate) -> tuple[float, int]:
            prior = place[c.commit] / total
            return best[c.commit] + self.explore * prior * visits / (1 + c.children), -c.number

        return asked(max(members, key=bound), members, operators, rng)

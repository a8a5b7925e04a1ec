"""Pareto fronts: over a task's objectives, and over its cases (GEPA, arXiv 2507.19457: each case has its own winners)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from evolve.population.candidate import Candidate
from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import asked, weighted


def front(vectors: Sequence[tuple[float, ...]]) -> list[int]:
    """Places of the vectors that no other dominates (more is better everywhere)."""

    def dominated(a: tuple[float, ...]) -> bool:
        return any(b != a and all(y >= x for x, y in zip(a, b, strict=True)) for b in vectors)

    return [place for place, vector in enumerate(vectors) if not dominated(vector)]


@dataclass(frozen=True, slots=True)
class Pareto:
    """A member of the front over the objectives, those with fewer children first. One objective: the best."""

    name: str = "pareto"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = [c for c in population.everyone() if c.verdict is not None and c.verdict.objectives]
        if not members:
            return asked(population.seed, (), operators, rng)
        vectors = [c.verdict.objectives if c.verdict else () for c in members]
        best = [members[place] for place in front(vectors)]
        parent = weighted(best, [1 / (1 + c.children) for c in best], rng.random())
        return asked(parent, members, operators, rng)


@dataclass(frozen=True, slots=True)
class Cases:
    """A member by the number of cases in which none beats it. The cases are the metrics that are no objective; without
    any, the objectives are."""

    name: str = "pareto-cases"

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = [c for c in population.everyone() if c.verdict is not None and c.fitness is not None]
        cases = self._cases(members, population)
        if not members or not cases:
            return asked(population.seed, (), operators, rng)
        wins = [0] * len(members)
        for case in cases:
            top = max(case)
            for place, value in enumerate(case):
                wins[place] += value == top
        won = [(c, count) for c, count in zip(members, wins, strict=True) if count]
        parent = weighted([c for c, _ in won], [float(count) for _, count in won], rng.random())
        return asked(parent, members, operators, rng)

    def _cases(self, members: Sequence[Candidate], population: Population) -> list[list[float]]:
        """One row a case with each member's value, more is better."""
        if not members:
            return []
        verdicts = [c.verdict for c in members if c.verdict is not None]
        names = sorted(set.intersection(*(set(v.metrics) for v in verdicts)))
        objectives = {n for n in names if population.goals.get(n, 0) and self._is_objective(n, members, population)}
        cases = [n for n in names if n not in objectives and n in population.goals]
        if not cases:
            width = min(len(v.objectives) for v in verdicts)
            return [[v.objectives[place] for v in verdicts] for place in range(width)]
        return [[population.goals[n] * v.metrics[n].mean for v in verdicts] for n in cases]

    def _is_objective(self, name: str, members: Sequence[Candidate], population: Population) -> bool:
        """Whether a metric is one of the objectives: its signed mean is among them in every member."""
        return all(
            any(population.goals[name] * c.verdict.metrics[name].mean == value for value in c.verdict.objectives)
            for c in members
            if c.verdict is not None
        )

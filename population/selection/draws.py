"""What selectors share: a weighted draw, and which operator goes with a parent."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from typing import TypeVar

from evolve.population.candidate import Candidate
from evolve.population.selection import Choice

T = TypeVar("T")


def weighted(items: Sequence[T], chances: Sequence[float], pick: float) -> T:
    """The item at `pick` (0..1) of all chances; alike where they sum to nothing."""
    total = math.fsum(chances)
    if total <= 0 or not math.isfinite(total):
        return items[int(pick * len(items))]
    point = pick * total
    for item, chance in zip(items, chances, strict=True):
        point -= chance
        if point < 0:
            return item
    return items[-1]


def fitness(candidate: Candidate) -> float:
    verdict = candidate.verdict
    return verdict.fitness if verdict and verdict.fitness is not None else -math.inf


def usual(operators: Sequence[str]) -> str:
    """The operator of most briefs."""
    return "improve" if "improve" in operators else operators[0]


def asked(
    parent: Candidate, others: Sequence[Candidate], operators: Sequence[str], rng: random.Random, share: float = 0.05
) -> Choice:
    """A choice of this parent: `share` of the time a crossover with one of the others, as often an explore, transplant or
    simplify, where the operators allow it."""
    draw, pick = rng.random(), rng.random()
    rest = [c for c in others if c.commit != parent.commit]
    mate = rest[int(pick * len(rest))].commit if rest else ""
    pair = next((op for op in ("crossover", "combine") if op in operators), "")
    if draw < share and pair and mate:
        return Choice(pair, (parent.commit, mate), parent.island)
    spare = [op for op in ("explore", "simplify", "transplant") if op in operators and (op != "transplant" or mate)]
    if share <= draw < 2 * share and spare:
        operator = spare[int(rng.random() * len(spare))]
        return Choice(operator, (parent.commit, mate) if operator == "transplant" else (parent.commit,), parent.island)
    return Choice(usual(operators), (parent.commit,), parent.island)

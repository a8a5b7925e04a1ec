from __future__ import annotations

import random
from collections import Counter

import pytest

from evolve.population import selection
from evolve.population.selection import Selector
from evolve.population.selection.islands import Islands, weights
from evolve.population.testing import SelectorContract, candidate, population
from evolve.tasks.errors import UsageError


class TestIslands(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("islands")


class TestGreedy(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("greedy")

    def test_takes_the_best(self) -> None:
        view = population()
        assert self.selector().choose(view, ("improve",), random.Random(0)).parents == (view.champion.commit,)


class TestBestOfN(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("best-of-n")


class TestUniform(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("random")


def test_unknown_selector_names_the_known() -> None:
    with pytest.raises(UsageError, match="islands"):
        selection.load("iland")


def test_opening_is_independent_and_spread_over_islands() -> None:
    policy = Islands()
    for asked in range(policy.opening):
        view = population(size=12, asked=asked)
        choice = policy.choose(view, ("improve",), random.Random(asked))
        assert choice.parents == (view.seed.commit,) and choice.island == policy.names[asked % 3]


def test_weight_rises_with_fitness_and_novelty_and_falls_with_children() -> None:
    view = population()
    weak, strong, parent = candidate(1, 0.1), candidate(2, 0.9), candidate(3, 0.9, children=9)
    others = [candidate(n, 0.5) for n in range(4, 10)]
    w = dict(zip("wsp", weights([weak, strong, parent, *others], view), strict=False))
    assert w["s"] > w["p"] > w["w"]
    view.novelty = {strong.commit: 0.01}
    assert weights([weak, strong, parent, *others], view)[1] < w["s"]


def test_the_leading_island_gets_most_once_the_opening_share_is_spent() -> None:
    view = population(size=30)
    view.left = 0.4
    leader = max(view.live, key=lambda name: max(c.fitness or 0.0 for c in view.live[name]))
    counts = Counter(Islands().choose(view, ("improve",), random.Random(seed)).island for seed in range(400))
    assert counts[leader] > 300
    assert len(counts) == 3

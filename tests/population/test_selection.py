from __future__ import annotations

import random
from collections import Counter

import pytest

from evolve.population import selection
from evolve.population.candidate import Candidate
from evolve.population.policy import LATER, Policy
from evolve.population.selection import Population, Selector
from evolve.population.selection.islands import Islands, weights
from evolve.population.selection.pareto import front
from evolve.population.selection.power import PowerLaw
from evolve.population.selection.puct import Puct
from evolve.population.testing import SelectorContract, candidate, population
from evolve.tasks.errors import UsageError
from evolve.tasks.verdict import Estimate, Status, Verdict


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


class TestMapElites(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("map-elites")


class TestPareto(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("pareto")


class TestCases(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("pareto-cases")


class TestPuct(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("puct")


class TestPowerLaw(SelectorContract):
    def selector(self) -> Selector:
        return selection.load("power-law")


def measured(number: int, metrics: dict[str, float], objectives: tuple[str, ...] = ("x",), children: int = 0) -> Candidate:
    made = candidate(number, metrics[objectives[0]], children=children)
    estimates = {name: Estimate(value, value, value, 1) for name, value in metrics.items()}
    fitness = metrics[objectives[0]]
    made.verdict = Verdict(Status.SCORED, fitness, fitness, fitness, tuple(metrics[o] for o in objectives), estimates)
    return made


def view_of(members: list[Candidate], **goals: int) -> Population:
    view = population(size=0)
    view.live, view.goals = {"i1": members}, {name: float(sign) for name, sign in goals.items()}
    return view


def chosen(selector: Selector, view: Population, draws: int = 400) -> Counter[int]:
    picks = (selector.choose(view, ("improve",), random.Random(seed)).parents[0] for seed in range(draws))
    return Counter(int(commit, 16) for commit in picks)


def test_the_front_is_what_nothing_dominates() -> None:
    assert front([(1.0, 2.0), (2.0, 1.0), (0.5, 0.5), (2.0, 1.0)]) == [0, 1, 3]
    members = [measured(n, m, ("x", "y")) for n, m in enumerate([{"x": 1.0, "y": 9.0}, {"x": 9.0, "y": 1.0}, {"x": 0.5, "y": 0.5}], 1)]
    assert set(chosen(selection.load("pareto"), view_of(members, x=1, y=1))) == {1, 2}


def test_each_case_has_its_own_winners() -> None:
    """A specialist that is best in two cases of three is drawn twice as often as that of one; case c is less-is-better."""
    members = [
        measured(1, {"x": 3.0, "a": 9.0, "b": 9.0, "c": 5.0}),
        measured(2, {"x": 2.0, "a": 1.0, "b": 1.0, "c": 1.0}),
        measured(3, {"x": 2.9, "a": 8.0, "b": 8.0, "c": 4.0}),
    ]
    counts = chosen(selection.load("pareto-cases"), view_of(members, x=1, a=1, b=1, c=-1))
    assert set(counts) == {1, 2} and 1.4 < counts[1] / counts[2] < 2.8


def test_every_cell_of_the_grid_gives_its_elite() -> None:
    members = [measured(n, {"x": float(n), "size": float(n % 4)}) for n in range(1, 17)]
    counts = chosen(selection.load("map-elites"), view_of(members, x=1, size=-1))
    assert set(counts) == {13, 14, 15, 16} and min(counts.values()) > 60


def test_without_further_metrics_the_cells_are_regions_of_text() -> None:
    from evolve.population.novelty import sketch

    texts = [b"alpha beta gamma delta epsilon zeta eta theta", b"one two three four five six seven eight nine ten"]
    members = [candidate(n, float(n)) for n in range(1, 9)]
    view = view_of(members)
    view.sketches = {c.commit: sketch({"p": texts[c.number % 2] + b" pad pad"}) for c in members}
    assert set(chosen(selection.load("map-elites"), view)) == {7, 8}


def test_puct_comes_back_to_a_parent_of_a_good_child_and_leaves_what_was_visited() -> None:
    parent, child, other = candidate(1, 0.2, children=1), candidate(2, 0.9), candidate(3, 0.5)
    child.parents = (parent.commit,)
    assert set(chosen(Puct(), view_of([parent, child, other]), 5)) == {2}
    child.children = 40
    assert set(chosen(Puct(), view_of([parent, child, other]), 5)) != {2}


def test_the_power_law_prefers_the_better_ranks() -> None:
    members = [candidate(n, float(n)) for n in range(1, 6)]
    counts = chosen(PowerLaw(), view_of(members))
    assert counts[5] > counts[3] > counts[1] > 0
    assert chosen(PowerLaw(exponent=0.0), view_of(members))[1] > 50


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


def test_an_exact_task_is_climbed_while_gains_come() -> None:
    members = [candidate(n, float(n)) for n in range(1, 9)]
    view = view_of(members)
    view.asked, view.exact, view.stalled = 20, True, 3
    climb = Islands.of(Policy(climb=10, cross=0.0, other=0.0))
    assert set(chosen(climb, view, 60)) == {8}
    view.stalled = 10
    assert len(chosen(climb, view, 60)) > 1, "the best has not moved"
    view.stalled, view.exact = 3, False
    assert len(chosen(climb, view, 60)) > 1, "noise would make a lucky one the only parent"


def test_a_run_of_before_has_none_of_what_came_later() -> None:
    before = Policy().record()
    for name in LATER:
        del before[name]
    kept = Policy.known(before)
    assert {name: getattr(kept, name) for name in LATER} == LATER
    assert Policy.known(Policy().record()) == Policy() and Policy.of({"climb": "0"}).climb == 0

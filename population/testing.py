"""Contract tests for selectors: inherit, supply `selector`, and pytest does the rest."""

from __future__ import annotations

import random

from evolve.population.candidate import Candidate
from evolve.population.selection import Population, Selector
from evolve.tasks.verdict import Estimate, Status, Verdict


def candidate(number: int, fitness: float, *, island: str = "i1", children: int = 0) -> Candidate:
    """A scored candidate with a made-up commit id, for tests of selectors."""
    commit = f"{number:040x}"
    verdict = Verdict(Status.SCORED, fitness, fitness, fitness, (fitness,), {"x": Estimate(fitness, fitness, fitness, 1)})
    return Candidate(commit, commit, (), "t", number, island=island, verdict=verdict, children=children)


def population(size: int = 30, asked: int = 100, seed: int = 0) -> Population:
    """Three islands of candidates with fitness in 0..1; `asked` briefs made."""
    rng = random.Random(seed)
    names = ("i1", "i2", "i3")
    live: dict[str, list[Candidate]] = {name: [] for name in names}
    for number in range(1, size + 1):
        live[names[number % 3]].append(candidate(number, rng.random(), island=names[number % 3], children=number % 5))
    everyone = [c for members in live.values() for c in members] or [candidate(0, 0.0)]
    champion = max(everyone, key=lambda c: c.fitness or 0.0)
    return Population("t", {k: v for k, v in live.items() if v}, champion, candidate(0, 0.0), asked, asked, 0.5)


class SelectorContract:
    """What every selector owes the search."""

    operators = ("improve", "explore", "crossover", "transplant", "simplify")

    def selector(self) -> Selector:
        raise NotImplementedError("supply the selector under test")

    def test_same_population_and_stream_give_the_same_choice(self) -> None:
        for seed in range(20):
            one = self.selector().choose(population(seed=seed), self.operators, random.Random(seed))
            two = self.selector().choose(population(seed=seed), self.operators, random.Random(seed))
            assert one == two

    def test_parents_are_live_or_the_seed_and_operators_are_offered(self) -> None:
        view = population()
        known = {c.commit for members in view.live.values() for c in members} | {view.seed.commit}
        for seed in range(200):
            choice = self.selector().choose(view, self.operators, random.Random(seed))
            assert 1 <= len(choice.parents) <= 2 and set(choice.parents) <= known
            assert choice.operator in self.operators
            assert all(i.candidate in known and i.why for i in choice.inspirations)

    def test_works_from_an_empty_population(self) -> None:
        view = population(size=0, asked=0)
        choice = self.selector().choose(view, ("improve",), random.Random(1))
        assert choice.parents == (view.seed.commit,) and choice.operator == "improve"

    def test_works_with_one_operator_only(self) -> None:
        for seed in range(50):
            assert self.selector().choose(population(), ("rewrite",), random.Random(seed)).operator == "rewrite"

    def test_leaves_global_random_state_alone(self) -> None:
        random.seed(7)
        before = random.getstate()
        self.selector().choose(population(), self.operators, random.Random(1))
        assert random.getstate() == before

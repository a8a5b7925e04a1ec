"""Policies on surrogate landscapes: the selectors of real runs, the parts of the default switched off, and controls.

`run` drives a selector through the very folds of a real run (population/folds: lineage, live islands, decayed gains), one
brief at a time. The budget is model calls: an invalid answer and a duplicate cost one as well.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from landscapes import Program

from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds.lineage import Lineage
from evolve.population.folds.live import Live
from evolve.population.selection import Choice, Population, Selector
from evolve.population.selection.baselines import BestOfN, Greedy, Uniform
from evolve.population.selection.islands import Islands
from evolve.tasks.verdict import Status, Verdict

OPERATORS = ("improve", "explore")
TASK = "surrogate"


@dataclass(frozen=True)
class Decision:
    """A choice without its programs: the operator, the island, and which parent, as a rank among all live (None: the seed)."""

    operator: str
    island: str
    rank: float | None


@dataclass
class Played:
    """What a run came to. curve: true progress (0..1) of the best-measured program after each call."""

    curve: list[float]
    decisions: list[Decision]
    evaluations: int
    invalid: int
    duplicates: int


class Policy(Protocol):
    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice: ...


class Ground(Protocol):
    """What a run needs of a landscape or a bank; `landscapes.Landscape` says what each is."""

    noise: float

    @property
    def seed(self) -> Program: ...
    def fitness(self, program: Program) -> float: ...
    def progress(self, fitness: float) -> float: ...
    def expandable(self, program: Program) -> bool: ...
    def propose(
        self, parent: Program, siblings: Sequence[Program], operator: str, rng: random.Random
    ) -> Program | None: ...


class World:
    """The folds of one run on one landscape."""

    def __init__(self, landscape: Ground, *, children: bool = True, novelty: bool = True) -> None:
        self.landscape, self.children, self.novelty = landscape, children, novelty
        self.lineage = Lineage()
        self.live = Live(self.lineage)
        self.programs: dict[str, Program] = {}
        self.born: dict[str, list[Program]] = {}
        self.position = 0
        self.asked = self.evaluated = self.stalled = 0
        self.best: tuple[float, Program] | None = None

    def _apply(self, event: ev.Event) -> None:
        recorded = ev.Recorded(event, "log", self.position, self.position, float(self.position), "")
        self.position += 1
        for fold in (self.lineage, self.live):
            handler = getattr(fold, f"on_{event.kind}", None)
            if handler:
                handler(event, recorded)

    def add(self, program: Program | None, parent: str, island: str, operator: str, rng: random.Random) -> None:
        """A candidate and its verdict."""
        if program is not None:
            self.born.setdefault(parent, []).append(program)
        number = len(self.programs)
        commit = f"{number:040x}"
        self.evaluated += 1
        self.stalled += 1
        if program is not None and not self.landscape.expandable(program):  # a leaf of a bank counts and is no parent
            self._note(self.landscape.fitness(program), program)
            return
        if not parent:
            self._apply(ev.Imported(TASK, commit, commit, (), number, "seed"))
        else:
            self._apply(ev.Born(self.asked, TASK, commit, commit, (parent,), number, operator, island=island))
        self.programs[commit] = program or Program(0, float("inf"))
        value = None if program is None else self.landscape.fitness(program) + rng.gauss(0, 1) * self.landscape.noise
        status = Status.INVALID if value is None else Status.SCORED
        self._apply(ev.Judged(TASK, commit, "", Verdict(status, value, reason="" if program else "no program")))
        if not self.children and parent:
            self.lineage.candidates[parent].children = 0
        if program is not None and value is not None:
            self._note(value, program)

    def _note(self, value: float, program: Program) -> None:
        if self.best is None or value > self.best[0]:
            self.best, self.stalled = (value, program), 0

    def siblings(self, parent: str) -> list[Program]:
        """Valid children so far."""
        return self.born.get(parent, [])

    def population(self, left: float) -> Population:
        islands = self.live.islands.get(TASK, {})
        live = {name: self.live.members(TASK, name) for name in sorted(islands) if islands[name].members}
        seed = self.lineage.candidates[self.lineage.seeds[TASK]]
        everyone = [c for members in live.values() for c in members] or [seed]
        champion = max(everyone, key=lambda c: c.fitness if c.fitness is not None else float("-inf"))
        return Population(
            TASK, live, champion, seed, self.asked, self.evaluated, left,
            island_gain={name: island.gain for name, island in islands.items()},
            novelty=Distances(everyone, self.programs) if self.novelty else {}, stalled=self.stalled,
            exact=self.landscape.noise == 0,
        )  # fmt: skip


class Distances(Mapping[str, float]):
    """commit -> mean distance (0..1) to its three nearest live neighbours, computed when first asked for."""

    def __init__(self, members: Sequence[Candidate], programs: Mapping[str, Program]) -> None:
        self._commits = list(dict.fromkeys(c.commit for c in members))
        self._programs = programs
        self._found: dict[str, float] | None = None

    def _compute(self) -> dict[str, float]:
        if self._found is None:
            places = np.array([self._programs[c].place for c in self._commits])
            apart = np.sqrt(((places[:, None, :] - places[None, :, :]) ** 2).sum(axis=2))
            np.fill_diagonal(apart, np.inf)
            near = np.sort(apart, axis=1)[:, : max(min(3, len(self._commits) - 1), 1)]
            mean = np.where(np.isfinite(near), near, 1.0).mean(axis=1)
            self._found = dict(zip(self._commits, (mean / (1 + mean)).tolist(), strict=True))
        return self._found

    def __getitem__(self, key: str) -> float:
        return self._compute()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._commits)

    def __len__(self) -> int:
        return len(self._commits)


def run(
    landscape: Ground, policy: Policy, calls: int, seed: object, noted: bool = False, under_way: int = 0, **parts: bool
) -> Played:
    """One run of `calls` model calls; its random streams depend on `seed` alone. noted: keep the decisions. under_way: so many
    proposals are asked for before the first of them is known, as where several are written or evaluated at a time."""
    waiting: deque[tuple[Program | None, Choice]] = deque()
    world = World(landscape, **parts)
    luck = random.Random(f"{seed}/luck")
    world.add(landscape.seed, "", "main", "", luck)
    curve, decisions, invalid, duplicates = [], [], 0, 0
    for call in range(calls):
        rng = random.Random(f"{seed}/{call}")
        choice = policy.choose(world.population(1 - call / calls), OPERATORS, rng)
        world.asked += 1
        parent = choice.parents[0]
        if noted:
            decisions.append(decision(world, choice))
        siblings = world.siblings(parent)
        waiting.append((landscape.propose(world.programs[parent], siblings, choice.operator, luck), choice))
        while len(waiting) > (under_way if call + 1 < calls else 0):
            child, choice = waiting.popleft()
            parent = choice.parents[0]
            if child is not None and child in world.siblings(parent):
                duplicates += 1
            else:
                invalid += child is None
                world.add(child, parent, choice.island, choice.operator, luck)
        assert world.best is not None
        curve.append(landscape.progress(landscape.fitness(world.best[1])))
    return Played(curve, decisions, world.evaluated, invalid, duplicates)


def ranked(population: Population) -> list[Candidate]:
    live = population.live
    unique = {c.commit: c for name in sorted(live) for c in live[name]}
    return sorted(unique.values(), key=lambda c: (-(c.fitness if c.fitness is not None else float("-inf")), c.number))


def decision(world: World, choice: Choice) -> Decision:
    if choice.parents[0] == world.lineage.seeds[TASK]:
        return Decision(choice.operator, choice.island, None)
    everyone = [c.commit for c in ranked(world.population(0.0))]
    rank = everyone.index(choice.parents[0]) if choice.parents[0] in everyone else 0
    return Decision(choice.operator, choice.island, rank / max(len(everyone), 1))


# ---- controls --------------------------------------------------------------------------------------------------------


def _choice(wanted: Decision, population: Population) -> Choice:
    everyone = ranked(population)
    if wanted.rank is None or not everyone:
        return Choice(wanted.operator, (population.seed.commit,), wanted.island)
    return Choice(wanted.operator, (everyone[int(wanted.rank * len(everyone))].commit,), wanted.island)


@dataclass(frozen=True)
class Replayed:
    """Given decisions in a given order: the time-shuffled control of the policy that made them."""

    decisions: tuple[Decision, ...]

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        return _choice(self.decisions[population.asked % len(self.decisions)], population)


@dataclass(frozen=True)
class StaticMix:
    """Each decision drawn anew from a policy's pooled ones."""

    decisions: tuple[Decision, ...]

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        return _choice(self.decisions[int(rng.random() * len(self.decisions))], population)


@dataclass(frozen=True)
class Restarts:
    """Greedy with restarts of Luby's lengths (1, 1, 2, 1, 1, 2, 4, ...) times `unit` calls (Luby, Sinclair, Zuckerman 1993).
    An island is a chain; its first parent is the seed."""

    unit: int = 12

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        left, number = population.asked, 1
        while left >= (length := self.unit * luby(number)):
            left, number = left - length, number + 1
        island = f"r{number}"
        members = population.live.get(island, ())
        best = max(members, key=lambda c: (c.fitness or 0.0, -c.number), default=population.seed)
        return Choice("improve", (best.commit,), island)


def luby(i: int) -> int:
    """The i-th term, from 1, of Luby's sequence."""
    k = i.bit_length()
    return 1 << (k - 1) if i == (1 << k) - 1 else luby(i - (1 << (k - 1)) + 1)


@dataclass(frozen=True)
class OnStall:
    """A policy with a tactic: after `patience` evaluations without a gain, every second order explores from the champion."""

    policy: Policy
    patience: int = 8

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        choice = self.policy.choose(population, operators, rng)
        if population.stalled >= self.patience and population.asked % 2 == 0:
            return replace(choice, operator="explore")
        return choice


# ---- by name ---------------------------------------------------------------------------------------------------------

DEFAULT = Islands()

SELECTORS: dict[str, tuple[Policy | Selector, dict[str, Any]]] = {
    "default": (DEFAULT, {}),
    "greedy": (Greedy(), {}),
    "restarts": (Restarts(), {}),
    "best-of-n": (BestOfN(), {}),
    "uniform": (Uniform(), {}),
    "one island": (replace(DEFAULT, names=("i1",)), {}),
    "two islands": (replace(DEFAULT, names=("i1", "i2")), {}),
    "five islands": (replace(DEFAULT, names=("i1", "i2", "i3", "i4", "i5")), {}),
    "elite 0": (replace(DEFAULT, elite=0.0), {}),
    "elite 0.9": (replace(DEFAULT, elite=0.9), {}),
    "opening 3": (replace(DEFAULT, opening=3), {}),
    "opening 18": (replace(DEFAULT, opening=18), {}),
    "no leader's share": (replace(DEFAULT, settle=2.0), {}),
    "no explore": (replace(DEFAULT, other=0.0), {}),
    "novelty off": (DEFAULT, {"novelty": False}),
    "children off": (DEFAULT, {"children": False}),
    "climb 10": (replace(DEFAULT, climb=10), {}),
    "climb 10 with 3 under way": (replace(DEFAULT, climb=10), {"under_way": 3}),
    "climb 10 with 8 under way": (replace(DEFAULT, climb=10), {"under_way": 8}),
    "climb 20": (replace(DEFAULT, climb=20), {}),
    "climb 40": (replace(DEFAULT, climb=40), {}),
    "climb 20 opening 3": (replace(DEFAULT, climb=20, opening=3), {}),
    "climb 10 opening 3": (replace(DEFAULT, climb=10, opening=3), {}),
    "climb 10 elite 0.9": (replace(DEFAULT, climb=10, elite=0.9), {}),
    "climb 40 opening 3": (replace(DEFAULT, climb=40, opening=3), {}),
    "climb 40 opening 3 elite 0.9": (replace(DEFAULT, climb=40, opening=3, elite=0.9), {}),
    "explore on stall": (OnStall(DEFAULT), {}),
}

"""Surrogate landscapes: a scripted proposer whose programs are numbers, so that a policy can be tried thousands of times.

A program is a basin, a gap to that basin's ceiling, and whether it is a portal (a neutral variant from which another basin
is near). Its true fitness is ceiling - gap. A proposal on a parent falls into one of the classes of published traces
(search evidence in docs/search.md, 'Proof'):

    invalid     5-84% of calls; more where a chain is deep, if `context` is set
    duplicate   20-30%, rising with the number of children the parent has: models send the same edit again
    harmful     a larger gap
    neutral     the same gap; rarely a portal
    small gain  the gap shrinks by a heavy-tailed share, so gains shrink with the gap
    switch      rare: another basin, with a gap of its own; likelier on `explore` orders, from portals, and where the gap is
                still large (`commit`): polished programs are seldom re-thought

FROZEN below the line of CALIBRATION once calibrate.py passes; `held_out` was first run after that.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Program:
    basin: int
    gap: float
    depth: int = 0
    portal: bool = False
    place: tuple[float, ...] = ()


@dataclass(frozen=True)
class Landscape:
    """ceilings: of the basins; the seed is in basin 0 at gap `start`. switch: chance of a basin switch an edit; `explore`
    multiplies it for that order. reach: weights of the basin switched to. entry: gap in a new basin. commit: 0, a switch is as
    likely from everywhere; 1, its chance is proportional to the gap left over `start`. fade: factor on the chance of a gain
    for each step of depth. noise: standard deviation of a measurement. tail: Pareto exponent of the share a gain takes."""

    name: str
    ceilings: tuple[float, ...]
    reach: tuple[float, ...]
    start: float = 1.0
    entry: float = 1.0
    invalid: float = 0.15
    duplicate: float = 0.2
    neutral: float = 0.2
    gain: float = 0.2
    switch: float = 0.01
    explore: float = 16.0
    commit: float = 0.0
    context: float = 0.0
    fade: float = 1.0
    noise: float = 0.0
    tail: float = 1.1
    share: float = 0.04
    portal: float = 0.0

    @property
    def seed(self) -> Program:
        return Program(0, self.start, place=(0.0,) * 4)

    def fitness(self, program: Program) -> float:
        return self.ceilings[program.basin] - program.gap

    def expandable(self, program: Program) -> bool:
        return True

    def progress(self, fitness: float) -> float:
        """0 at the seed, 1 at the highest ceiling."""
        origin = self.ceilings[0] - self.start
        return (fitness - origin) / (max(self.ceilings) - origin)

    def propose(
        self, parent: Program, siblings: Sequence[Program], operator: str, rng: random.Random
    ) -> Program | None:
        """A child, one of the siblings again (a duplicate), or None (invalid)."""
        if rng.random() < min(self.invalid + self.context * parent.depth, 0.95):
            return None
        count = len(siblings)
        if count and rng.random() < self.duplicate * (1 + count / (count + 8)):
            return siblings[int(rng.random() * count)]
        wide = self.explore if operator == "explore" else 1.0
        left = parent.gap / self.start if self.commit else 1.0
        switch = self.switch * wide * (25.0 if parent.portal else 1.0) * min(left, 1.0) ** self.commit
        draw = rng.random()
        if draw < min(switch, 0.5) and len(self.ceilings) > 1:
            return self._elsewhere(parent, rng)
        gain = self.gain * self.fade**parent.depth / (2.0 if operator == "explore" else 1.0)
        if rng.random() < gain:
            part = min(self.share * rng.paretovariate(self.tail), 0.95)
            return self._child(parent, parent.gap * (1 - part), rng)
        if rng.random() < self.neutral:
            return self._child(parent, parent.gap, rng, portal=rng.random() < self.portal)
        return self._child(parent, parent.gap + self.start * abs(rng.gauss(0, 0.3)), rng)

    def _elsewhere(self, parent: Program, rng: random.Random) -> Program:
        others = [b for b in range(len(self.ceilings)) if b != parent.basin]
        basin = rng.choices(others, [self.reach[b] + 0.05 for b in others])[0]
        place = tuple(rng.gauss(0, 1) for _ in range(4))
        return Program(basin, self.entry * rng.lognormvariate(0, 0.3), parent.depth + 1, place=place)

    def _child(self, parent: Program, gap: float, rng: random.Random, portal: bool = False) -> Program:
        place = tuple(value + rng.gauss(0, 0.1) for value in parent.place)
        return Program(parent.basin, gap, parent.depth + 1, portal, place)


# ---- CALIBRATION: frozen, see calibrate.py ---------------------------------------------------------------------------

FAMILY: tuple[Landscape, ...] = (
    # independent attempts win: depth does not pay and costs validity
    Landscape("near-ceiling", (1.0,), (1.0,), start=0.15, gain=0.12, fade=0.25, context=0.08, tail=0.9, share=0.03),
    # depth wins: many small gains (a constructive heuristic far from its ceiling), and a better idea that is seldom had
    Landscape("deep", (0.8, 1.0), (0, 1), invalid=0.05, gain=0.25, share=0.03, tail=1.3, switch=0.002, entry=0.4),
    # the seed's basin is easy and low; others begin below what is already had, and polished programs do not lead there
    Landscape("deceptive", (0.55, 0.8, 1.0), (0, 2, 1), gain=0.3, switch=0.04, commit=1.0, entry=0.7, invalid=0.3),
    # gains are below the noise of one measurement
    Landscape("noisy", (0.8, 1.0), (0, 1), noise=0.15, gain=0.2, switch=0.005, entry=0.5),
    # better basins are next to rare neutral variants
    Landscape("portals", (0.5, 0.75, 1.0), (0, 2, 1), gain=0.25, neutral=0.5, portal=0.06, switch=0.004, entry=0.3),
    # most calls fail, one basin in five is good
    Landscape("hexagon", (0.5, 0.4, 0.6, 0.7, 1.0), (1, 1, 1, 1, 0.5), invalid=0.7, gain=0.3, switch=0.03, entry=0.5),
    # two ceilings near each other and easy gains: everything gets there
    Landscape("easy", (0.97, 1.0), (0, 1), gain=0.35, share=0.08, switch=0.02, entry=0.3),
)


def held_out(rng: random.Random) -> Landscape:
    """A staircase of nested basins with rates drawn from the ranges of the traces: each basin leads to the next one."""
    steps = rng.randint(2, 6)
    rises = [rng.lognormvariate(0, 0.7) for _ in range(steps)]
    total = math.fsum(rises)
    ceilings = tuple(math.fsum(rises[: i + 1]) / total for i in range(steps))
    return Landscape(
        "staircase", ceilings, tuple(0.4**i for i in range(steps)), start=rng.uniform(0.1, 0.6), entry=rng.uniform(0.1, 0.6),
        invalid=rng.uniform(0.05, 0.6), duplicate=rng.uniform(0.2, 0.3), neutral=rng.uniform(0.1, 0.4), gain=rng.uniform(0.1, 0.35),
        switch=10 ** rng.uniform(-2.5, -1.3), commit=rng.choice((0.0, 1.0)), fade=rng.choice((1.0, 1.0, 0.9)),
        noise=rng.choice((0.0, 0.0, 0.03)), tail=rng.uniform(0.9, 1.5), portal=rng.choice((0.0, 0.04)),
    )  # fmt: skip

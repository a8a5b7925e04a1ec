"""MAP-Elites (Mouret and Clune, 2015): the best of each cell of a behaviour space; a cell at random, its elite is the parent.

Where a task measures more than its objective, those metrics span the space, cut at their quantiles. Else the cells are
around CELLS programs that are far apart in their text (a centroidal tessellation by farthest-first traversal).
"""

from __future__ import annotations

import bisect
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from evolve.population.candidate import Candidate
from evolve.population.novelty import distance
from evolve.population.selection import Choice, Population
from evolve.population.selection.draws import asked, fitness

AXES = 2
"""Most metrics that span the space."""


@dataclass(frozen=True, slots=True)
class MapElites:
    """bins: cuts of each metric's axis. cells: of the space of texts."""

    name: str = "map-elites"
    bins: int = 4
    cells: int = 12

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        members = population.everyone()
        elites: dict[Hashable, Candidate] = {}
        for cell, candidate in zip(self.placed(members, population), members, strict=True):
            if cell not in elites or fitness(candidate) > fitness(elites[cell]):
                elites[cell] = candidate
        best = sorted(elites.values(), key=lambda c: c.number)
        return asked(best[int(rng.random() * len(best))], best, operators, rng)

    def placed(self, members: Sequence[Candidate], population: Population) -> list[Hashable]:
        """The cell of each member."""
        axes = self._axes(members, population)
        if not axes:
            return self._tessellated(members, population)
        cells: list[Hashable] = []
        cuts = [_quantiles(axis, self.bins) for axis in axes]
        for place in range(len(members)):
            cells.append(tuple(bisect.bisect_right(c, axis[place]) for c, axis in zip(cuts, axes, strict=True)))
        return cells

    def _axes(self, members: Sequence[Candidate], population: Population) -> list[list[float]]:
        """Values of the first AXES metrics that are no objective, which every member has, and which differ."""
        verdicts = [c.verdict for c in members if c.verdict is not None]
        if len(verdicts) < len(members) or not members:
            return []
        names = sorted(set.intersection(*(set(v.metrics) for v in verdicts)))
        found = []
        for name in names:
            values = [v.metrics[name].mean for v in verdicts]
            objective = all(
                population.goals.get(name, 0) * x in v.objectives for x, v in zip(values, verdicts, strict=True)
            )
            if name in population.goals and not objective and len(set(values)) > 1:
                found.append(values)
        return found[:AXES]

    def _tessellated(self, members: Sequence[Candidate], population: Population) -> list[Hashable]:
        texts = [population.sketches.get(c.commit, "") for c in members]
        centres = [0]
        near = [distance(text, texts[0]) for text in texts]
        while len(centres) < min(self.cells, len(members)):
            far = max(range(len(members)), key=lambda place: (near[place], -place))
            if near[far] <= 0:
                break
            centres.append(far)
            near = [min(d, distance(text, texts[far])) for d, text in zip(near, texts, strict=True)]
        return [min(centres, key=lambda c: (distance(text, texts[c]), c)) for text in texts]


def _quantiles(values: Sequence[float], bins: int) -> list[float]:
    ordered = sorted(values)
    return [ordered[len(ordered) * cut // bins] for cut in range(1, bins)]

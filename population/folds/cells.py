"""MAP-Elites cells: which kinds of program a run found, and the best of each kind (Mouret and Clune, 2015).

The fold keeps two descriptors of each scored candidate that need its code: how large it is, and how far from the
seed's. Any metric of a task is a descriptor too. Cells are cut when a map is looked at, since their edges follow from
what was found. No selector of ours chooses from them, so they are folded by who draws them and are no part of `RunState`.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.novelty import distance
from evolve.tasks.task import DIFFERENCE, SIZE, Task

BINS = 12
"""Bins of an axis."""

LOG_ABOVE = 20.0
"""An axis of positive values is cut in equal ratios where its largest is more than this many times its smallest."""


@dataclass(slots=True)
class Cells:
    """sizes: commit -> bytes of its editable files. differences: commit -> 1 - Jaccard similarity of its token 5-grams
    with the seed's, 0..1, estimated from the sketches of both; missing where a sketch is."""

    sizes: dict[str, int] = field(default_factory=dict)
    differences: dict[str, float] = field(default_factory=dict)
    _seeds: dict[str, str] = field(default_factory=dict)
    _trees: dict[str, str] = field(default_factory=dict)

    def apply(self, event: ev.Event, size_of: Callable[[str, str], int]) -> None:
        """size_of: (task, tree id) -> bytes of the tree's editable files; asked once a scored candidate."""
        match event:
            case ev.Imported() | ev.Born():
                if isinstance(event, ev.Imported):
                    self._seeds.setdefault(event.task, event.sketch)
                self._trees[event.candidate] = event.tree
                seed = self._seeds.get(event.task, "")
                if event.sketch and seed:
                    self.differences[event.candidate] = distance(event.sketch, seed)
            case ev.Judged():
                tree = self._trees.pop(event.candidate, "")
                if event.verdict.fitness is None:
                    self.differences.pop(event.candidate, None)
                elif tree:
                    self.sizes[event.candidate] = size_of(event.task, tree)

    def value(self, c: Candidate, descriptor: str) -> float | None:
        """A scored candidate's place on an axis: a metric of its task, `SIZE` or `DIFFERENCE`; None where unknown."""
        estimate = c.verdict.metrics.get(descriptor) if c.verdict else None
        if estimate is not None:
            return estimate.mean
        if descriptor == SIZE:
            return self.sizes.get(c.commit)
        return self.differences.get(c.commit) if descriptor == DIFFERENCE else None


@dataclass(frozen=True, slots=True)
class Cell:
    """column, row: 0-based bins. count: candidates in it. elite: the fittest of them, the older of equals."""

    column: int
    row: int
    count: int
    elite: Candidate


@dataclass(frozen=True, slots=True)
class Map:
    """columns, rows: edges of the bins, one more than there are bins. placed: candidates with both descriptors.

    filled: (candidates placed so far, cells filled by then), whenever one was.
    """

    columns: tuple[float, ...]
    rows: tuple[float, ...]
    cells: tuple[Cell, ...]
    placed: int
    filled: tuple[tuple[int, int], ...]


def descriptors(task: Task) -> tuple[str, ...]:
    """What the axes of a task's map may be: the declared ones first, then code size, difference and its metrics."""
    names = (*task.evaluate.descriptors, SIZE, DIFFERENCE, *(m.name for m in task.evaluate.metrics))
    return tuple(dict.fromkeys(names))


def cut(cells: Cells, candidates: Iterable[Candidate], x: str, y: str, bins: int = BINS) -> Map:
    """The map of scored, eligible candidates (in the order of their verdicts) over descriptors `x` and `y`."""
    placed: list[tuple[float, float, Candidate]] = []
    for c in candidates:
        if c.eligible and c.fitness is not None:
            a, b = cells.value(c, x), cells.value(c, y)
            if a is not None and b is not None and math.isfinite(a) and math.isfinite(b):
                placed.append((a, b, c))
    columns, rows = edges([a for a, _, _ in placed], bins), edges([b for _, b, _ in placed], bins)
    elite: dict[tuple[int, int], Candidate] = {}
    count: dict[tuple[int, int], int] = {}
    filled: list[tuple[int, int]] = []
    for n, (a, b, c) in enumerate(placed, 1):
        at = place(columns, a), place(rows, b)
        if at not in elite:
            filled.append((n, len(elite) + 1))
        best = elite.get(at)
        if best is None or _better(c, best):
            elite[at] = c
        count[at] = count.get(at, 0) + 1
    found = tuple(Cell(*at, count[at], c) for at, c in sorted(elite.items(), key=lambda item: item[0]))
    return Map(columns, rows, found, len(placed), tuple(filled))


def _better(c: Candidate, than: Candidate) -> bool:
    assert c.fitness is not None and than.fitness is not None
    return (c.fitness, -c.number) > (than.fitness, -than.number)


def edges(values: list[float], bins: int) -> tuple[float, ...]:
    """From the smallest to the largest value in equal steps, or equal ratios (`LOG_ABOVE`); one bin where all are
    equal; empty without values."""
    if not values:
        return ()
    low, high = min(values), max(values)
    if low == high:
        return (low, high)
    if low > 0 and high / low > LOG_ABOVE:
        ratio = math.log(high / low)
        return (low, *(low * math.exp(ratio * k / bins) for k in range(1, bins)), high)
    return (low, *(low + (high - low) * k / bins for k in range(1, bins)), high)


def place(cuts: tuple[float, ...], value: float) -> int:
    """The bin of a value: [edge, next edge), the last one closed."""
    return min(max(bisect_right(cuts, value) - 1, 0), len(cuts) - 2)

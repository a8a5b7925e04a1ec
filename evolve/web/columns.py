"""The lineage in columns: 100,000 candidates in about 1.5 MB compressed.

One candidate is one position in every column, in order of birth; parents are positions too, so commit ids (20 random
bytes each) stay on the server and a candidate is asked for by its number.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolve.population.candidate import Candidate, Standing

if TYPE_CHECKING:
    from evolve.web.runs import Live

STATUSES = ("unjudged", "scored", "invalid", "audit", "cheat")
STANDINGS = tuple(standing.value for standing in Standing)
PINNED, WAS_CHAMPION, CHAMPION, SELF_REPORTED, SEED = 1, 2, 4, 8, 16


class _Table:
    """Distinct strings by code."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.codes: dict[str, int] = {}

    def code(self, name: str) -> int:
        found = self.codes.get(name)
        if found is None:
            found = self.codes[name] = len(self.names)
            self.names.append(name)
        return found


def lineage(live: Live) -> dict[str, Any]:
    """The columns of a whole run. Call with `live.lock` held.

    number: null where it equals the position. parent: own position minus the first parent's, 0 for none. second:
    [position, second parent's position] pairs. fitness: 7 significant digits, null unless scored. born: tenths of a
    second after the candidate before it (`first`: seconds since the epoch). The rest are codes into `tables`.
    """
    reigning = set(live.state.lineage.champions.values())
    seeds = set(live.state.lineage.seeds.values())
    tables = {name: _Table() for name in ("island", "operator", "model", "task")}
    columns: dict[str, list[Any]] = {
        name: [] for name in ("parent", "fitness", "born", "status", "standing", "flags", *tables)
    }
    second, numbers, identity, last = [], [], True, 0
    first = live.order[0].born if live.order else 0.0
    place = live.place
    for i, c in enumerate(live.order):
        numbers.append(c.number)
        identity = identity and c.number == i
        parents = [place[p] for p in c.parents if p in place]
        columns["parent"].append(i - parents[0] if parents else 0)
        second += [[i, p] for p in parents[1:]]
        columns["fitness"].append(_short(c.fitness))
        now = round((c.born - first) * 10)
        columns["born"].append(now - last)
        last = now
        columns["status"].append(_status(c))
        columns["standing"].append(STANDINGS.index(c.standing.value))
        columns["flags"].append(_flags(c, reigning, seeds))
        for name, table in tables.items():
            columns[name].append(table.code(getattr(c, name)))
    return {
        "n": len(live.order),
        "version": live.version,
        "seen": dict(live.state.seen),
        "first": first,
        "number": None if identity else numbers,
        "second": second,
        **columns,
        "tables": {name: table.names for name, table in tables.items()} | {"status": STATUSES, "standing": STANDINGS},
        "paths": paths(live),
        "metrics": metrics(live),
    }


def row(live: Live, i: int) -> list[Any]:
    """One candidate for a page that has the columns: [position, number, parent, second, fitness, born, status,
    standing, flags, island, operator, model, task], positions for parents (-1: none), names in full."""
    c = live.order[i]
    parents = [live.place[p] for p in c.parents if p in live.place]
    reigning = set(live.state.lineage.champions.values())
    seeds = set(live.state.lineage.seeds.values())
    return [
        i, c.number, parents[0] if parents else -1, parents[1] if len(parents) > 1 else -1, _short(c.fitness),
        round(c.born, 1), _status(c), STANDINGS.index(c.standing.value), _flags(c, reigning, seeds),
        c.island, c.operator, c.model, c.task,
    ]  # fmt: skip


def paths(live: Live) -> dict[str, list[int]]:
    """task -> positions from the seed to the reigning champion."""
    lineage = live.state.lineage
    return {
        task: [live.place[c.commit] for c in lineage.path_to(commit)] for task, commit in lineage.champions.items()
    }


def metrics(live: Live) -> dict[str, dict[str, Any]]:
    """task -> its first objective: fitness = sign x metric."""
    return {
        name: {
            "name": task.objectives[0].name,
            "unit": task.objectives[0].unit,
            "sign": task.objectives[0].sign,
            "goal": task.objectives[0].goal,
        }
        for name, task in live.tasks.items()
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.7g}")


def _status(c: Candidate) -> int:
    return STATUSES.index(c.verdict.status.value) if c.verdict else 0


def _flags(c: Candidate, reigning: set[str], seeds: set[str]) -> int:
    return (
        PINNED * c.pinned
        | WAS_CHAMPION * c.was_champion
        | CHAMPION * (c.commit in reigning)
        | SELF_REPORTED * bool(c.verdict and c.verdict.self_reported)
        | SEED * (c.commit in seeds)
    )

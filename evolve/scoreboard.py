"""A run over many problems at a glance: each task's champion, and the suite's mean with what must be said beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from evolve.errors import UsageError
from evolve.evaluators.kernels import score
from evolve.population.folds import RunState
from evolve.tasks.task import Task

RATIOS = ("speedup", "headroom")
"""Metrics that have a mean over tasks beside the objective's: the geometric one. A mean of times would say nothing."""


@dataclass(frozen=True, slots=True)
class Line:
    """One task: the champion's metrics in their own direction and unit. Where the seed is not scored, `value` is None."""

    task: str
    value: float | None
    low: float | None
    high: float | None
    seed: float | None
    metrics: Mapping[str, float]
    evaluated: int
    champions: int
    commit: str


@dataclass(frozen=True, slots=True)
class Scoreboard:
    """mean: arithmetic over all tasks, an unscored one counting 0. beside: geometric means of ratios over scored tasks.

    hardware: what the scores are comparable within. note: what every view of them says.
    """

    run: str
    metric: str
    unit: str
    lines: tuple[Line, ...]
    mean: float
    seed_mean: float
    scored: int
    beside: Mapping[str, float]
    hardware: str
    note: str


def scoreboard(state: RunState) -> Scoreboard:
    """Of a run whose tasks share their objective metric. Raises UsageError where they do not, naming two."""
    opened = state.lineage.opened
    if opened is None or not opened.tasks:
        raise UsageError(f"run {state.run!r} was never opened")
    tasks = {name: Task.parse(found.source, where=name) for name, found in opened.tasks.items()}
    kinds = {name: (task.objectives[0].name, task.objectives[0].goal, task.objectives[0].unit) for name, task in tasks.items()}
    first, kind = next(iter(kinds.items()))
    if other := next((name for name, found in kinds.items() if found != kind), ""):
        raise UsageError(
            f"tasks {first!r} ({kind[0]}) and {other!r} ({kinds[other][0]}) have different objectives: no mean over them means "
            "anything; 'evolve status' shows them one by one"
        )
    lines = tuple(_line(state, name, task) for name, task in tasks.items())
    scored = [line for line in lines if line.value is not None]
    hardware = sorted({epoch.hardware for epoch in state.lineage.epochs.values()})
    kernels = any(task.evaluate.evaluator == "kernels" for task in tasks.values())
    where = ", ".join(hardware) or "no machine yet"
    return Scoreboard(
        state.run, kind[0], kind[2], lines,
        math.fsum(line.value or 0.0 for line in lines) / len(lines),
        math.fsum(line.seed or 0.0 for line in lines) / len(lines),
        len(scored),
        {name: score.geomean([line.metrics[name] for line in scored]) for name in RATIOS if _all_have(name, scored)},
        where,
        score.label(where) if kernels else f"measured on {where}",
    )  # fmt: skip


def _line(state: RunState, name: str, task: Task) -> Line:
    metric = task.objectives[0]
    champion = state.champion(name)
    seed = state.candidates.get(state.lineage.seeds.get(name, ""))
    known = (state.lineage.evaluated.get(name, 0), len(state.lineage.reigns.get(name, ())))
    start = seed.verdict.fitness if seed and seed.verdict else None
    start = start * metric.sign if start is not None else None
    verdict = champion.verdict if champion else None
    if champion is None or verdict is None or verdict.fitness is None:
        return Line(name, None, None, None, start, {}, *known, "")
    ends = sorted(x * metric.sign for x in (verdict.low, verdict.high) if x is not None)
    metrics = {key: found.mean for key, found in verdict.metrics.items()}
    low, high = (ends[0], ends[-1]) if ends else (None, None)
    return Line(name, verdict.fitness * metric.sign, low, high, start, metrics, *known, champion.commit)


def _all_have(name: str, lines: list[Line]) -> bool:
    return bool(lines) and all(line.metrics.get(name, 0.0) > 0 for line in lines)

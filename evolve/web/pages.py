"""The JSON twin of every page: what the page shows is exactly this. Call with `live.lock` held."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from evolve.forecast import forecast
from evolve.population.candidate import Candidate
from evolve.population.folds.cells import cut, descriptors
from evolve.standing import doubt_text
from evolve.tasks.records import to_json
from evolve.tasks.task import DIFFERENCE, SIZE, Task
from evolve.tasks.verdict import Status
from evolve.web import columns

if TYPE_CHECKING:
    from evolve.web.runs import Live

SCATTER = 700
"""Bins of the cloud of all candidates behind the curve."""

FRONT = 3000

OURS = ("islands", "greedy", "best-of-n", "random", "power-law", "pareto", "pareto-cases", "puct", "")
"""Selectors known not to choose from MAP-Elites cells; of another it is not on record whether it does."""


def runs(found: Mapping[str, Live], actions: bool) -> dict[str, Any]:
    return {"runs": [brief_summary(live) for live in found.values()], "actions": actions}


def brief_summary(live: Live) -> dict[str, Any]:
    state = live.state
    return {
        "run": live.run,
        "tasks": [_task_line(live, name) for name in live.tasks],
        "candidates": len(state.candidates),
        "evaluations": state.ledger.evaluations,
        "state": state.ledger.state,
        "closed": state.ledger.closed,
        "last": round(state.last_time, 3),
    }


def _task_line(live: Live, name: str) -> dict[str, Any]:
    champion = live.state.champion(name)
    return {
        "task": name,
        "metric": columns.metrics(live)[name],
        "champion": line(live, champion) if champion else None,
    }


def _reason(live: Live, c: Candidate) -> str:
    if doubt := doubt_text(live.state, c):
        return f"{c.standing.value}: {doubt}"
    return c.verdict.reason if c.verdict else ""


def line(live: Live, c: Candidate) -> dict[str, Any]:
    """A candidate in a list."""
    verdict = c.verdict
    return {
        "number": c.number,
        "commit": c.commit,
        "task": c.task,
        "fitness": c.fitness,
        "low": verdict.low if verdict else None,
        "high": verdict.high if verdict else None,
        "status": verdict.status.value if verdict else "unjudged",
        "kind": verdict.kind if verdict else "",
        "reason": _reason(live, c),
        "standing": c.standing.value,
        "operator": c.operator,
        "model": c.model,
        "island": c.island,
        "idea": c.idea,
        "born": round(c.born, 1),
        "depth": c.depth,
        "children": c.children,
        "pinned": c.pinned,
        "champion": live.state.lineage.champions.get(c.task) == c.commit,
        "was_champion": c.was_champion,
        "self_reported": bool(verdict and verdict.self_reported),
    }


# ---- a run -----------------------------------------------------------------------------------------------------------


def run(live: Live) -> dict[str, Any]:
    """Curves, operators, models, budget and forecast, failures by kind, what happened last."""
    state, index = live.state, live.index
    opened = state.lineage.opened
    return {
        **brief_summary(live),
        "indexed": live.indexed,
        "index_events": index.events,
        "failed": live.failed,
        "version": live.version,
        "seen": dict(state.seen),
        "mutator": opened.mutator if opened else "",
        "selector": opened.selector if opened else "",
        "seed": opened.seed if opened else 0,
        "tool": opened.tool if opened else "",
        "scored": state.lineage.scored,
        "refused": dict(state.lineage.refused),
        "failures": dict(state.lineage.failures),
        "epochs": {name: to_json(epoch) for name, epoch in state.lineage.epochs.items()},
        "calibrations": [
            {"task": task, "epoch": epoch, "dof": c.calibration.dof, "sigma": dict(c.calibration.sigma)}
            for (task, epoch), c in state.lineage.calibrations.items()
        ],
        "curves": {name: curve(live, name) for name in live.tasks},
        "operators": operators(live),
        "models": models(live),
        "budget": budget(live),
        "pending": {"briefs": len(state.pending.briefs), "candidates": len(state.pending.candidates)},
        "islands": sorted({name for islands in state.live.islands.values() for name in islands}),
        "memory": memory(live),
        "sandboxes": dict(index.sandboxes),
        "checks": index.checks,
        "feed": feed(live),
        "now": round(time.time(), 3),
    }


def feed(live: Live) -> list[dict[str, Any]]:
    out = []
    for entry in list(live.index.feed)[-80:]:
        shown = {key: value for key, value in entry.items() if key != "candidate"}
        if (known := live.state.candidates.get(entry.get("candidate", ""))) is not None:
            shown |= {"number": known.number, "fitness": known.fitness if entry["kind"] != "born" else None}
        out.append(shown)
    return out[::-1]


def memory(live: Live) -> dict[str, Any]:
    found = live.state.memory
    return {
        "lessons": [{"task": x.task, "text": x.text, "falsified": x.falsified} for x in found.lessons],
        "tactics": [{"task": x.task, "family": x.family, "text": x.text} for x in found.tactics],
        "directives": [{"task": x.task, "text": x.text} for x in found.directives],
    }


def curve(live: Live, task: str) -> dict[str, Any]:
    """Promotions with what had been spent, the live controls, and the cloud of verdicts thinned to `SCATTER` bins."""
    state, index = live.state, live.index
    order = [c for c in map(state.candidates.__getitem__, state.lineage.verdict_order) if c.task == task]
    points = []
    for point in index.points.get(task, ()):
        known = state.candidates.get(point.candidate)
        points.append(point.as_json() | {"number": known.number if known else None, "idea": known.idea if known else ""})
    size = max(1, math.ceil(len(order) / SCATTER))
    cloud: list[list[Any]] = []
    for start in range(0, len(order), size):
        scored = [(c.fitness, c.number) for c in order[start : start + size] if c.fitness is not None]
        if scored:
            best = max(scored)
            cloud.append([start + 1, columns._short(best[0]), best[1]])
            if size > 1 and len(scored) > 1:
                middle = sorted(scored)[len(scored) // 2]
                cloud.append([start + 1, columns._short(middle[0]), middle[1]])
    return {
        "metric": columns.metrics(live)[task],
        "points": points,
        "control": [list(pair) for pair in index.control.get(task, ())],
        "greedy": [list(pair) for pair in index.greedy.get(task, ())],
        "cloud": cloud,
        "binned": size,
        "evaluations": len(order),
        "end": {
            "evaluations": state.ledger.evaluations,
            "seconds": state.ledger.seconds(),
            "money": state.ledger.money,
            "gpu_seconds": state.ledger.gpu_seconds,
        },
    }


def operators(live: Live) -> list[dict[str, Any]]:
    """By operator: proposals, refusals, verdicts, how many beat their parent, the largest gain over one."""
    rows = outcomes(live, lambda c: c.operator or "?")
    asked = {name: {"asked": count.asked, "refused": count.refused} for name, count in live.index.operators.items()}
    names = sorted(set(rows) | set(asked), key=lambda name: -rows.get(name, {}).get("born", 0))
    return [{"operator": name, **asked.get(name, {}), **rows.get(name, {"born": 0})} for name in names]


def models(live: Live) -> dict[str, dict[str, Any]]:
    """By model: what it was paid and asked, and what came of its candidates."""
    rows = outcomes(live, lambda c: c.model)
    nothing = {"born": 0, "scored": 0, "better": 0, "champions": 0, "best_gain": None}
    return {name: {**row, **rows.get(name, nothing)} for name, row in live.state.ledger.by_model.items()}


def outcomes(live: Live, label: Callable[[Candidate], str]) -> dict[str, dict[str, Any]]:
    """By label: candidates born, scored, better than their first parent, ever champion, the largest gain over it."""
    rows: dict[str, dict[str, Any]] = {}
    for c in live.order:
        row = rows.setdefault(label(c), {"born": 0, "scored": 0, "better": 0, "champions": 0, "best_gain": None})
        row["born"] += 1
        if c.fitness is None:
            continue
        row["scored"] += 1
        row["champions"] += c.was_champion
        parent = live.state.candidates.get(c.parents[0]) if c.parents else None
        if parent and parent.fitness is not None and c.fitness > parent.fitness:
            row["better"] += 1
            gain = c.fitness - parent.fitness
            row["best_gain"] = gain if row["best_gain"] is None else max(row["best_gain"], gain)
    return rows


def budget(live: Live) -> dict[str, Any]:
    """Limits, use and, from the pace so far, when the first limit is met and how good the best may be by then."""
    ledger = live.state.ledger
    used = {what: ledger.used(what) for what in ("evaluations", "seconds", "money", "tokens", "gpu_seconds")}
    seconds = used["seconds"]
    ahead = forecast(live.state)
    best = {
        name: live.tasks[name].objectives[0].sign * value for name, value in ahead.best.items() if name in live.tasks
    }
    seen = {"limit": ahead.limit, "seconds": ahead.seconds, "evaluations": ahead.evaluations, "best": best}
    return {
        "limits": dict(ledger.limits),
        "used": used,
        "money_unknown": ledger.unknown,
        "calls": ledger.calls,
        "evaluator_seconds": ledger.evaluator_wall,
        "evaluator_cpu": ledger.evaluator_cpu,
        "errors": ledger.errors,
        "forecast": seen if ahead.limit else None,
        "per_1000": 1000 * seconds / used["evaluations"] if used["evaluations"] else None,
    }


# ---- islands, fronts -------------------------------------------------------------------------------------------------


def islands(live: Live) -> dict[str, Any]:
    """Islands with their members and their best so far over time."""
    state = live.state
    out = []
    best: dict[tuple[str, str], list[list[Any]]] = {}
    counts: Counter[tuple[str, str]] = Counter()
    for c in map(state.candidates.__getitem__, state.lineage.verdict_order):
        key = (c.task, c.island)
        counts[key] += 1
        series = best.setdefault(key, [])
        if c.fitness is not None and (not series or c.fitness > series[-1][1]):
            series.append([counts.total(), c.fitness, c.number])
    for task, found in state.live.islands.items():
        for name, island in sorted(found.items()):
            out.append(
                {
                    "task": task,
                    "island": name,
                    "evaluated": counts[(task, name)],
                    "gain": island.gain,
                    "stalled": island.stalled,
                    "best": line(live, state.candidates[island.best_commit]) if island.best_commit else None,
                    "members": [line(live, state.candidates[commit]) for commit in island.members],
                    "series": best.get((task, name), []),
                }
            )
    return {"islands": out, "metrics": columns.metrics(live), "tasks": list(live.tasks)}


def cells(live: Live, task: str, x: str = "", y: str = "") -> dict[str, Any]:
    """The MAP-Elites map of a task: cells over two descriptors, the best candidate of each, and when they were filled.

    A cell is [column, row, candidates, fitness, number of its elite]; edges are in the descriptors' own units.
    """
    definition, state = live.tasks[task], live.state
    names = descriptors(definition)
    x = x if x in names else names[0]
    y = y if y in names and y != x else next(name for name in names if name != x)
    order = [c for c in map(state.candidates.__getitem__, state.lineage.verdict_order) if c.task == task]
    found = cut(live.index.cells, order, x, y)
    selector = state.lineage.opened.selector if state.lineage.opened else ""
    return {
        "task": task,
        "tasks": list(live.tasks),
        "metric": columns.metrics(live)[task],
        "descriptors": [_descriptor(definition, name) for name in names],
        "declared": list(definition.evaluate.descriptors),
        "x": x,
        "y": y,
        "columns": [columns._short(v) for v in found.columns],
        "rows": [columns._short(v) for v in found.rows],
        "cells": [[c.column, c.row, c.count, columns._short(c.elite.fitness), c.elite.number] for c in found.cells],
        "placed": found.placed,
        "scored": sum(c.fitness is not None for c in order),
        "filled": [list(pair) for pair in found.filled],
        "selector": selector,
        "steers": None if selector not in OURS else False,
        "indexed": live.indexed,
    }


def _descriptor(task: Task, name: str) -> dict[str, str]:
    for metric in task.evaluate.metrics:
        if metric.name == name:
            return {"name": name, "unit": metric.unit, "what": f"metric {name}"}
    return {
        SIZE: {"name": name, "unit": "bytes", "what": "code size"},
        DIFFERENCE: {"name": name, "unit": "", "what": "difference from the seed's code"},
    }[name]


def pareto(live: Live, task: str, x: str = "", y: str = "") -> dict[str, Any]:
    """Scored candidates over two metrics, and which of them nothing dominates."""
    definition = live.tasks[task]
    metrics = definition.evaluate.metrics
    names = [m.name for m in metrics]
    x = x if x in names else names[0]
    y = y if y in names and y != x else next((n for n in names if n != x), "")
    out: dict[str, Any] = {
        "task": task,
        "tasks": list(live.tasks),
        "x": x,
        "y": y,
        "metrics": [{"name": m.name, "goal": m.goal, "unit": m.unit} for m in metrics],
        "objectives": list(definition.evaluate.objective),
        "points": [],
        "front": [],
    }
    if not y:
        return out
    a, b = definition.metric(x), definition.metric(y)
    rows = []
    for c in live.order:
        verdict = c.verdict
        if c.task == task and verdict and verdict.fitness is not None and x in verdict.metrics and y in verdict.metrics:
            rows.append((verdict.metrics[x].mean, verdict.metrics[y].mean, c.number))
    front = _front(rows, a.sign, b.sign)
    kept = rows if len(rows) <= FRONT else rows[:: math.ceil(len(rows) / FRONT)]
    out["points"] = [list(r) for r in dict.fromkeys([*kept, *front])]
    out["front"] = [list(r) for r in front]
    out["total"] = len(rows)
    return out


def _front(rows: list[tuple[float, float, int]], sx: float, sy: float) -> list[tuple[float, float, int]]:
    """Points that no other point equals or beats in both, sorted by x; equal points count once."""
    front: list[tuple[float, float, int]] = []
    best = -math.inf
    for row in sorted(rows, key=lambda r: (-sx * r[0], -sy * r[1], r[2])):
        if sy * row[1] > best:
            front.append(row)
            best = sy * row[1]
    return front[::-1]


# ---- failures for the report -----------------------------------------------------------------------------------------


def worst(live: Live, status: Status, limit: int = 20) -> list[dict[str, Any]]:
    """Candidates of one status, latest first."""
    found = [line(live, c) for c in reversed(live.order) if c.verdict and c.verdict.status is status]
    return found[:limit]


def task_record(task: Task) -> dict[str, Any]:
    return {"name": task.name, "source": task.source}

"""What the pages need beyond a run's state: which events speak of a candidate or a brief, and how the best grew.

A fold like those of `evolve.population.folds`, kept apart because only the pages want it. Built in the background, so
a page opens before it is whole and says so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from evolve.population import events as ev
from evolve.population.folds import Ledger
from evolve.population.folds.cells import Cells

Interval = tuple[float | None, float | None, float | None]
"""Fitness and its 95% interval."""

FEED = 300
"""Events kept for the list of what happened last."""


@dataclass(slots=True)
class Point:
    """A champion's promotion: what had been spent when it came, and what it was worth then (fitness, 95% interval).

    seconds: wall seconds a process was at work on the run. money: US dollars.
    """

    task: str
    candidate: str
    evaluations: int
    seconds: float
    money: float
    gpu_seconds: float
    fitness: float | None
    low: float | None
    high: float | None
    gain: float | None = None
    gain_low: float | None = None
    time: float = 0.0

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__ if name not in ("task", "candidate")}


@dataclass(slots=True)
class OperatorCount:
    """asked, refused: briefs and proposals that made no commit. The rest is in the candidates."""

    asked: int = 0
    refused: int = 0


@dataclass(slots=True)
class Index:
    """of_candidate: commit -> commits of the events about it, oldest first; of_brief: the same by brief number."""

    seen: dict[str, int] = field(default_factory=dict)
    events: int = 0
    of_candidate: dict[str, list[str]] = field(default_factory=dict)
    of_brief: dict[int, list[str]] = field(default_factory=dict)
    points: dict[str, list[Point]] = field(default_factory=dict)
    control: dict[str, list[tuple[int, float | None]]] = field(default_factory=dict)
    greedy: dict[str, list[tuple[int, float | None]]] = field(default_factory=dict)
    operators: dict[str, OperatorCount] = field(default_factory=dict)
    feed: deque[dict[str, Any]] = field(default_factory=lambda: deque(maxlen=FEED))
    ledger: Ledger = field(default_factory=Ledger)
    sandboxes: dict[str, int] = field(default_factory=dict)
    checks: dict[str, dict[str, int]] = field(default_factory=dict)
    sessions: list[tuple[float, ev.Session]] = field(default_factory=list)
    cells: Cells = field(default_factory=Cells)
    _operator_of: dict[int, str] = field(default_factory=dict)
    _worth: dict[str, Interval] = field(default_factory=dict)

    def apply(self, recorded: ev.Recorded, size_of: Callable[[str, str], int] | None = None) -> None:
        """Fold one event; one seen before is ignored. size_of: see `Cells.apply`; without it the cells stay empty."""
        if recorded.position < self.seen.get(recorded.log, 0):
            return
        self.seen[recorded.log] = recorded.position + 1
        self.events += 1
        event = recorded.event
        self.ledger.tick(recorded)
        if handler := getattr(self.ledger, f"on_{event.kind}", None):
            handler(event, recorded)
        self._place(event, recorded.oid)
        self._count(event, recorded)
        if size_of is not None:
            self.cells.apply(event, size_of)
        if line := headline(event):
            self.feed.append({"kind": event.kind, "time": round(recorded.time, 3), "text": line, **subject(event)})

    def _place(self, event: ev.Event, oid: str) -> None:
        brief = event.brief.number if isinstance(event, ev.Asked) else getattr(event, "brief", 0)
        if brief:
            self.of_brief.setdefault(brief, []).append(oid)
        candidate = getattr(event, "candidate", "")
        about = (candidate,) if candidate else getattr(event, "candidates", ())
        if not isinstance(event, ev.Refused):
            for commit in about:
                self.of_candidate.setdefault(commit, []).append(oid)

    def _count(self, event: ev.Event, recorded: ev.Recorded) -> None:
        match event:
            case ev.Asked(brief):
                self.operators.setdefault(brief.operator, OperatorCount()).asked += 1
                self._operator_of[brief.number] = brief.operator
            case ev.Refused():
                operator = self._operator_of.pop(event.brief, event.operator)
                self.operators.setdefault(operator, OperatorCount()).refused += 1
            case ev.Born():
                self._operator_of.pop(event.brief, None)
            case ev.Imported():
                self.points.setdefault(event.task, [])
            case ev.Rescored():
                self.points[event.task] = []  # gains of another epoch do not compare
            case ev.Judged():
                first = event.candidate not in self._worth
                verdict = event.verdict
                self._worth[event.candidate] = (verdict.fitness, verdict.low, verdict.high)
                if first and not self.points.get(event.task) and verdict.fitness is not None:
                    self._point(event.task, event.candidate, recorded)
            case ev.Promoted():
                self._point(event.task, event.candidate, recorded, event.gain, event.low)
            case ev.Control():
                self.control.setdefault(event.task, []).append((event.evaluations, event.best))
            case ev.GreedyControl():
                self.greedy.setdefault(event.task, []).append((event.evaluations, event.best))
            case ev.Session():
                self.sessions.append((recorded.time, event))
            case ev.Measured():
                rung = event.evidence.sandbox or "in process"
                self.sandboxes[rung] = self.sandboxes.get(rung, 0) + 1
                for check in event.evidence.checks:
                    row = self.checks.setdefault(check.name, {})
                    row[check.outcome.value] = row.get(check.outcome.value, 0) + 1

    def _point(
        self, task: str, commit: str, recorded: ev.Recorded, gain: float | None = None, low: float | None = None
    ) -> None:
        fitness, low_now, high_now = self._worth.get(commit, (None, None, None))
        ledger = self.ledger
        self.points.setdefault(task, []).append(
            Point(
                task, commit, ledger.evaluations, ledger.seconds(), ledger.money, ledger.gpu_seconds,
                fitness, low_now, high_now, gain, low, recorded.time,
            )
        )  # fmt: skip


def subject(event: ev.Event) -> dict[str, Any]:
    """What a line of the feed links to."""
    candidate = getattr(event, "candidate", "") or next(iter(getattr(event, "candidates", ())), "")
    return {"candidate": candidate} if candidate else {}


def headline(event: ev.Event) -> str:
    """One line for a person; empty for kinds that come too often to be news."""
    match event:
        case ev.RunOpened():
            return f"run opened: {', '.join(event.tasks)}, mutator {event.mutator or '?'}, selector {event.selector or '?'}"
        case ev.Calibrated():
            return f"noise floor of {event.task} measured"
        case ev.Born():
            return f"born: {event.idea or event.operator}"
        case ev.Imported():
            return f"entered: {event.idea or event.source}"
        case ev.Refused():
            return f"refused ({event.reason}): {event.why}"
        case ev.Judged(verdict=verdict):
            return "scored" if verdict.fitness is not None else f"{verdict.status.value}: {verdict.reason}"
        case ev.Promoted():
            return "new champion"
        case ev.GateClosed():
            return "champion gate ended without a promotion"
        case ev.Suspended() | ev.Released() | ev.Quarantined():
            return f"{event.kind}: {event.reason}"
        case ev.Pinned():
            return "pinned" if event.pinned else "unpinned"
        case ev.Lesson():
            return f"lesson: {event.text}"
        case ev.Tactic():
            return f"tactic {event.family}: {event.text}"
        case ev.Directive():
            return f"directive: {event.text}"
        case ev.Paused():
            return f"{event.state}{': ' + event.why if event.why else ''}"
        case ev.Session():
            where = f" {event.pid} on {event.host}" if event.pid else ""
            return f"process{where} {event.state}{': ' + event.why if event.why else ''}"
        case ev.BudgetChanged():
            return "budget changed"
        case ev.Closed():
            return f"closed: {event.reason}"
    return ""

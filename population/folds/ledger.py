"""What was spent, what is reserved, what is left. Never under-counts: a request or job whose end was not seen is
charged its reservation (docs/design.md, 'The loop')."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from evolve.population import events as ev

LIMITS = ("evaluations", "seconds", "money", "tokens", "gpu_seconds")


@dataclass(slots=True)
class Ledger:
    """Money in US dollars, tokens, seconds. `unknown` counts answers whose price is not known (it is never 0).
    classes: "work", "tuning" or "error" -> evaluations and evaluator seconds; together they are the totals."""

    limits: dict[str, float] = field(default_factory=dict)
    money: float = 0.0
    unknown: int = 0
    tokens: int = 0
    evaluations: int = 0
    evaluator_wall: float = 0.0
    evaluator_cpu: float = 0.0
    gpu_seconds: float = 0.0
    errors: int = 0
    calls: int = 0
    by_model: dict[str, dict[str, float]] = field(default_factory=dict)
    open_requests: dict[tuple[int, int], ev.Requested] = field(default_factory=dict)
    open_jobs: dict[str, ev.Started] = field(default_factory=dict)
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    state: str = "running"
    closed: str = ""
    classes: dict[str, dict[str, float]] = field(default_factory=dict)
    _unjudged: set[str] = field(default_factory=set)
    _tuning: set[str] = field(default_factory=set)

    # ---- questions -----------------------------------------------------------------------------------------------

    def seconds(self) -> float:
        """Wall seconds a process was at work on the run: the sum over logs of (last event - first event)."""
        return math.fsum(last - first for first, last in self.spans.values())

    def reserved_money(self) -> float:
        return math.fsum(request.money or 0.0 for request in self.open_requests.values())

    def used(self, what: str) -> float:
        """Spent plus reserved, in the unit of the limit."""
        if what == "evaluations":
            return float(self.evaluations)
        if what == "seconds":
            return self.seconds()
        if what == "money":
            return self.money + self.reserved_money()
        if what == "tokens":
            return float(self.tokens + sum(request.tokens for request in self.open_requests.values()))
        if what == "gpu_seconds":
            return self.gpu_seconds + math.fsum(job.gpu_seconds for job in self.open_jobs.values())
        raise KeyError(what)

    def left(self, what: str) -> float:
        """What is left of a limit; infinite where there is none."""
        return self.limits[what] - self.used(what) if what in self.limits else math.inf

    def share_left(self) -> float:
        """Smallest share of any limit still left, 1.0 where there is no limit."""
        shares = [max(self.left(what), 0.0) / limit if limit > 0 else 0.0 for what, limit in self.limits.items()]
        return min(shares, default=1.0)

    def spent_on(self, what: str) -> dict[str, float]:
        """Evaluations and evaluator seconds of a class: "work", "tuning", "error" (our own failures)."""
        return self.classes.get(what, {"evaluations": 0.0, "seconds": 0.0})

    def _charge(self, what: str, evaluations: float = 0.0, seconds: float = 0.0) -> None:
        row = self.classes.setdefault(what, {"evaluations": 0.0, "seconds": 0.0})
        row["evaluations"] += evaluations
        row["seconds"] += seconds

    def _class_of(self, candidate: str) -> str:
        return "tuning" if candidate in self._tuning else "work"

    # ---- events --------------------------------------------------------------------------------------------------

    def tick(self, recorded: ev.Recorded) -> None:
        if recorded.event.kind in ("directive", "budget_changed", "paused", "pinned", "wanted", "leased", "told"):
            return  # a person's word from another process is not work on the run
        first, last = self.spans.get(recorded.log, (recorded.time, recorded.time))
        self.spans[recorded.log] = (first, max(last, recorded.time))

    def on_budget_changed(self, event: ev.BudgetChanged, recorded: ev.Recorded) -> None:
        for what in LIMITS:
            value = getattr(event, what)
            if value is not None and value < 0:
                self.limits.pop(what, None)
            elif value is not None:
                self.limits[what] = float(value)
        self.closed = ""

    def on_requested(self, event: ev.Requested, recorded: ev.Recorded) -> None:
        self.open_requests[(event.brief, event.call)] = event
        self.calls += 1

    def on_answered(self, event: ev.Answered, recorded: ev.Recorded) -> None:
        self.open_requests.pop((event.brief, event.call), None)
        tokens = event.tokens_in + event.tokens_out
        self.tokens += tokens
        self.money += event.money or 0.0
        self.unknown += event.money is None
        row = self.by_model.setdefault(event.model, {"calls": 0.0, "money": 0.0, "tokens": 0.0, "seconds": 0.0})
        row["calls"] += 1
        row["money"] += event.money or 0.0
        row["tokens"] += tokens
        row["seconds"] += event.seconds

    def on_told(self, event: ev.Told, recorded: ev.Recorded) -> None:
        self.money += event.money or 0.0

    def on_started(self, event: ev.Started, recorded: ev.Recorded) -> None:
        earlier = self.open_jobs.get(event.job)
        if earlier is not None:  # started before and never ended: its reservation is spent
            self.evaluator_wall += earlier.seconds
            self.gpu_seconds += earlier.gpu_seconds
            self._charge("error", seconds=earlier.seconds)
        self.open_jobs[event.job] = event

    def on_measured(self, event: ev.Measured, recorded: ev.Recorded) -> None:
        self.open_jobs.pop(event.job, None)
        self.evaluator_wall += event.evidence.cost.wall
        self._charge(self._class_of(event.candidates[0] if event.candidates else ""), seconds=event.evidence.cost.wall)
        self.evaluator_cpu += event.evidence.cost.cpu
        self.gpu_seconds += event.evidence.cost.gpu

    def on_cancelled(self, event: ev.Cancelled, recorded: ev.Recorded) -> None:
        self.open_jobs.pop(event.job, None)
        self.evaluator_wall += event.seconds
        self.gpu_seconds += event.gpu_seconds
        self._charge("work", seconds=event.seconds)

    def on_imported(self, event: ev.Imported, recorded: ev.Recorded) -> None:
        self._unjudged.add(event.candidate)

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        self._unjudged.add(event.candidate)
        if event.operator.startswith("tune"):
            self._tuning.add(event.candidate)

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        if event.candidate in self._unjudged:
            self._unjudged.remove(event.candidate)
            self.evaluations += 1
            self._charge(self._class_of(event.candidate), evaluations=1)

    def on_spent(self, event: ev.Spent, recorded: ev.Recorded) -> None:
        self.money += event.money or 0.0
        self.evaluator_wall += event.seconds
        self.gpu_seconds += event.gpu_seconds
        self.errors += event.on == "error"
        self._charge(event.on, seconds=event.seconds)

    def on_paused(self, event: ev.Paused, recorded: ev.Recorded) -> None:
        self.state = event.state

    def on_closed(self, event: ev.Closed, recorded: ev.Recorded) -> None:
        self.closed = event.reason

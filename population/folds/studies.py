"""Studies of the numeric tuner: which is open, what its trials came to, what tuning has cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolve.population import events as ev


@dataclass(slots=True)
class Study:
    """asked: trials ordered so far. results: (trial, fitness) in the order of their ends, None without one.
    base: the tuned candidate's fitness. radius: of a near study's first trust region, 0 for a wide one. polish: a single polish.
    briefs, born: brief -> trial and commit -> trial of those under way."""

    id: str
    candidate: str
    knobs: tuple[Mapping[str, Any], ...]
    trials: int
    opening: int
    base: float | None = None
    radius: float = 0.0
    polish: bool = False
    asked: int = 0
    results: list[tuple[int, float | None]] = field(default_factory=list)
    briefs: dict[int, int] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)


@dataclass(slots=True)
class Studies:
    """open: task -> its study. tuned: (task, digest of a program's structure) pairs that had one.
    evaluations: task -> trials judged so far. count: task -> studies opened. gain: task -> fitness gained by them."""

    open: dict[str, Study] = field(default_factory=dict)
    tuned: set[tuple[str, str]] = field(default_factory=set)
    evaluations: dict[str, int] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    gain: dict[str, float] = field(default_factory=dict)

    def on_study_opened(self, event: ev.StudyOpened, recorded: ev.Recorded) -> None:
        self.open[event.task] = Study(
            event.study, event.candidate, event.knobs, event.trials, event.opening, event.fitness, event.radius, event.polish
        )
        self.tuned.add((event.task, event.structure))
        self.count[event.task] = self.count.get(event.task, 0) + 1

    def on_rescored(self, event: ev.Rescored, recorded: ev.Recorded) -> None:
        self.open.pop(event.task, None)

    def on_study_closed(self, event: ev.StudyClosed, recorded: ev.Recorded) -> None:
        study = self.open.get(event.task)
        if study and study.id == event.study:
            del self.open[event.task]
            self.gain[event.task] = self.gain.get(event.task, 0.0) + max(event.gain, 0.0)

    def on_asked(self, event: ev.Asked, recorded: ev.Recorded) -> None:
        study = self.open.get(event.brief.task)
        if study and event.brief.operator == "tune" and event.brief.hint.get("study") == study.id:
            study.briefs[event.brief.number] = study.asked
            study.asked += 1

    def on_refused(self, event: ev.Refused, recorded: ev.Recorded) -> None:
        study = self.open.get(event.task)
        if study and event.brief in study.briefs:
            study.results.append((study.briefs.pop(event.brief), None))

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        study = self.open.get(event.task)
        if study and event.brief in study.briefs:
            study.born[event.candidate] = study.briefs.pop(event.brief)

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        study = self.open.get(event.task)
        if study and event.candidate in study.born:
            study.results.append((study.born.pop(event.candidate), event.verdict.fitness))
            self.evaluations[event.task] = self.evaluations.get(event.task, 0) + 1

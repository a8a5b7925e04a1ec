"""What each operator and each model gained lately, and what it cost: what the bandit chooses by."""

from __future__ import annotations

from dataclasses import dataclass, field

from evolve.population import events as ev
from evolve.population.folds.lineage import Lineage

DISCOUNT = 0.98
"""Per outcome of the task: an arm's record halves in about 35 outcomes (discounted UCB, Garivier and Moulines 2011)."""


@dataclass(slots=True)
class Arm:
    """Discounted counts. tries: proposals; gains: those better than their parent; money in US dollars, seconds of
    evaluation."""

    tries: float = 0.0
    gains: float = 0.0
    money: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class Trying:
    """A brief under way: its arms and its cost so far."""

    task: str
    arms: tuple[str, ...]
    money: float = 0.0
    seconds: float = 0.0


@dataclass(slots=True)
class Credit:
    """arms: task -> "operator:NAME" or "model:NAME" -> its record. briefs, born: of what is under way."""

    lineage: Lineage
    arms: dict[str, dict[str, Arm]] = field(default_factory=dict)
    briefs: dict[int, Trying] = field(default_factory=dict)
    born: dict[str, int] = field(default_factory=dict)

    def on_asked(self, event: ev.Asked, recorded: ev.Recorded) -> None:
        brief = event.brief
        model = str(brief.hint.get("model", ""))
        arms = (f"operator:{brief.operator}", *((f"model:{model}",) if model else ()))
        self.briefs[brief.number] = Trying(brief.task, arms)

    def on_answered(self, event: ev.Answered, recorded: ev.Recorded) -> None:
        if trying := self.briefs.get(event.brief):
            trying.money += event.money or 0.0

    def on_refused(self, event: ev.Refused, recorded: ev.Recorded) -> None:
        self._end(event.brief, False)

    def on_tactic(self, event: ev.Tactic, recorded: ev.Recorded) -> None:
        self._end(event.brief, False)

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        if event.brief in self.briefs:
            self.born[event.candidate] = event.brief

    def on_measured(self, event: ev.Measured, recorded: ev.Recorded) -> None:
        brief = self.born.get(event.candidates[0]) if event.candidates else None
        if brief is not None and brief in self.briefs:
            self.briefs[brief].seconds += event.evidence.cost.wall

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        brief = self.born.pop(event.candidate, None)
        if brief is None:
            return
        parents = self.lineage.candidates[event.candidate].parents
        parent = self.lineage.candidates.get(parents[0]) if parents else None
        fitness, before = event.verdict.fitness, parent.fitness if parent else None
        self._end(brief, fitness is not None and (before is None or fitness > before))

    def _end(self, brief: int, gained: bool) -> None:
        trying = self.briefs.pop(brief, None)
        if trying is None:
            return
        known = self.arms.setdefault(trying.task, {})
        for arm in known.values():
            for name in ("tries", "gains", "money", "seconds"):
                setattr(arm, name, getattr(arm, name) * DISCOUNT)
        for name in trying.arms:
            arm = known.setdefault(name, Arm())
            arm.tries += 1
            arm.gains += gained
            arm.money += trying.money
            arm.seconds += trying.seconds

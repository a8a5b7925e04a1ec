"""What was learnt and what people said: notes, lessons, tactics, directives."""

from __future__ import annotations

from dataclasses import dataclass, field

from evolve.population import events as ev
from evolve.population.folds.lineage import Lineage

NOTES = 200
"""Notes kept for each task, the latest."""

IDEA = 160
"""Characters of an idea in a note."""


@dataclass(frozen=True, slots=True)
class Note:
    """What one candidate tried and what came of it, checked against the noise.

    moved: "up" or "down" where its interval lies wholly above or below its parent's, "level" where they overlap,
    "failed" where it has no score. gain: in fitness over its parent, None where either has none. idea: its mutator's
    words, which are not to be trusted.
    """

    candidate: str
    parent: str
    operator: str
    idea: str
    moved: str
    gain: float | None = None
    kind: str = ""


@dataclass(slots=True)
class Memory:
    """All lists oldest first; `directives` are shown to every later brief of their task ("" = all tasks). notes: task ->
    its latest; lessons: one of each key."""

    lineage: Lineage
    notes: dict[str, list[Note]] = field(default_factory=dict)
    noted: dict[str, int] = field(default_factory=dict)
    lessons: list[ev.Lesson] = field(default_factory=list)
    tactics: list[ev.Tactic] = field(default_factory=list)
    directives: list[ev.Directive] = field(default_factory=list)
    _due: set[str] = field(default_factory=set)

    def on_lesson(self, event: ev.Lesson, recorded: ev.Recorded) -> None:
        if event.key:
            self.lessons = [known for known in self.lessons if (known.task, known.key) != (event.task, event.key)]
        self.lessons.append(event)

    def on_tactic(self, event: ev.Tactic, recorded: ev.Recorded) -> None:
        self.tactics.append(event)

    def on_directive(self, event: ev.Directive, recorded: ev.Recorded) -> None:
        self.directives.append(event)

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        self._due.add(event.candidate)

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        """A note for a candidate's first verdict."""
        candidate = self.lineage.candidates.get(event.candidate)
        if candidate is None or event.candidate not in self._due:
            return
        self._due.discard(event.candidate)
        parent = self.lineage.candidates.get(candidate.parents[0]) if candidate.parents else None
        before, after = parent.verdict if parent else None, event.verdict
        gain = None
        if after.fitness is None or after.low is None or after.high is None:
            moved = "failed"
        elif before is None or before.fitness is None or before.low is None or before.high is None:
            moved = "up"
        else:
            gain = after.fitness - before.fitness
            moved = "up" if after.low > before.high else "down" if after.high < before.low else "level"
        parent_id = parent.commit if parent else ""
        note = Note(candidate.commit, parent_id, candidate.operator, candidate.idea[:IDEA], moved, gain, after.kind)
        notes = self.notes.setdefault(event.task, [])
        notes.append(note)
        del notes[:-NOTES]
        self.noted[event.task] = self.noted.get(event.task, 0) + 1

    def words_for(self, task: str) -> tuple[str, ...]:
        return tuple(item.text for item in self.directives if item.task in ("", task))

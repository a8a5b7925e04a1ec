"""What was learnt and what people said: lessons, tactics, directives."""

from __future__ import annotations

from dataclasses import dataclass, field

from evolve.population import events as ev


@dataclass(slots=True)
class Memory:
    """All lists oldest first; `directives` are shown to every later brief of their task ("" = all tasks)."""

    lessons: list[ev.Lesson] = field(default_factory=list)
    tactics: list[ev.Tactic] = field(default_factory=list)
    directives: list[ev.Directive] = field(default_factory=list)

    def on_lesson(self, event: ev.Lesson, recorded: ev.Recorded) -> None:
        self.lessons.append(event)

    def on_tactic(self, event: ev.Tactic, recorded: ev.Recorded) -> None:
        self.tactics.append(event)

    def on_directive(self, event: ev.Directive, recorded: ev.Recorded) -> None:
        self.directives.append(event)

    def words_for(self, task: str) -> tuple[str, ...]:
        return tuple(item.text for item in self.directives if item.task in ("", task))

"""Lessons: what a run's own verdicts say of the ideas tried, in one sentence each, with the candidates that show it.

After each verdict a note is kept (`evolve.population.folds.memory.Note`): what was tried, and what moved against the
noise. Every PERIOD verdicts the notes of like ideas are put together. An idea tried several times that never gained is a
lesson too, for a while: it expires, since the program around it changes. No model is asked: each number in a lesson is
counted from verdicts, and only the idea's own words, which are untrusted, come from elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evolve.mutators import untrusted
from evolve.population import events as ev
from evolve.population.folds.memory import Note

if TYPE_CHECKING:
    from evolve.search import Ground, Search

PERIOD = 10
"""Verdicts of a task between two distillations."""

FALSIFIED = 3
"""Tries without a gain, on two programs at least, after which an idea counts as falsified."""

LIFE = 100
"""Evaluations after which a falsified idea may be tried again."""

ALIKE = 0.5
"""Share of words (Jaccard) from which two ideas are one."""

WORDS = 300
"""Most words of lessons in one brief."""

EVIDENCE = 8
"""Most candidates that a lesson names."""

_WORD = re.compile(r"[A-Za-z][A-Za-z_]{2,}")
_COMMON = frozenset(
    ("the", "and", "with", "for", "from", "into", "that", "this", "one", "use", "using", "make", "more", "less", "than")
)


def words(text: str) -> frozenset[str]:
    """The words of an idea that say something, without their plural."""
    return frozenset(w.rstrip("s") for w in (m.lower() for m in _WORD.findall(text)) if w not in _COMMON)


def alike(a: frozenset[str], b: frozenset[str]) -> float:
    """Jaccard similarity, 0..1; 0 where either says nothing."""
    return len(a & b) / len(a | b) if a and b else 0.0


@dataclass(slots=True)
class Theme:
    """Notes of like ideas, oldest first; `words` are those of the first."""

    words: frozenset[str]
    notes: list[Note] = field(default_factory=list)

    def count(self, moved: str) -> int:
        return sum(note.moved == moved for note in self.notes)


def themes(notes: Sequence[Note]) -> list[Theme]:
    """Notes put together by what was tried: each joins the likest earlier theme, or begins one."""
    found: list[Theme] = []
    for note in notes:
        said = words(note.idea)
        if not said:
            continue
        best = max(found, key=lambda theme: alike(theme.words, said), default=None)
        if best is None or alike(best.words, said) < ALIKE:
            best = Theme(said)
            found.append(best)
        best.notes.append(note)
    return found


def lesson(task: str, theme: Theme, evaluated: int) -> ev.Lesson | None:
    """What a theme's notes amount to; None where they show nothing yet."""
    up, tries = theme.count("up"), len(theme.notes)
    idea = untrusted.line(theme.notes[-1].idea, 120)
    key = " ".join(sorted(theme.words))[:200]
    if up:
        shown = [note for note in theme.notes if note.moved == "up"][-EVIDENCE:]
        gains = [note.gain for note in shown if note.gain is not None]
        much = f", by {max(gains):.3g} at best" if gains else ""
        text = f'"{idea}": gained beyond the noise in {up} of {tries} tries{much}'
        return ev.Lesson(task, text, tuple(note.candidate for note in shown), key=key)
    parents = {note.parent for note in theme.notes}
    if tries < FALSIFIED or len(parents) < 2:
        return None
    failed, down = theme.count("failed"), theme.count("down")
    parts = [f"{count} {what}" for count, what in ((down, "worse"), (tries - down - failed, "level"), (failed, "failed")) if count]
    text = f'"{idea}": tried {tries} times on {len(parents)} programs without a gain ({", ".join(parts)})'
    evidence = tuple(note.candidate for note in theme.notes[-EVIDENCE:])
    return ev.Lesson(task, text, evidence, True, evaluated + LIFE, key)


class Lessons:
    def __init__(self, search: Search) -> None:
        self.search = search

    def look(self, ground: Ground) -> None:
        """After a verdict: distil, every PERIOD of them, where the policy shows lessons to anybody."""
        task, memory = ground.task.name, self.search.state.memory
        count = memory.noted.get(task, 0)
        if not self.search.policy.lessons or not count or count % PERIOD:
            return
        evaluated = self.search.state.lineage.evaluated.get(task, 0)
        known = {(item.task, item.key): item for item in memory.lessons}
        for theme in themes(memory.notes.get(task, ())):
            made = lesson(task, theme, evaluated)
            before = known.get((task, made.key)) if made else None
            if made and (before is None or before.text != made.text or _expired(before, evaluated)):
                self.search.append(made)

    def shown(self, task: str, parent: str) -> tuple[str, ...]:
        """Lessons for a brief on this parent (hex commit id), the most relevant first, within WORDS words.

        Relevance: words shared with the ideas on the parent's last steps, this task before others, later before earlier.
        """
        state = self.search.state
        path = " ".join(step.idea for step in state.lineage.path_to(parent)[-5:])
        near = words(path)
        scored = []
        for place, item in enumerate(state.memory.lessons):
            if _expired(item, state.lineage.evaluated.get(item.task, 0)):
                continue
            home = item.task == task
            score = alike(words(item.text), near) + 0.5 * home + 0.1 * (place + 1) / len(state.memory.lessons)
            scored.append((score, place, item if home else None, item))
        texts, left = [], WORDS
        for _, _, home_item, item in sorted(scored, key=lambda row: (-row[0], -row[1])):
            text = item.text if home_item else f"(task {item.task}) {item.text}"
            left -= len(text.split())
            if left < 0:
                break
            texts.append(text)
        return tuple(texts)


def _expired(item: ev.Lesson, evaluated: int) -> bool:
    return 0 < item.expires <= evaluated

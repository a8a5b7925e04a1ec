"""What follows from a verdict or a refusal beyond the next stage and the champion gate, each thing an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolve.search import Ground, Search


class Upkeep:
    def __init__(self, search: Search) -> None:
        self.search = search

    def look(self, ground: Ground, commit: str = "") -> None:
        """After a verdict on a candidate (hex commit id), or after a refusal ("")."""
        self.search.tuner.look(ground, commit)
        self.search.ladder.look(ground)
        if commit:
            self.search.lessons.look(ground)

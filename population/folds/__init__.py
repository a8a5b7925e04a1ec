"""Folds: every derived state is one of these, a pure function of the events applied in (clock, log) order.

A fold is a class with `on_<kind>(event, recorded)` methods; `RunState` registers them and dispatches by kind. Nothing
else may change a fold, so "what did it look like then" is the same code as "what does it look like now".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from evolve.population.candidate import Candidate
from evolve.population.events import Recorded
from evolve.population.folds.credit import Credit
from evolve.population.folds.ledger import Ledger
from evolve.population.folds.lineage import Lineage
from evolve.population.folds.live import Live
from evolve.population.folds.memory import Memory
from evolve.population.folds.pipeline import Pending
from evolve.population.folds.plateau import Plateaus
from evolve.population.folds.studies import Studies

FOLDS: tuple[type[Any], ...] = (Lineage, Ledger, Pending, Live, Memory, Studies, Plateaus, Credit)
"""In the order in which an event reaches them; a later fold may read an earlier one's state."""

STATE_VERSION = 6
"""Raised when a fold's meaning changes, so that stored checkpoints of the old meaning are thrown away."""


class RunState:
    """Everything a run's log says, up to the last event applied.

    lineage: candidates, champions, epochs, calibrations.  ledger: what was spent and what is left.
    pending: what a resume must go on with.  live: the bounded populations that selectors see.  memory: lessons,
    tactics, directives.  studies: of the numeric tuner.  plateaus: the ladder.
    credit: of operators and models.  seen: log ref -> number of its events applied.  clock: the highest Lamport clock seen.
    """

    def __init__(self) -> None:
        self.seen: dict[str, int] = {}
        self.clock = 0
        self.last_time = 0.0
        self.lineage = Lineage()
        self.ledger = Ledger()
        self.pending = Pending()
        self.live = Live(self.lineage)
        self.memory = Memory(self.lineage)
        self.studies = Studies()
        self.plateaus = Plateaus(self.lineage)
        self.credit = Credit(self.lineage)
        self._bind()

    def _bind(self) -> None:
        self._handlers: dict[str, list[Callable[[Any, Recorded], None]]] = {}
        folds = (
            self.lineage, self.ledger, self.pending, self.live, self.memory, self.studies, self.plateaus, self.credit,
        )  # fmt: skip
        for fold in folds:
            for name in dir(type(fold)):
                if name.startswith("on_"):
                    self._handlers.setdefault(name[3:], []).append(getattr(fold, name))

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "_handlers"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    def apply(self, recorded: Recorded) -> None:
        """Fold one event. Events of one log must come in order; an event seen before is ignored."""
        have = self.seen.get(recorded.log, 0)
        if recorded.position < have:
            return
        self.seen[recorded.log] = recorded.position + 1
        self.clock = max(self.clock, recorded.clock)
        self.last_time = max(self.last_time, recorded.time)
        self.ledger.tick(recorded)
        for handler in self._handlers.get(recorded.event.kind, ()):
            handler(recorded.event, recorded)

    # ---- shorthands that most readers want -----------------------------------------------------------------------

    @property
    def run(self) -> str:
        return self.lineage.opened.run if self.lineage.opened else ""

    @property
    def candidates(self) -> dict[str, Candidate]:
        """commit -> candidate, in order of birth."""
        return self.lineage.candidates

    def champion(self, task: str) -> Candidate | None:
        commit = self.lineage.champions.get(task)
        return self.lineage.candidates[commit] if commit else None


__all__ = ["FOLDS", "STATE_VERSION", "Credit", "Ledger", "Lineage", "Live", "Memory", "Pending", "Plateaus", "RunState", "Studies"]

"""The live population: what selectors see. Bounded, so that choosing costs the same at 100 and at 100,000 candidates.

Each island keeps its best `BOUND` eligible members, and whatever a person pinned. The rest stays browsable in the
lineage. Novelty of a member is the mean distance to its nearest live neighbours, from the sketches stored at birth.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds.lineage import Lineage

BOUND = 40
DECAY = 0.9
"""Per verdict of the island; an island's credit for an old gain halves in about seven verdicts."""


@dataclass(slots=True)
class Island:
    """members: live commits, best first (ties: older first). best: highest fitness ever live. gain: decayed credit."""

    name: str
    members: list[str] = field(default_factory=list)
    best: float | None = None
    best_commit: str = ""
    gain: float = 0.0
    evaluated: int = 0
    stalled: int = 0


@dataclass(slots=True)
class Live:
    lineage: Lineage
    islands: dict[str, dict[str, Island]] = field(default_factory=dict)
    sketches: dict[str, str] = field(default_factory=dict)
    stalled: dict[str, int] = field(default_factory=dict)

    def island(self, task: str, name: str) -> Island:
        return self.islands.setdefault(task, {}).setdefault(name, Island(name))

    def members(self, task: str, name: str) -> list[Candidate]:
        return [self.lineage.candidates[commit] for commit in self.island(task, name).members]

    # ---- events --------------------------------------------------------------------------------------------------

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        if event.sketch:
            self.sketches[event.candidate] = event.sketch

    def on_imported(self, event: ev.Imported, recorded: ev.Recorded) -> None:
        if event.sketch:
            self.sketches[event.candidate] = event.sketch

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        candidate = self.lineage.candidates.get(event.candidate)
        if candidate is None:
            return
        home = self.island(event.task, candidate.island)
        home.evaluated += 1
        home.stalled += 1
        home.gain *= DECAY
        self.stalled[event.task] = self.stalled.get(event.task, 0) + 1
        if candidate.eligible:
            self._credit(home, candidate)
            self._enter(home, candidate)
        else:
            self._leave(event.task, candidate.commit)

    def _credit(self, home: Island, candidate: Candidate) -> None:
        """A gain counts relative to the scale of all islands' best, so that islands compare (search.md 1.3)."""
        fitness = candidate.fitness
        assert fitness is not None
        if home.best is None or fitness > home.best:
            if home.best is not None:
                scale = max(abs(fitness), abs(home.best), 1e-12)
                home.gain += (fitness - home.best) / scale
                home.stalled = 0
            home.best, home.best_commit = fitness, candidate.commit

    def _enter(self, home: Island, candidate: Candidate) -> None:
        if candidate.commit in home.members:
            home.members.remove(candidate.commit)
        key = self._key(candidate.commit)
        place = bisect.bisect_right([self._key(commit) for commit in home.members], key)
        home.members.insert(place, candidate.commit)
        if len(home.members) > BOUND:
            for commit in reversed(home.members):
                if not self.lineage.candidates[commit].pinned:
                    home.members.remove(commit)
                    self._forget(candidate.task, commit)
                    break

    def _key(self, commit: str) -> tuple[float, int]:
        candidate = self.lineage.candidates[commit]
        return (-(candidate.fitness if candidate.fitness is not None else float("-inf")), candidate.number)

    def _leave(self, task: str, commit: str) -> None:
        for island in self.islands.get(task, {}).values():
            if commit in island.members:
                island.members.remove(commit)
            if commit == island.best_commit:
                island.best_commit = island.members[0] if island.members else ""
                island.best = self.lineage.candidates[island.best_commit].fitness if island.best_commit else None
        self._forget(task, commit)

    def _forget(self, task: str, commit: str) -> None:
        if not any(commit in island.members for island in self.islands.get(task, {}).values()):
            self.sketches.pop(commit, None)

    def on_migrated(self, event: ev.Migrated, recorded: ev.Recorded) -> None:
        candidate = self.lineage.candidates.get(event.candidate)
        if candidate and candidate.eligible:
            island = self.island(event.task, event.island)
            if island.best is None or (candidate.fitness or 0.0) > island.best:
                island.best, island.best_commit = candidate.fitness, candidate.commit
            self._enter(island, candidate)

    def on_plateau(self, event: ev.Plateau, recorded: ev.Recorded) -> None:
        """A restart leaves all islands but the champion's: their members stay in the lineage alone, pinned ones live."""
        if event.rung != "restart":
            return
        champion = self.lineage.champions.get(event.task, "")
        for island in self.islands.get(event.task, {}).values():
            if champion not in island.members:
                for commit in [c for c in island.members if not self.lineage.candidates[c].pinned]:
                    island.members.remove(commit)
                    self._forget(event.task, commit)

    def on_rescored(self, event: ev.Rescored, recorded: ev.Recorded) -> None:
        """Scores of another epoch put nobody in order; sketches of those to be measured again are kept."""
        gone = {c for island in self.islands.pop(event.task, {}).values() for c in island.members} - set(event.again)
        for commit in gone:
            self.sketches.pop(commit, None)
        self.stalled[event.task] = 0

    def on_promoted(self, event: ev.Promoted, recorded: ev.Recorded) -> None:
        self.stalled[event.task] = 0

    def on_suspended(self, event: ev.Suspended, recorded: ev.Recorded) -> None:
        self._leave(event.task, event.candidate)

    def on_quarantined(self, event: ev.Quarantined, recorded: ev.Recorded) -> None:
        """With its descendants, whom the lineage knows by now."""
        for island in self.islands.get(event.task, {}).values():
            for commit in [*island.members, island.best_commit]:
                if commit and not self.lineage.candidates[commit].eligible:
                    self._leave(event.task, commit)

    def on_released(self, event: ev.Released, recorded: ev.Recorded) -> None:
        candidate = self.lineage.candidates.get(event.candidate)
        if candidate and candidate.eligible:
            home = self.island(event.task, candidate.island)
            self._credit(home, candidate)
            self._enter(home, candidate)

"""Who descends from whom, what each is worth, who is champion."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from evolve.population import events as ev
from evolve.population.candidate import Candidate, Standing
from evolve.tasks.verdict import VERIFY, Calibration, Verdict

GRAFTS = "transplant"
"""Operators whose inspirations gave code: how it begins."""


@dataclass(slots=True)
class Reign:
    """One champion's promotion, for the path from base to best."""

    candidate: str
    over: str
    gain: float | None
    low: float | None
    blocks: int
    tries: int
    evaluated: int
    time: float
    fitness: float | None


@dataclass(slots=True)
class Doubt:
    """Why a candidate is suspended or quarantined. cause: the candidate that quarantined it, itself where it is the one
    that was caught or marked; "" where suspended. reruns: independent re-runs measured since."""

    task: str
    reason: str
    cause: str = ""
    reruns: int = 0


MISTAKES = 2
"""Programs taken for known ones by their answers to the probes, and found to be worth something else, after which a task's
probes are believed no longer. One alone may be two intervals of one program that miss each other."""


def _alike(verdict: Verdict, other: Verdict | None) -> bool:
    """Whether two verdicts may be of one program: both or neither with a fitness, and intervals that meet."""
    if other is None:
        return True
    if verdict.fitness is None or other.fitness is None:
        return verdict.fitness == other.fitness
    low, high = _ends(verdict, verdict.fitness)
    other_low, other_high = _ends(other, other.fitness)
    return low <= other_high and other_low <= high


def _ends(verdict: Verdict, fitness: float) -> tuple[float, float]:
    low, high = (fitness if end is None else end for end in (verdict.low, verdict.high))
    return low, high


@dataclass(slots=True)
class Lineage:
    """Candidates by commit (in order of birth), by tree, by shape and by behaviour; champions, epochs and noise floors by
    task.

    doubts: commit -> why it is suspended or quarantined. waiting: those that an independent re-run could release, oldest
    doubt first. grafts: donor -> candidates that took code from it without descending from it. counting: task -> epochs
    whose evidence counts, where it was scored anew. rescored: task -> how often. measured_in: task -> epochs with evidence.
    twins: commit -> the earlier candidate that answered its task's probes alike. mistaken: task -> twins that were not worth the
    same.
    """

    opened: ev.RunOpened | None = None
    candidates: dict[str, Candidate] = field(default_factory=dict)
    by_tree: dict[tuple[str, bytes], str] = field(default_factory=dict)
    by_shape: dict[tuple[str, bytes], str] = field(default_factory=dict)
    by_behaviour: dict[tuple[str, bytes], str] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    measured: dict[str, tuple[str, ...]] = field(default_factory=dict)
    seeds: dict[str, str] = field(default_factory=dict)
    champions: dict[str, str] = field(default_factory=dict)
    reigns: dict[str, list[Reign]] = field(default_factory=dict)
    epochs: dict[str, ev.EpochOpened] = field(default_factory=dict)
    calibrations: dict[tuple[str, str], ev.Calibrated] = field(default_factory=dict)
    evaluated: dict[str, int] = field(default_factory=dict)
    scored: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    verdict_order: list[str] = field(default_factory=list)
    control: dict[str, ev.Control] = field(default_factory=dict)
    greedy: dict[str, ev.GreedyControl] = field(default_factory=dict)
    doubts: dict[str, Doubt] = field(default_factory=dict)
    waiting: dict[str, None] = field(default_factory=dict)
    grafts: dict[str, list[str]] = field(default_factory=dict)
    counting: dict[str, tuple[str, ...]] = field(default_factory=dict)
    rescored: dict[str, int] = field(default_factory=dict)
    measured_in: dict[str, dict[str, None]] = field(default_factory=dict)
    twins: dict[str, str] = field(default_factory=dict)
    mistaken: dict[str, int] = field(default_factory=dict)

    # ---- questions -----------------------------------------------------------------------------------------------

    def calibration(self, task: str) -> Calibration:
        """The noise floor of the task's current epoch; an empty one before `check` has run."""
        epoch = self.epochs.get(task)
        found = self.calibrations.get((task, epoch.epoch)) if epoch else None
        return found.calibration if found else Calibration()

    def path_to(self, commit: str) -> list[Candidate]:
        """First-parent path from the seed to `commit`."""
        path = []
        while commit in self.candidates:
            path.append(self.candidates[commit])
            parents = self.candidates[commit].parents
            commit = parents[0] if parents else ""
        return path[::-1]

    def known_tree(self, task: str, tree: str) -> str | None:
        return self.by_tree.get((task, bytes.fromhex(tree)))

    def known_shape(self, task: str, shape: str) -> str | None:
        return self.by_shape.get((task, bytes.fromhex(shape))) if shape else None

    def known_behaviour(self, task: str, fingerprint: str) -> str | None:
        """The candidate of that fingerprint; None where the task's probes are not believed."""
        if not self.believes(task):
            return None
        return self.by_behaviour.get((task, bytes.fromhex(fingerprint))) if fingerprint else None

    def believes(self, task: str) -> bool:
        """Whether the task's probes have not been found to take different programs for one."""
        return self.mistaken.get(task, 0) < MISTAKES

    # ---- events --------------------------------------------------------------------------------------------------

    def on_run_opened(self, event: ev.RunOpened, recorded: ev.Recorded) -> None:
        self.opened = event

    def on_epoch_opened(self, event: ev.EpochOpened, recorded: ev.Recorded) -> None:
        self.epochs[event.task] = event

    def on_rescored(self, event: ev.Rescored, recorded: ev.Recorded) -> None:
        """Nobody has a verdict in the new epoch yet, and the seed reigns; a shown cheat stays one."""
        assert self.opened is not None
        self.opened = replace(self.opened, tasks={**self.opened.tasks, event.task: event.opened})
        self.epochs[event.task] = ev.EpochOpened(
            event.task, event.epoch, event.task_digest, event.evaluator, event.hardware
        )
        self.counting[event.task] = event.counted
        self.rescored[event.task] = self.rescored.get(event.task, 0) + 1
        self.champions[event.task] = self.seeds[event.task]
        for commit, candidate in self.candidates.items():
            if candidate.task == event.task:
                candidate.verdict = None
                if candidate.standing is not Standing.QUARANTINED:
                    candidate.standing = Standing.ACTIVE
                    self.doubts.pop(commit, None)
                    self.waiting.pop(commit, None)

    def counted(self, task: str) -> tuple[str, ...]:
        """The epochs whose evidence counts for the task's verdicts now."""
        return self.counting.get(task) or ((self.epochs[task].epoch,) if task in self.epochs else ())

    def on_calibrated(self, event: ev.Calibrated, recorded: ev.Recorded) -> None:
        self.calibrations[(event.task, event.epoch)] = event

    def on_imported(self, event: ev.Imported, recorded: ev.Recorded) -> None:
        self._add(event, recorded, 0, "import", event.source)
        self.seeds.setdefault(event.task, event.candidate)
        if self.seeds[event.task] == event.candidate:
            self.champions.setdefault(event.task, event.candidate)

    def on_born(self, event: ev.Born, recorded: ev.Recorded) -> None:
        self._add(event, recorded, event.brief, event.operator, event.model)
        self.candidates[event.candidate].inspired_by = event.inspired_by
        donors = event.inspired_by if event.operator.startswith(GRAFTS) else ()
        for donor in donors:
            self.grafts.setdefault(donor, []).append(event.candidate)
        for source in (*event.parents, *donors):  # a brief may have been out when its parent was caught
            known = self.candidates.get(source)
            if known and known.standing is Standing.QUARANTINED:
                self._quarantine(event.candidate, self.doubts[source].reason, self.doubts[source].cause)
                break

    def _add(self, event: ev.Born | ev.Imported, recorded: ev.Recorded, brief: int, operator: str, model: str) -> None:
        parents = tuple(self._same(parent) for parent in event.parents)
        first = self.candidates.get(parents[0]) if parents else None
        self.candidates[event.candidate] = Candidate(
            commit=event.candidate,
            tree=event.tree,
            parents=parents,
            task=event.task,
            number=event.number,
            brief=brief,
            operator=operator,
            model=model,
            idea=event.idea,
            island=event.island,
            depth=first.depth + 1 if first else 0,
            born=recorded.time,
        )
        self.by_tree.setdefault((event.task, bytes.fromhex(event.tree)), event.candidate)
        if event.shape:
            self.by_shape.setdefault((event.task, bytes.fromhex(event.shape)), event.candidate)
        for parent in parents:
            if parent in self.candidates:
                self.candidates[parent].children += 1
                self.children.setdefault(parent, []).append(event.candidate)

    def _same(self, commit: str) -> str:
        """The string already held for this commit, so that 1e5 candidates do not hold each parent's id twice."""
        known = self.candidates.get(commit)
        return known.commit if known else commit

    def on_fingerprinted(self, event: ev.Fingerprinted, recorded: ev.Recorded) -> None:
        key = (event.task, bytes.fromhex(event.fingerprint))
        first = self.by_behaviour.setdefault(key, self._same(event.candidate))
        if first != event.candidate:
            self.twins[self._same(event.candidate)] = first

    def on_refused(self, event: ev.Refused, recorded: ev.Recorded) -> None:
        self.refused[event.reason] = self.refused.get(event.reason, 0) + 1

    def on_measured(self, event: ev.Measured, recorded: ev.Recorded) -> None:
        epochs = self.measured_in.setdefault(event.task, {})
        epochs[event.epoch] = None
        for commit in event.candidates:
            self.measured[commit] = (*self.measured.get(commit, ()), recorded.oid)
            if event.evidence.stage == VERIFY and commit in self.doubts:
                self.doubts[commit].reruns += 1
                self.waiting.pop(commit, None)

    def on_judged(self, event: ev.Judged, recorded: ev.Recorded) -> None:
        candidate = self.candidates.get(event.candidate)
        epoch = self.epochs.get(event.task)
        if candidate is None or (epoch and event.epoch != epoch.epoch):
            return
        if not candidate.judged:
            candidate.judged = True
            self.evaluated[event.task] = self.evaluated.get(event.task, 0) + 1
            self.verdict_order.append(candidate.commit)
            if event.verdict.fitness is not None:
                self.scored += 1
            else:
                kind = event.verdict.kind or event.verdict.status.value
                self.failures[kind] = self.failures.get(kind, 0) + 1
        candidate.verdict = event.verdict
        if (first := self.twins.pop(event.candidate, "")) and not _alike(event.verdict, self.candidates[first].verdict):
            self.mistaken[event.task] = self.mistaken.get(event.task, 0) + 1
        if event.verdict.fitness is None and candidate.standing is Standing.QUARANTINED:
            self.waiting.pop(candidate.commit, None)  # there is nothing to release

    def on_promoted(self, event: ev.Promoted, recorded: ev.Recorded) -> None:
        self.champions[event.task] = event.candidate
        candidate = self.candidates[event.candidate]
        candidate.was_champion = True
        self.reigns.setdefault(event.task, []).append(
            Reign(
                event.candidate,
                event.over,
                event.gain,
                event.low,
                event.blocks,
                event.tries,
                self.evaluated.get(event.task, 0),
                recorded.time,
                candidate.fitness,
            )
        )

    def on_suspended(self, event: ev.Suspended, recorded: ev.Recorded) -> None:
        if event.candidate in self.candidates:
            self.candidates[event.candidate].standing = Standing.SUSPENDED
            self.doubts[event.candidate] = Doubt(event.task, event.reason)
            self.waiting[event.candidate] = None
            self._dethrone(event.task)

    def on_quarantined(self, event: ev.Quarantined, recorded: ev.Recorded) -> None:
        """The candidate, and all its descendants where it is itself the cause."""
        caught = [event.candidate]
        if event.cause == event.candidate:
            caught += self.descendants(event.candidate)
        for commit in caught:
            if commit in self.candidates:
                self._quarantine(commit, event.reason, event.cause)
        self._dethrone(event.task)

    def descendants(self, commit: str) -> list[str]:
        """All that descend from a candidate or took code from one that does, nearest first."""
        found = {commit: None}
        queue = [commit]
        for one in queue:
            for child in (*self.children.get(one, ()), *self.grafts.get(one, ())):
                if child not in found:
                    found[child] = None
                    queue.append(child)
        return queue[1:]

    def on_released(self, event: ev.Released, recorded: ev.Recorded) -> None:
        if event.candidate in self.candidates:
            self.candidates[event.candidate].standing = Standing.RELEASED
        self.doubts.pop(event.candidate, None)
        self.waiting.pop(event.candidate, None)

    def on_pinned(self, event: ev.Pinned, recorded: ev.Recorded) -> None:
        if event.candidate in self.candidates:
            self.candidates[event.candidate].pinned = event.pinned

    def on_control(self, event: ev.Control, recorded: ev.Recorded) -> None:
        self.control[event.task] = event

    def on_greedy_control(self, event: ev.GreedyControl, recorded: ev.Recorded) -> None:
        self.greedy[event.task] = event

    def _quarantine(self, commit: str, reason: str, cause: str) -> None:
        candidate = self.candidates[commit]
        candidate.standing = Standing.QUARANTINED
        self.doubts[commit] = Doubt(candidate.task, reason, cause)
        if commit != cause and (candidate.verdict is None or candidate.fitness is not None):
            self.waiting[commit] = None
        else:
            self.waiting.pop(commit, None)

    def _dethrone(self, task: str) -> None:
        """The last champion that may still be one reigns again, where the present one may not."""
        champion = self.champions.get(task)
        if champion and self.candidates[champion].standing in (Standing.SUSPENDED, Standing.QUARANTINED):
            self.champions[task] = self._last_good(task)

    def _last_good(self, task: str) -> str:
        for reign in reversed(self.reigns.get(task, [])):
            if self.candidates[reign.candidate].eligible:
                return reign.candidate
        return self.seeds[task]

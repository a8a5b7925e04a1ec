"""The champion gate: before a candidate reigns it is measured afresh, alternating with the reigning champion.

One gate a task at a time. Which candidate is next, and what a gate's evidence amounts to, follow from the folded log
alone, so a resume continues a gate where it was.

Where the seed's noise check found none and the policy says so (`exact`), a candidate that scored more reigns at once, and a
champion is measured again by the strictest rules, in an independent re-run, once it has stood for `STANDS` evaluations or the
search ends: a candidate that does not repeat keeps that score alone, and whoever is better reigns again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from evolve.evaluators.evaluator import Job
from evolve.population import events as ev
from evolve.population.candidate import Candidate, Standing
from evolve.population.folds.pipeline import Gate
from evolve.tasks.verdict import CONFIRM, LOOKS, VERIFY, Decision, promote, worth_a_gate

if TYPE_CHECKING:
    from evolve.search import Ground, Search


STANDS = 10
"""Evaluations after which a champion that was never measured again is; most champions of a climb stand for fewer."""


class Gatekeeper:
    def __init__(self, search: Search) -> None:
        self.search = search
        self.opening: set[str] = set()
        """Tasks whose gate's first job waits for a slot; on record as a gate once it has started."""
        self._again: set[str] = set()
        """Commits known to have been measured by an independent re-run."""

    # ---- opening -------------------------------------------------------------------------------------------------

    def next(self, ground: Ground) -> list[Job]:
        """The next gate's first job, if none is under way and somebody is worth one."""
        task = ground.task.name
        if task in self.search.state.pending.gates or task in self.opening:
            return []
        candidate = self._challenger(ground)
        while candidate is not None and self._free(ground, candidate):
            self._crown(ground, candidate)
            candidate = self._challenger(ground)
        if candidate is None:
            return self._look_again(ground)
        self.opening.add(task)
        return [self._look(ground, candidate, 0)]

    def _exact(self, ground: Ground) -> bool:
        calibration = self.search.state.lineage.calibration(ground.task.name)
        return self.search.policy.exact and calibration.deterministic(ground.task.objectives[0].name)

    def _free(self, ground: Ground, candidate: Candidate) -> bool:
        """Whether it reigns without a gate: nothing is in doubt, and its one measurement is taken for all."""
        champion = self._champion(ground)
        known = candidate.fitness is not None and champion.fitness is not None
        return self._exact(ground) and known and candidate.standing is Standing.ACTIVE

    def _crown(self, ground: Ground, candidate: Candidate) -> None:
        task, champion = ground.task.name, self._champion(ground)
        gain = (candidate.fitness or 0.0) - (champion.fitness or 0.0)
        tries = self.search.state.pending.tries.get(task, 0) + 1
        self.search.append(ev.Promoted(task, candidate.commit, champion.commit, gain, gain, 0, tries))

    def _look_again(self, ground: Ground) -> list[Job]:
        """The independent re-run of a champion that has none yet, where it is due."""
        search, champion = self.search, self._champion(ground)
        if not self._exact(ground) or champion.commit == search.state.lineage.seeds[ground.task.name]:
            return []
        stood = search.state.live.stalled.get(ground.task.name, 0)
        if stood < STANDS and not (search.stop_reason or search.spent() or search.reached()):
            return []
        waits = champion.commit in self._again or champion.commit in search.standings.under_way
        if waits or champion.standing is not Standing.ACTIVE:
            return []
        if any(item.stage == VERIFY for item in search.evidence(champion.commit)):
            self._again.add(champion.commit)
            return []
        return [search.standings.order(ground, champion)]

    def _champion(self, ground: Ground) -> Candidate:
        champion = self.search.state.champion(ground.task.name)
        assert champion is not None, "a task has a champion from its first import on"
        return champion

    def _challenger(self, ground: Ground) -> Candidate | None:
        """The best live candidate that is worth a gate and has not failed one against this champion."""
        state, task = self.search.state, ground.task.name
        champion = self._champion(ground)
        if champion.verdict is None:
            return None
        calibration = state.lineage.calibration(task)
        sigma = calibration.sigma.get(ground.task.objectives[0].name, 0.0)
        best: Candidate | None = None
        for island in state.live.islands.get(task, {}).values():
            for commit in island.members[:8]:
                candidate = state.candidates[commit]
                if commit == champion.commit or (task, commit, champion.commit) in state.pending.gated or not candidate.eligible:
                    continue
                assert candidate.verdict is not None
                if worth_a_gate(candidate.verdict, champion.verdict, sigma) and (
                    best is None or (candidate.fitness or 0.0, -candidate.number) > (best.fitness or 0.0, -best.number)
                ):
                    best = candidate
        return best

    def _look(self, ground: Ground, candidate: Candidate, done: int) -> Job:
        """The next look: blocks up to confirm x 2^k in all; where the seed repeats exactly, one block of the candidate
        alone comes first, since the champion's value is known."""
        task, confirm = ground.task.name, ground.task.evaluate.repeats.confirm
        calibration = self.search.state.lineage.calibration(task)
        exact = calibration.deterministic(ground.task.objectives[0].name)
        number = candidate.number
        if exact and done == 0:
            name = f"{number}/{CONFIRM}/{self._champion(ground).number}/exact"
            return Job(name, task, (candidate.tree,), CONFIRM, 1, attempt=self._attempt(name))
        target = confirm
        while target <= done:
            target *= 2
        name = f"{number}/{CONFIRM}/{self._champion(ground).number}/{done}"
        trees = (candidate.tree, self._champion(ground).tree)
        return Job(name, task, trees, CONFIRM, target - done, first_block=done, attempt=self._attempt(name))

    def _attempt(self, job: str) -> int:
        return self.search.state.pending.starts.get(job, 0) + 1

    # ---- deciding ------------------------------------------------------------------------------------------------

    def told(self, ground: Ground, commit: str) -> list[Job]:
        """Decide on what a gate's evidence shows: another look, a promotion, or the end of the gate."""
        task = ground.task.name
        self.opening.discard(task)
        gate = self.search.state.pending.gates.get(task)
        if gate is None or gate.candidate != commit:
            return self.next(ground)
        if self._stale(ground, gate):
            self._close(gate, 0.0, 0.0, 0)
            return self.next(ground)
        candidate = self.search.state.candidates[commit]
        champion = self.search.state.candidates[gate.over]
        if not self._clean(gate, candidate):
            return self._without_pairs(ground, gate, candidate, champion)
        differences = self._differences(ground, gate, candidate, champion)
        if differences:
            return self._decide(ground, gate, candidate, champion, differences)
        if any(len(item.trees) == 2 for item in gate.evidence):
            return self._without_pairs(ground, gate, candidate, champion)
        return self._paired(ground, candidate)  # the exact look did not repeat

    def _stale(self, ground: Ground, gate: Gate) -> bool:
        """Whether one of the two was put into doubt meanwhile: who reigns again is the one to beat."""
        return (
            gate.over != self._champion(ground).commit or gate.candidate in self.search.state.lineage.doubts
        )

    def _without_pairs(self, ground: Ground, gate: Gate, candidate: Candidate, champion: Candidate) -> list[Job]:
        """Somebody failed in the gate: judge both anew; a champion that no longer runs gives way."""
        self._rejudge(ground, candidate)
        self._rejudge(ground, champion)
        reigns = self._champion(ground).commit == champion.commit
        if candidate.eligible and reigns and not champion.eligible:
            tries = self.search.state.pending.tries.get(gate.task, 0) + 1
            self.search.append(ev.Promoted(gate.task, candidate.commit, champion.commit, tries=tries))
        else:
            self._close(gate, 0.0, 0.0, 0)
        return self.next(ground)

    def _paired(self, ground: Ground, candidate: Candidate) -> list[Job]:
        task, confirm = ground.task.name, ground.task.evaluate.repeats.confirm
        name = f"{candidate.number}/{CONFIRM}/{self._champion(ground).number}/0"
        trees = (candidate.tree, self._champion(ground).tree)
        return [Job(name, task, trees, CONFIRM, max(confirm, 2), attempt=self._attempt(name))]

    def _decide(
        self, ground: Ground, gate: Gate, candidate: Candidate, champion: Candidate, differences: list[float]
    ) -> list[Job]:
        state, task = self.search.state, ground.task.name
        metric = ground.task.objectives[0].name
        calibration = state.lineage.calibration(task)
        tries = state.pending.tries.get(task, 0) + 1
        confirm = ground.task.evaluate.repeats.confirm
        outcome = promote(differences, calibration.sigma.get(metric, 0.0), calibration.dof, tries, confirm)
        if outcome.decision is Decision.MORE and outcome.n < confirm * 2 ** (LOOKS - 1):
            return [self._look(ground, candidate, outcome.n)]
        self._rejudge(ground, candidate)
        self._rejudge(ground, champion)
        if outcome.decision is Decision.PROMOTE and candidate.eligible:
            self.search.append(
                ev.Promoted(task, candidate.commit, champion.commit, outcome.gain, outcome.low, outcome.n, tries)
            )
        else:
            self._close(gate, outcome.gain, outcome.low if math.isfinite(outcome.low) else outcome.gain, outcome.n)
        return self.next(ground)

    def _differences(self, ground: Ground, gate: Gate, candidate: Candidate, champion: Candidate) -> list[float]:
        """Paired differences in fitness, one a block; from an exact look, one, if the candidate repeated exactly."""
        metric = ground.task.objectives[0]
        paired = [item for item in gate.evidence if len(item.trees) == 2]
        if not paired:
            fresh = [s.metrics[metric.name] for item in gate.evidence for s in item.of(candidate.tree)]
            screened = candidate.verdict.metrics[metric.name].mean if candidate.verdict else math.nan
            if fresh and all(value == screened for value in fresh) and champion.fitness is not None:
                return [metric.sign * fresh[0] - champion.fitness]
            return []
        by_block: dict[int, dict[str, list[float]]] = {}
        for item in paired:
            for sample in item.samples:
                by_block.setdefault(sample.block, {}).setdefault(sample.tree, []).append(sample.metrics[metric.name])
        return [
            metric.sign * (_mean(trees[candidate.tree]) - _mean(trees[champion.tree]))
            for _, trees in sorted(by_block.items())
            if candidate.tree in trees and champion.tree in trees
        ]

    def _clean(self, gate: Gate, candidate: Candidate) -> bool:
        """No failure and no check of this candidate that is not passed."""
        for item in gate.evidence:
            if candidate.tree in item.failures:
                return False
            if any(c.outcome.value != "passed" and c.tree in ("", candidate.tree) for c in item.checks):
                return False
        return True

    def _rejudge(self, ground: Ground, candidate: Candidate) -> None:
        self.search.give_verdict(ground, candidate, self.search.evidence(candidate.commit))

    def _close(self, gate: Gate, gain: float, low: float, blocks: int) -> None:
        tries = self.search.state.pending.tries.get(gate.task, 0) + 1
        self.search.append(ev.GateClosed(gate.task, gate.candidate, gate.over, gain, low, blocks, tries))

    # ---- resume --------------------------------------------------------------------------------------------------

    def resume(self, ground: Ground) -> list[Job]:
        """Go on with the gate under way: look again at its evidence, or run the look that has none."""
        gate = self.search.state.pending.gates.get(ground.task.name)
        if gate is None:
            return self.next(ground)
        if gate.evidence or self._stale(ground, gate):
            return self.told(ground, gate.candidate)
        return [self._look(ground, self.search.state.candidates[gate.candidate], 0)]


def _mean(values: list[float]) -> float:
    return math.fsum(values) / len(values)

"""Who may be a parent or a champion: suspension, quarantine, and the independent re-run that releases from both.

    suspended    its first score is beyond what is plausible (`evolve.tasks.plausible`), or a check found it implausible
    quarantined  a cheat was shown, or a person marked it suspicious: it and all its descendants

A suspended candidate is measured again at once, a quarantined descendant when its turn comes: one of them for each
ordinary verdict, the best first, so that the search goes on meanwhile. A re-run is a job of its own with new secrets
and the strictest rules (stage "verify"). One that is clean releases, and its samples alone are the score from then on;
any other leaves the candidate out, with the verdict that its evidence gives. The one that was caught or marked is
never released by a re-run, only by a person.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.evaluators.evaluator import Job
from evolve.population import events as ev
from evolve.population.candidate import Candidate, Standing
from evolve.tasks.plausible import RECENT, jump, relative
from evolve.tasks.verdict import VERIFY, Status, Verdict

if TYPE_CHECKING:
    from evolve.population.folds import RunState
    from evolve.search import Ground, Search


def doubt_text(state: RunState, candidate: Candidate) -> str:
    """Why a candidate is suspended or quarantined, for a person; "" where it is neither."""
    doubt = state.lineage.doubts.get(candidate.commit)
    if doubt is None:
        return ""
    why = doubt.reason
    if doubt.cause and doubt.cause != candidate.commit:
        why = f"descends from #{state.candidates[doubt.cause].number}: {why}"
    if doubt.cause == candidate.commit:
        return f"{why}; only a person releases it"
    return why + ("; an independent re-run did not clear it" if doubt.reruns else "; to be measured again")


class Standings:
    def __init__(self, search: Search) -> None:
        self.search = search
        self.under_way: set[str] = set()
        """Commits whose re-run is ordered and has not ended."""

    # ---- into doubt ----------------------------------------------------------------------------------------------

    def before(self, ground: Ground, candidate: Candidate, verdict: Verdict) -> None:
        """Put into doubt what a new verdict calls for, on record before the verdict is: so nobody sees it as a parent
        meanwhile, and a crash in between loses neither."""
        task = ground.task.name
        if verdict.status is Status.CHEAT:
            doubt = self.search.state.lineage.doubts.get(candidate.commit)
            if doubt is None or doubt.cause != candidate.commit:
                self.search.append(ev.Quarantined(task, candidate.commit, "a shown cheat", candidate.commit))
        elif candidate.standing in (Standing.ACTIVE, Standing.RELEASED):
            why = "implausible: " + verdict.reason if verdict.status is Status.AUDIT else ""
            why = why or self._jump(ground, candidate, verdict)
            if why:
                self.search.append(ev.Suspended(task, candidate.commit, why[:500]))

    def _jump(self, ground: Ground, candidate: Candidate, verdict: Verdict) -> str:
        """Only a first verdict is asked about: what comes later was measured afresh."""
        if candidate.verdict is not None or candidate.standing is not Standing.ACTIVE or verdict.fitness is None:
            return ""
        best = self._best(ground)
        if best is None or verdict.fitness <= (best.fitness or 0.0):
            return ""
        metric = ground.task.objectives[0].name
        sigma = self.search.state.lineage.calibration(ground.task.name).sigma.get(metric, 0.0)
        return jump(verdict, best, self._steps(ground.task.name), metric, sigma)

    def _best(self, ground: Ground) -> Verdict | None:
        """The verdict of the best candidate so far that stands."""
        state, task = self.search.state, ground.task.name
        leaders = [i.members[0] for i in state.live.islands.get(task, {}).values() if i.members]
        known = [state.candidates[c].verdict for c in (state.lineage.champions[task], *leaders)]
        scored = [v for v in known if v is not None and v.fitness is not None]
        return max(scored, key=lambda v: v.fitness or 0.0, default=None)

    def _steps(self, task: str) -> list[float]:
        """Relative gains of the latest promotions, oldest first."""
        reigns = self.search.state.lineage.reigns.get(task, [])[-2 * RECENT :]
        return [relative(r.fitness - r.gain, r.fitness) for r in reigns if r.fitness is not None and r.gain is not None]

    # ---- out of it -----------------------------------------------------------------------------------------------

    def next(self, ground: Ground, *, descendants: bool = True) -> list[Job]:
        """Re-runs to be made now: of every suspended candidate, and of the best quarantined descendant."""
        state, task = self.search.state, ground.task.name
        jobs = []
        best: Candidate | None = None
        for commit in state.lineage.waiting:
            candidate = state.candidates[commit]
            if candidate.task != task or candidate.verdict is None or commit in self.under_way:
                continue
            if candidate.standing is Standing.SUSPENDED:
                jobs.append(self.order(ground, candidate))
            elif candidate.fitness is not None and (best is None or candidate.fitness > (best.fitness or 0.0)):
                best = candidate
        if best is not None and descendants and not self._busy_with_quarantine(task):
            jobs.append(self.order(ground, best))
        return jobs

    def _busy_with_quarantine(self, task: str) -> bool:
        candidates = (self.search.state.candidates[commit] for commit in self.under_way)
        return any(c.task == task and c.standing is Standing.QUARANTINED for c in candidates)

    def order(self, ground: Ground, candidate: Candidate) -> Job:
        """The job of an independent re-run."""
        self.under_way.add(candidate.commit)
        name = f"{candidate.number}/{VERIFY}/{len(self.search.state.lineage.measured.get(candidate.commit, ()))}"
        attempt = self.search.state.pending.starts.get(name, 0) + 1
        return Job(name, ground.task.name, (candidate.tree,), VERIFY, ground.stages[-1].blocks, attempt=attempt)

    def told(self, ground: Ground, commit: str) -> list[Job]:
        """What a re-run amounts to: judged anew with it, and released if that gives a score."""
        self.under_way.discard(commit)
        self._decide(ground, self.search.state.candidates[commit])
        return [*self.next(ground, descendants=False), *self.search.gates.next(ground)]

    def _decide(self, ground: Ground, candidate: Candidate) -> None:
        verdict = self.search.give_verdict(ground, candidate, self.search.evidence(candidate.commit))
        doubt = self.search.state.lineage.doubts.get(candidate.commit)
        if doubt is None or doubt.cause == candidate.commit or not doubt.reruns or verdict.status is not Status.SCORED:
            return
        self.search.append(ev.Released(candidate.task, candidate.commit, "an independent re-run was clean"))

    def resume(self, ground: Ground) -> list[Job]:
        """Decide on re-runs that ended before their decision was on record, and go on with the others."""
        for commit, doubt in list(self.search.state.lineage.doubts.items()):
            if doubt.task == ground.task.name and doubt.reruns and doubt.cause != commit:
                self._decide(ground, self.search.state.candidates[commit])
        return self.next(ground)

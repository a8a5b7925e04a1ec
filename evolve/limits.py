"""Whether the next step can be paid for. A limit is hard: what a request or a job may cost at most must fit into what is left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evolve.evaluators.evaluator import Job
from evolve.tasks.verdict import STRICT

if TYPE_CHECKING:
    from evolve.search import Ground, Search


class Limits:
    """The budget as the search asks of it; what was spent is the ledger's."""

    def __init__(self, search: Search) -> None:
        self.search = search
        self._short: dict[str, tuple[str, float]] = {}
        """Who could not pay ("" is an evaluation of the search's own): for want of what, and how much of it there was."""

    def spent(self) -> str:
        """Why no further brief fits, or an empty string."""
        ledger, pending = self.search.state.ledger, self.search.state.pending
        under_way = len(pending.briefs) + len(pending.candidates)
        if ledger.left("evaluations") - under_way < 1:
            return "evaluations"
        if "seconds" in ledger.limits and self.search.seconds() >= ledger.limits["seconds"]:
            return "seconds"
        for what in ("money", "tokens", "gpu_seconds"):
            if ledger.left(what) <= 0:
                return what
        return ""

    def tight(self) -> str:
        """"gpu_seconds" where one more candidate's first stage may not fit beside what is under way, else an empty string. Not
        `spent`: jobs that end sooner than they reserved give some back."""
        ledger, pending = self.search.state.ledger, self.search.state.pending
        if "gpu_seconds" not in ledger.limits:
            return ""
        unstarted = len(pending.briefs) + max(len(pending.candidates) - len(ledger.open_jobs), 0)
        least = min(self.most(g, g.stages[0].name, g.stages[0].blocks, 1)[1] for g in self.search.grounds.values())
        return "gpu_seconds" if (unstarted + 1) * least > ledger.left("gpu_seconds") else ""

    @staticmethod
    def most(ground: Ground, stage: str, blocks: int, trees: int) -> tuple[float, float]:
        """(wall seconds, GPU seconds) that a job may take at most: what it reserves."""
        if stage in STRICT:
            seconds = ground.stages[-1].seconds * blocks * trees
        else:
            seconds = next(s for s in ground.stages if s.name == stage).seconds * blocks
        return seconds, seconds * ground.task.evaluate.gpus

    def fits(self, job: Job) -> bool:
        """Whether a job's reservation fits. One that does not is not started: it waits for a larger budget, on record as it is."""
        left = self.search.state.ledger.left("gpu_seconds")
        if self.most(self.search.grounds[job.task], job.stage, job.blocks, len(job.trees))[1] <= left:
            return True
        self._short[""] = "gpu_seconds", left
        return False

    def unpaid(self, mutator: str, what: str) -> None:
        """A request of this mutator did not fit."""
        self._short[mutator] = what, self.search.state.ledger.left(what)

    def short(self, mutator: str) -> str:
        """What there was too little of when this mutator last asked, unless there is more of it now."""
        what, then = self._short.get(mutator, ("", 0.0))
        if what and self.search.state.ledger.left(what) > then:
            del self._short[mutator]
            return ""
        return what

    def exhausted(self) -> str:
        """What none of the mutators has enough of, or the search's own evaluations have not; else an empty string."""
        found = [self.short(name) for name in self.search.operators if self.search.asker.wants(name)]
        return self.short("") or self.tight() or (found[0] if found and all(found) else "")

"""Two trees side by side, measured anew by a run's own evaluator: what `evolve pick` asks before it claims a gain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

from evolve.errors import InfrastructureError
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import LocalExecutor
from evolve.opening import site_of
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from evolve.tasks import statistics
from evolve.tasks.evidence import Evidence
from evolve.tasks.verdict import CONFIRM, Verdict, estimate, judge

MOST_ATTEMPTS = 3


@dataclass(frozen=True, slots=True)
class Paired:
    """One tree against another, samples alternating.

    ours, theirs: verdicts from these samples alone. differences: fitness of ours minus theirs, one a block; empty
    unless both are scored. gain: their mean, with its two-sided 95% interval; None unless both are scored.
    """

    ours: Verdict
    theirs: Verdict
    differences: tuple[float, ...] = ()
    gain: float | None = None
    low: float | None = None
    high: float | None = None

    @property
    def shown_better(self) -> bool:
        """Scored, and the interval of the gain lies above zero (the very gain, where the task repeats exactly)."""
        return self.low is not None and self.low > 0

    def sentence(self, metric: str, unit: str, sign: float) -> str:
        """What was found, for a person."""
        if self.ours.fitness is None:
            return f"it does not survive: {self.ours.status.value} at {self.ours.stage}: {self.ours.reason}"
        if self.gain is None or self.low is None or self.high is None:
            why = f"{self.theirs.status.value} at {self.theirs.stage}: {self.theirs.reason}"
            return f"it scores {metric} {sign * self.ours.fitness:.6g} there, where the branch itself does not score ({why})"
        a, b = sorted((sign * self.low, sign * self.high))
        spread = "" if a == b else f" [{a:+.4g}, {b:+.4g}]"
        change = f"{metric} {sign * self.gain:+.6g}{spread} {unit}".rstrip() + f" (n = {len(self.differences)})"
        if self.shown_better:
            return f"the gain survives: {change}"
        if self.gain > 0:
            return f"a gain is not shown beyond the noise: {change}"
        return f"the gain does not survive: {change}"


class Remeasure:
    """Measures pairs of trees of one task of a run on this machine. Close it when done.

    base: tree whose protected files surround what is judged; empty: the run's base. Raises RepositoryError where the
    run's grader cannot be had any more.
    """

    def __init__(self, archive: Archive, state: RunState, task: str, base: str = "", slots: int = 1) -> None:
        self.archive = archive
        self.task, site, _ = site_of(archive, state, task)
        if base:
            site = replace(site, base=base)
        self.calibration = state.lineage.calibration(task)
        self.executor = LocalExecutor({task: site}, slots)
        self.blocks = self.task.evaluate.repeats.confirm
        self.jobs = 0

    async def compare(self, ours: str, theirs: str, blocks: int | None = None) -> Paired:
        """`ours` against `theirs`, hex ids of trees in the archive. Raises InfrastructureError after three attempts."""
        self.archive.store.flush()
        evidence = await self._measure((ours, theirs), blocks or self.blocks)
        metric = self.task.objectives[0]
        first, second = (judge(evidence, tree, self.task, self.calibration) for tree in (ours, theirs))
        if first.fitness is None or second.fitness is None:
            return Paired(first, second)
        pairs = paired_differences(evidence, ours, theirs, metric.name, metric.sign)
        found = estimate(pairs, sqrt(2) * self.calibration.sigma.get(metric.name, 0.0), self.calibration.dof)
        return Paired(first, second, tuple(pairs), found.mean, found.low, found.high)

    async def _measure(self, trees: tuple[str, str], blocks: int) -> list[Evidence]:
        for attempt in range(1, MOST_ATTEMPTS + 1):
            self.jobs += 1
            job = Job(f"pick/{self.jobs}", self.task.name, trees, CONFIRM, max(blocks, 1), attempt=attempt)
            try:
                return [await (await self.executor.start(job)).result()]
            except InfrastructureError:
                if attempt == MOST_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def close(self) -> None:
        await self.executor.close()


def paired_differences(evidence: Sequence[Evidence], ours: str, theirs: str, metric: str, sign: float) -> list[float]:
    """Fitness of ours minus theirs by block; a block with only one of them is left out."""
    out = []
    for item in evidence:
        by_block: dict[int, dict[str, list[float]]] = {}
        for sample in item.samples:
            by_block.setdefault(sample.block, {}).setdefault(sample.tree, []).append(sign * sample.metrics[metric])
        for block in sorted(by_block):
            pair = by_block[block]
            if ours in pair and theirs in pair:
                out.append(statistics.mean(pair[ours]) - statistics.mean(pair[theirs]))
    return out

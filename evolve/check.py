"""Trying a task before a search is spent on it: does the seed score, how noisy is it, can a broken candidate score?

Runs before a run's first candidate and as `evolve check`; what it finds is stored as `calibrated` for the task's epoch
and reused by a resume. Its probes are no candidates.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace

from evolve.errors import BaselineError, UsageError
from evolve.evaluators.evaluator import Executor, Job
from evolve.population import events as ev
from evolve.population.git import Store
from evolve.search import Ground, Search
from evolve.tasks import statistics as st
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task
from evolve.tasks.verdict import VERIFY, Calibration, Status, Verdict, judge

FEWEST, MOST = 3, 10
"""Runs of the seed: as many as fit into PATIENCE, within these."""

AGREE = 5
"""Runs of the seed after which a task counts as exact, where all metrics agree to the last bit (policy part `exact`)."""

PATIENCE = 15.0
"""Seconds of wall time the noise floor may take beyond its fewest runs."""

BROKEN = b"\x00) this is no program of any language ((\n"


@dataclass(frozen=True, slots=True)
class Finding:
    """level: "ok", "warning" (the run goes on) or "error" (it does not)."""

    level: str
    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Report:
    """What `check` found on one task and machine. `calibration.sigma` is in each metric's unit."""

    task: str
    seed: Verdict
    calibration: Calibration
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.level == "error")


class Checker:
    """Checks one task of a run through the very executor that will measure its candidates."""

    def __init__(
        self, search: Search, store: Store, ground: Ground, executor: Executor, durable: Callable[[], Awaitable[None]]
    ) -> None:
        self.search, self.store, self.ground = search, store, ground
        self.executor, self.durable = executor, durable
        self.seed = search.state.candidates[search.state.lineage.seeds[ground.task.name]]
        self._probe = itertools.count()

    async def run(self, machine: str) -> Report:
        """Judge the seed, store the noise floor, try a no-op and a broken candidate.

        Raises BaselineError, with the reason, where the seed does not score or a broken candidate does.
        """
        began = time.monotonic()
        verdict = await self._seed()
        if verdict.status is not Status.SCORED:
            await self.durable()
            raise BaselineError(self._no_baseline(verdict))
        evidence = await self._repeat()
        calibration = _calibrate(self.ground.task, self.seed.tree, evidence, machine)
        findings = [
            self._noise(calibration, evidence),
            *await self._no_op(calibration),
            await self._broken(calibration),
            *self._static(evidence),
        ]
        report = Report(self.ground.task.name, verdict, calibration, tuple(findings), time.monotonic() - began)
        if report.errors:
            raise BaselineError("; ".join(f.text for f in report.errors))
        texts = tuple(f"{f.level}: {f.name}: {f.text}" for f in findings)
        self.search.append(
            ev.Calibrated(self.ground.task.name, self.ground.epoch, calibration, self.seed.commit, texts)
        )
        self.search.give_verdict(self.ground, self.seed, self.search.evidence(self.seed.commit))
        await self.durable()
        return replace(report, seed=self.seed.verdict or verdict)

    # ---- the seed ------------------------------------------------------------------------------------------------

    async def _seed(self) -> Verdict:
        """The seed's first verdict, stage by stage, on record like any candidate's."""
        if self.seed.verdict is not None:
            return self.seed.verdict
        jobs = [j for j in self.search.unfinished().jobs if j.trees == (self.seed.tree,)]
        while jobs:
            job = jobs.pop(0)
            jobs += self.search.tell(job, await self._measure(job, recorded=True))
        verdict = self.seed.verdict
        if verdict is None:
            raise BaselineError(
                f"task {self.ground.task.name!r}: the seed got no verdict; see 'evolve show' of its commit"
            )
        return verdict

    def _no_baseline(self, verdict: Verdict) -> str:
        hint = {
            "metric": "no metric could be read: check evaluate.metrics (a pattern must match a line of stdout)",
            "timeout": "raise evaluate.timeout, or make the command quicker",
            "gate": "the gate must pass on the unchanged code",
            "memory": "raise limits.memory",
        }.get(verdict.kind, "run the command by hand in a clean checkout")
        return f"task {self.ground.task.name!r}: the seed does not score ({verdict.stage}: {verdict.reason}); {hint}"

    async def _repeat(self) -> list[Evidence]:
        """Further runs of the seed, enough for a noise floor, few where each is dear."""
        stage = self.ground.stages[-1]
        first = self.search.evidence(self.seed.commit)
        spent = max((s.seconds for e in first for s in e.of(self.seed.tree)), default=0.0)
        runs = min(MOST, max(FEWEST, int(PATIENCE / max(spent, 1e-3))))
        if self.search.policy.exact and runs > AGREE:
            await self._until(AGREE, "calibrate")
            found = [e for e in self.search.evidence(self.seed.commit) if e.stage == stage.name]
            if all(s == 0.0 for s in _calibrate(self.ground.task, self.seed.tree, found, "").sigma.values()):
                return found
            await self._until(runs, "calibrate-on")
        else:
            await self._until(runs, "calibrate")
        return [e for e in self.search.evidence(self.seed.commit) if e.stage == stage.name]

    async def _until(self, runs: int, name: str) -> None:
        """Run the seed until so many runs are on record. Raises BaselineError where one fails."""
        stage = self.ground.stages[-1]
        known = self.search.evidence(self.seed.commit)
        have = sum(len(e.of(self.seed.tree)) for e in known if e.stage == stage.name)
        if runs <= have:
            return
        job = Job(f"{self.seed.number}/{stage.name}/{name}", self.ground.task.name, (self.seed.tree,), stage.name,
                  runs - have, first_block=have)  # fmt: skip
        evidence = await self._measure(job, recorded=True)
        commits = (self.seed.commit,)
        self.search.append(ev.Measured(job.id, job.task, commits, self.ground.epoch, evidence), evidence.artifacts)
        if self.seed.tree in evidence.failures:
            why = evidence.failures[self.seed.tree].message
            raise BaselineError(f"task {self.ground.task.name!r}: the seed scored once, then failed: {why}")

    async def _measure(self, job: Job, *, recorded: bool = False) -> Evidence:
        if recorded:
            if not self.search.limits.fits(job):
                most = self.search.limits.most(self.ground, job.stage, job.blocks, len(job.trees))[1]
                left = self.search.state.ledger.left("gpu_seconds")
                raise UsageError(
                    f"the check of {job.task!r} may take {most:g} GPU seconds and {left:g} of the limit are left: raise --gpu-time, or lower "
                    "the task's timeout"
                )
            self.search.start(job)
        await self.durable()
        return await (await self.executor.start(job)).result()

    # ---- probes --------------------------------------------------------------------------------------------------

    async def _judge_probe(
        self, edits: dict[str, bytes], calibration: Calibration, *, strict: bool = False
    ) -> Verdict:
        tree = self.store.edit(self.seed.tree, edits)
        evidence: list[Evidence] = []
        number = next(self._probe)
        for stage in self.ground.stages:
            name = VERIFY if strict and stage is self.ground.stages[-1] else stage.name
            job = Job(f"probe-{number}/{name}/0", self.ground.task.name, (tree,), name, stage.blocks)
            evidence.append(await self._measure(job))
            if tree in evidence[-1].failures:
                break
        return judge(evidence, tree, self.ground.task, calibration)

    async def _no_op(self, calibration: Calibration) -> list[Finding]:
        """One more line end at the end of a text file must change nothing beyond the noise, and pass the strictest rules:
        those of a re-run, with the impossible variant where the task has one."""
        files = self.search.files_of(self.ground.task, self.seed)
        path = next((p for p, text in sorted(files.items()) if text.endswith(b"\n") and b"\0" not in text), None)
        if path is None:
            return [Finding("warning", "no-op", "no editable text file to try a no-op on")]
        verdict = await self._judge_probe({path: files[path] + b"\n"}, calibration, strict=True)
        if verdict.status is Status.CHEAT:
            text = f"the seed itself, but for an empty line, is taken for a cheat by the strictest rules: {verdict.reason}"
            return [Finding("error", "strict rules", text)]
        seed = self.seed.verdict
        if verdict.fitness is None or seed is None or seed.fitness is None:
            return [Finding("warning", "no-op", f"an empty line more in {path} makes the seed fail: {verdict.reason}")]
        sigma = calibration.sigma.get(self.ground.task.objectives[0].name, 0.0)
        moved = abs(verdict.fitness - seed.fitness)
        if moved > 5 * sigma:
            text = f"an empty line more in {path} moves the fitness by {moved:.4g}, noise is {sigma:.2g}"
            return [Finding("warning", "no-op", text)]
        return [Finding("ok", "no-op", "an empty line more changes nothing beyond the noise")]

    async def _broken(self, calibration: Calibration) -> Finding:
        files = self.search.files_of(self.ground.task, self.seed)
        verdict = await self._judge_probe(dict.fromkeys(files, BROKEN), calibration)
        if verdict.status is Status.SCORED:
            text = (
                f"a broken candidate scores {verdict.fitness:.6g}: the evaluation does not run the editable files "
                f"({', '.join(sorted(files)[:3])}); check task.editable and evaluate"
            )
            return Finding("error", "broken", text)
        return Finding("ok", "broken", f"a broken candidate is refused ({verdict.kind or verdict.status.value})")

    # ---- what can be read off ------------------------------------------------------------------------------------

    def _noise(self, calibration: Calibration, evidence: Sequence[Evidence]) -> Finding:
        metric = self.ground.task.objectives[0]
        values = [s.metrics[metric.name] for e in evidence for s in e.of(self.seed.tree)]
        sigma = calibration.sigma.get(metric.name, 0.0)
        if sigma == 0.0:
            return Finding("ok", "noise", f"{metric.name} repeats exactly over {len(values)} runs of the seed")
        share = sigma / abs(st.mean(values)) if st.mean(values) else math.inf
        text = f"{metric.name} = {st.mean(values):.6g} +- {sigma:.2g} ({share:.2%}) over {len(values)} runs of the seed"
        return Finding("warning" if share > 0.1 else "ok", "noise", text)

    def _static(self, evidence: Sequence[Evidence]) -> list[Finding]:
        """What a candidate can see or reach by the task's own layout."""
        findings = []
        task = self.ground.task
        if task.self_reported:
            text = "metrics come from the candidate's own process: self-reported; an evaluate.py outside it is safer"
            findings.append(Finding("warning", "self-reported", text))
        if task.evaluate.script and self.store.file(self.seed.tree, task.evaluate.script) is not None:
            text = f"the candidate can read its grader, {task.evaluate.script}; move answers out of the repository"
            findings.append(Finding("warning", "grader in view", text))
        label = next((e.sandbox for e in evidence if e.sandbox), "")
        if label in ("", "UNPROTECTED", "process", "separate-uid"):
            text = f"the sandbox here is {label or 'none'!r}: a candidate may write outside its folder; see 'evolve doctor'"
            findings.append(Finding("warning", "sandbox", text))
        return findings


def _calibrate(task: Task, tree: str, evidence: Sequence[Evidence], machine: str) -> Calibration:
    samples = [s for e in evidence for s in e.of(tree)]
    sigma = {}
    for metric in task.evaluate.metrics:
        values = [s.metrics[metric.name] for s in samples if metric.name in s.metrics]
        if values:
            sigma[metric.name] = math.sqrt(st.variance(values))
    return Calibration(sigma, dof=max(len(samples) - 1, 0), machine=machine)

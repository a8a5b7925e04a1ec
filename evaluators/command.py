"""The "command" evaluator: run a command in the candidate's tree, read its metrics off stdout or out of a JSON file.

The numbers come out of the candidate's own mouth, so its evidence is marked self-reported.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

from evolve.evaluators.bench import Bench, checked, logs, order, said_by
from evolve.evaluators.channel import Refused, strict_json
from evolve.evaluators.evaluator import Job, Site, Stage
from evolve.evaluators.sandbox import Outcome
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Sample
from evolve.tasks.verdict import STRICT, VERIFY

VERSION = "command/1"

LONGEST_LINE = 10_000
"""Characters of a line that a pattern is tried on: the candidate chose the text, and patterns may backtrack."""

FILE_CAP = 1 << 20
"""Bytes of a metrics file."""


class CommandEvaluator:
    """Gates, then the command once a sample. See `evolve.evaluators.evaluator.Evaluator`."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        self._bench: Bench | None = None
        self._passed: set[str] = set()

    @property
    def bench(self) -> Bench:
        if self._bench is None:
            self._bench = Bench(self.site)
        return self._bench

    def digest(self) -> str:
        facts = {"version": VERSION, "settings": asdict(self.task.evaluate)["settings"]}
        return hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode()).hexdigest()

    def stages(self) -> Sequence[Stage]:
        evaluate = self.task.evaluate
        return (Stage("run", evaluate.repeats.screen, evaluate.timeout, evaluate.gpus),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        began = time.monotonic()
        samples: list[Sample] = []
        failures: dict[str, Failure] = {}
        artifacts: list[Artifact] = []
        checks: list[Check] = []
        cpu = 0.0
        for tree in job.trees:
            if tree not in self._passed or job.stage == VERIFY:
                failure, kept = self.bench.gates(tree)
                if failure:
                    failures[tree] = failure
                    artifacts += kept
                elif job.stage not in STRICT:
                    self._passed = {tree}
        for block in range(job.first_block, job.first_block + job.blocks):
            for tree in order(job.trees, block):
                if tree in failures:
                    continue
                progress(f"block {block}")
                outcome, metrics = self._once(tree)
                cpu += outcome.cost.cpu
                checks += self.bench.checks(tree, said_by(outcome))
                if isinstance(metrics, Failure):
                    failures[tree] = metrics
                    artifacts += logs(outcome)
                else:
                    samples.append(Sample(tree, metrics, block, outcome.cost.wall))
                    if not artifacts:
                        artifacts += logs(outcome)
        wall = time.monotonic() - began
        return Evidence(
            job.id, job.trees, self.site.task_digest, self.site.evaluator, self.site.machine, job.stage,
            samples=tuple(samples), failures=failures, checks=tuple(checks), cost=Cost(wall, cpu, wall * self.task.evaluate.gpus),
            sandbox=self.bench.sandbox.label, self_reported=True, artifacts=tuple(artifacts),
        )  # fmt: skip

    def _once(self, tree: str) -> tuple[Outcome, dict[str, float] | Failure]:
        evaluate = self.task.evaluate
        assert evaluate.command is not None
        keep = evaluate.metrics_file
        line = evaluate.command
        if keep:  # the file leaves the jail on a pipe of our own, after the command, by a program of ours
            outcome = self.bench.sandbox.run(
                self.bench.command(tree, ("/bin/sh", "-c", _carry(line, keep)), frame=FILE_CAP)
            )
        else:
            outcome = self.bench.shell(tree, line)
        if outcome.failure is not None:
            return outcome, outcome.failure
        values: dict[str, object] = {}
        for metric in evaluate.metrics:
            if metric.pattern is not None:
                found = self._search(metric.pattern, outcome.stdout, metric.name)
                if isinstance(found, Failure):
                    return outcome, found
                values[metric.name] = found
        if keep:
            read = _parse(outcome.frame, keep)
            if isinstance(read, Failure):
                return outcome, read
            values = {**read, **values}
        return outcome, checked({m.name: m for m in evaluate.metrics}, values, keep or "the output")

    def _search(self, pattern: str, text: str, name: str) -> float | Failure:
        """The last line the pattern matches; the group as a number."""
        expression = re.compile(pattern)
        last = None
        for line in text.splitlines():
            if found := expression.search(line[:LONGEST_LINE]):
                last = found[1]
        if last is None:
            return Failure(FailureKind.METRIC, f"no line of stdout matches {pattern!r} (metric {name!r})")
        try:
            return float(last.replace(",", ""))
        except ValueError:
            return Failure(FailureKind.METRIC, f"metric {name!r}: {last[:80]!r} is no number")

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()
            self._bench = None


def _carry(line: str, path: str) -> str:
    """The user's command, then its metrics file on the result channel, which the command itself does not inherit."""
    name = shlex.quote(path)
    return f"( {line}\n) 3>&- && if [ -f {name} ] && [ ! -L {name} ]; then head -c {FILE_CAP} {name} >&3; fi"


def _parse(data: bytes | None, name: str) -> dict[str, object] | Failure:
    if not data:
        return Failure(FailureKind.METRIC, f"no regular file {name} was written")
    try:
        value = strict_json(data)
    except Refused as error:
        return Failure(FailureKind.METRIC, f"{name}: {error}")
    if not isinstance(value, dict):
        return Failure(FailureKind.METRIC, f"{name} holds no object")
    return value

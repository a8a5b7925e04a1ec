"""The "kernels" evaluator: a tree's kernel against a problem's reference, as the spine's Evaluator.

Settings (`[evaluate.settings]`): problem (a name of the pack, or of a problem found at `path`), path (a SOL-ExecBench folder,
parquet file, flashinfer-trace folder or KernelBench module of the user's own), device ("auto", "cuda", "cpu"), clock ("real",
"work" on the CPU), workloads, hidden, calls, blocks, entry, compat, only (with --all: which problems, patterns with commas).
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.evaluators.evaluator import Job, Site, Stage
from evolve.evaluators.kernels import gpus, own
from evolve.tasks.errors import TaskError
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Outcome, Sample, bounded
from evolve.tasks.records import to_json
from evolve.tasks.verdict import STRICT, Status

if TYPE_CHECKING:
    from evolve.evaluators.kernels.baseline import Baseline
    from evolve.evaluators.kernels.bay import Bay
    from evolve.evaluators.kernels.definition import Problem
    from evolve.evaluators.kernels.evidence import KernelEvidence
    from evolve.evaluators.kernels.judge import KernelVerdict
    from evolve.tasks.task import Task

VERSION = "kernels/3"

SHORT_CALLS = 200
"""Single calls a side of a workload up to 10 us in the strict stages; their sum is what the referee's clock bounds."""

KINDS = {
    "parse": FailureKind.PARSE,
    "compile": FailureKind.PARSE,
    "flags": FailureKind.GATE,
    "contract": FailureKind.GATE,
    "hardware": FailureKind.GATE,
    "library": FailureKind.GATE,
    "crash": FailureKind.CRASH,
    "timeout": FailureKind.TIMEOUT,
    "memory": FailureKind.MEMORY,
    "timing": FailureKind.METRIC,
}
"""Kernel failure kinds -> the spine's; what is not here is INCORRECT (value, shape, dtype, count, structure, precision)."""

KNOWN = {
    "problem": str,
    "path": str,
    "device": str,
    "clock": str,
    "workloads": int,
    "hidden": int,
    "calls": int,
    "blocks": int,
    "entry": str,
    "compat": bool,
    "only": str,
}


class KernelEvaluator:
    """See `evolve.evaluators.evaluator.Evaluator`. Torch is imported at the first measurement, not before."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        self.settings = _settings(site)
        self.device = self.settings["device"]
        if self.device == "auto":
            if not gpus.cards():
                raise TaskError(gpus.NO_GPU)
            self.device = "cuda"
        self._problem: Problem | None = None
        self._bay: Bay | None = None
        self._workshop: Any = None

    @staticmethod
    def reread(task: Task, evidence: Evidence, kept: Mapping[str, str]) -> Evidence:
        """The evidence judged again from the calls kept beside it; see `evolve.evaluators.reread`."""
        from evolve.evaluators.kernels import pack
        from evolve.evaluators.kernels.again import reread

        settings = task.evaluate.settings
        drawn = not settings.get("path") and pack.get(str(settings.get("problem", ""))).draw is not None
        return reread(evidence, kept, drawn and int(settings.get("hidden", 1)) > 0, _sort)

    @staticmethod
    def members(task: Task) -> list[tuple[str, Mapping[str, str]]]:
        """One task for each problem of the pack that the task's seed has a kernel for, or of the user's own data set at `path`.

        `only` picks among them. Of a data set those are left out of which no workload can run (their blobs are missing).
        Raises TaskError where there is none.
        """
        return own.members(task)

    @staticmethod
    def seed(task: Task) -> Mapping[str, str]:
        """Files a run's seed has beside the task's own: the kernel of a problem of the user's own data set."""
        return own.seed(task)

    # ---- the protocol --------------------------------------------------------------------------------------------

    def digest(self) -> str:
        facts = {
            "version": VERSION,
            "settings": {k: v for k, v in self.settings.items() if k not in ("path", "only")},
            "problem": self.problem.definition.digest(),
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def stages(self) -> Sequence[Stage]:
        return (
            Stage("measure", self.task.evaluate.repeats.screen, self.task.evaluate.timeout, self.task.evaluate.gpus),
        )

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        """Each block measures every tree afresh (new process, new secrets), candidate and champion in ABBA order."""
        from evolve.evaluators.kernels.judge import judge_kernel

        began, cpu = time.monotonic(), time.process_time()
        samples: list[Sample] = []
        checks: list[Check] = []
        failures: dict[str, Failure] = {}
        found: dict[str, Any] = {}
        artifacts: list[Artifact] = []
        commitments, sandbox = [], ""
        for block in range(job.first_block, job.first_block + job.blocks):
            for tree in job.trees if block % 2 == 0 else job.trees[::-1]:
                if tree in failures or any(c.tree == tree for c in checks):
                    continue
                progress(f"{self.problem.name}: block {block}, {tree[:8]}")
                start = time.monotonic()
                evidence = self._one(tree, job.stage in STRICT, progress)
                verdict = judge_kernel(evidence, self._rules(job.stage))
                commitments.append(evidence.commitment)
                sandbox = evidence.sandbox or sandbox
                self._keep(tree, block, evidence, verdict, found, artifacts)
                _sort(tree, block, verdict, time.monotonic() - start, samples, checks, failures)
        gpu = time.monotonic() - began if self.device == "cuda" else 0.0
        return Evidence(
            job.id,
            job.trees,
            self.site.task_digest,
            self.site.evaluator,
            self.site.machine,
            job.stage,
            secret=hashlib.sha256("".join(commitments).encode()).hexdigest() if commitments else "",
            samples=tuple(samples),
            failures=failures,
            checks=tuple(checks),
            sandbox=sandbox,
            facts=found,
            cost=Cost(time.monotonic() - began, time.process_time() - cpu, gpu),
            artifacts=tuple(artifacts),
        )

    def close(self) -> None:
        if self._bay is not None:
            self._bay.close()
            self._bay = None
        if self._workshop is not None:
            self._workshop.close()

    # ---- parts ---------------------------------------------------------------------------------------------------

    @property
    def problem(self) -> Problem:
        if self._problem is None:
            self._problem = own.find(
                self.settings["problem"], self.settings["path"], Path(self.task.root), compat=self.settings["compat"]
            )
        return self._problem

    @property
    def bay(self) -> Bay:
        """Card, jail and referee, shared with this process's other kernel tasks; started when first needed."""
        if self._bay is None:
            from evolve.evaluators.kernels import bay

            self._bay = bay.take(
                self.device,
                self.settings["clock"],
                Path(self.site.scratch) / f"kernels-{os.getpid()}",
                rung=self.site.rung,
                unsafe=self.site.unsafe,
                limits=self.task.limits,
                machine=self.site.machine,
            )
        return self._bay

    def _stored(self, problem: Problem, workloads: int, progress: Callable[[str], None]) -> Mapping[str, Baseline]:
        """The listed workloads' baselines on this card, measured where they are not known; on the CPU none are kept."""
        if self.device != "cuda":
            return {}
        from evolve.evaluators.kernels import calibration, pack

        self.bay.calibrate(pack.get("rmsnorm"), progress)
        listed = [w for w in problem.workloads if not w.needs_blobs][: workloads or None]
        return calibration.baselines(self.bay.referee, problem, listed, self.bay.baselines, progress)

    def _rules(self, stage: str) -> Any:
        from evolve.evaluators.kernels.checks import Rules

        return Rules(hidden=stage in STRICT and self._hidden > 0)

    @property
    def _hidden(self) -> int:
        """Hidden workloads that a strict measurement draws: none where none can be drawn."""
        return self.settings["hidden"] if self.device == "cuda" and self.problem.draw is not None else 0

    def _one(self, tree: str, strict: bool, progress: Callable[[str], None]) -> KernelEvidence:
        from evolve.evaluators.kernels import baseline
        from evolve.evaluators.kernels.plan import Plan
        from evolve.evaluators.kernels.solution import from_files

        chosen = self.settings
        problem = self.problem
        if self.device == "cpu" and problem.tiny:
            problem = replace(problem, workloads=problem.tiny)
        drawn = self._hidden if strict else 0
        stored = self._stored(problem, chosen["workloads"], progress)
        anchor = baseline.anchor(problem, stored)
        plan = Plan(
            workloads=chosen["workloads"],
            hidden=drawn,
            blocks=chosen["blocks"] * (2 if strict else 1),
            calls=chosen["calls"],
            seconds=min(self.task.evaluate.timeout, 60.0),
            load=self.task.evaluate.timeout,
            keep=not strict,
            baseline=anchor,
            champion=strict,
            short=SHORT_CALLS if strict and self.device == "cuda" else 0,
        )
        solution = from_files(self._sources(tree), self.entry)
        evidence: KernelEvidence = self.bay.referee.measure(
            problem, solution, plan, stored, baseline.variant(problem, anchor)
        )
        return evidence

    @property
    def entry(self) -> str:
        return self.settings["entry"] or f"{own.file_of(self.problem.name)}::run"

    def _sources(self, tree: str) -> dict[str, str]:
        """The entry's file and its neighbours that the task lets a candidate edit."""
        if self._workshop is None:
            from evolve.evaluators.materialise import Workshop

            self._workshop = Workshop(
                self.site.archive,
                Path(self.site.scratch) / f"trees-{os.getpid()}",
                base=self.site.base,
                may_edit=self.task.may_edit,
            )
        folder = self._workshop.folder(tree)
        file = self.entry.partition("::")[0]
        sources = {}
        for path in sorted((folder / file).parent.iterdir() if (folder / file).parent.is_dir() else []):
            name = path.relative_to(folder).as_posix()
            if (
                path.is_file()
                and not path.is_symlink()
                and (name == file or self.task.may_edit(name))
                and path.suffix in (".py", ".cu", ".cpp", ".cuh", ".h")
            ):
                sources[name] = path.read_text(encoding="utf-8", errors="replace")
        if file not in sources:
            sources[file] = "raise FileNotFoundError('the entry file is missing')\n"
        return sources

    def _keep(
        self,
        tree: str,
        block: int,
        evidence: KernelEvidence,
        verdict: KernelVerdict,
        found: dict[str, Any],
        artifacts: list[Artifact],
    ) -> None:
        from evolve.evaluators.kernels import feedback

        facts = feedback.facts(evidence, verdict)
        found[f"{tree[:12]}"] = facts
        text = json.dumps(to_json(evidence), separators=(",", ":"))
        artifacts.append(bounded(f"kernel-evidence-{tree[:12]}-{block}.json", text, 256 << 10))
        artifacts.append(bounded(f"feedback-{tree[:12]}-{block}.txt", feedback.sentence(facts), 8 << 10))


def _settings(site: Site) -> dict[str, Any]:
    given = dict(site.task.evaluate.settings)
    for key, value in given.items():
        if key not in KNOWN:
            raise TaskError(
                f"evaluate.settings has no key {key!r} for the kernels evaluator; known: {', '.join(KNOWN)}"
            )
        if not isinstance(value, KNOWN[key]) or (KNOWN[key] is int and isinstance(value, bool)):
            raise TaskError(f"evaluate.settings.{key} must be {KNOWN[key].__name__}, not {value!r}")
    defaults = {
        "problem": "",
        "path": "",
        "device": "auto",
        "clock": "work",
        "workloads": 2,
        "hidden": 1,
        "calls": 8,
        "blocks": 2,
        "entry": "",
        "compat": False,
        "only": "",
    }
    chosen = {**defaults, **given}
    if chosen["device"] not in ("auto", "cuda", "cpu"):
        raise TaskError(f"evaluate.settings.device {chosen['device']!r}; known: auto, cuda, cpu")
    if not chosen["problem"] and not chosen["path"]:
        raise TaskError(
            "evaluate.settings.problem names no problem; such as problem = 'rmsnorm' (docs/kernels.md lists the pack)"
        )
    return chosen


def _sort(
    tree: str,
    block: int,
    verdict: KernelVerdict,
    seconds: float,
    samples: list[Sample],
    checks: list[Check],
    failures: dict[str, Failure],
) -> None:
    """A verdict on one measurement as the spine's evidence."""
    if verdict.status is Status.SCORED:
        assert verdict.score is not None
        us = sum(w.time for w in verdict.workloads) / len(verdict.workloads) * 1e6
        metrics = {"score": verdict.score, "time_us": us, "speedup": verdict.speedup, "headroom": verdict.headroom}
        samples.append(Sample(tree, metrics, block, seconds))
    elif verdict.status is Status.INVALID:
        kind = KINDS.get(verdict.kind, FailureKind.INCORRECT)
        failures[tree] = Failure(kind, f"{verdict.reason}"[:2000])
    else:
        outcome = Outcome.CHEAT if verdict.status is Status.CHEAT else Outcome.AUDIT
        checks.append(Check(verdict.kind or "kernel", outcome, verdict.reason[:1000], tree))

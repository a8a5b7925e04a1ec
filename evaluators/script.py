"""The "script" evaluator: the task's own `evaluate.py` judges, outside the candidate's process.

    def evaluate(trial):
        circles = trial.call("program.py:pack")          # runs in the sandbox; JSON in, JSON out
        return {"sum_radii": checked_sum(circles)}       # what was measured, by this file

    def impossible(trial):                                # optional: a variant that nobody can solve
        return trial.call(...) == what_was_planted        # True: the answer came from the grader, not from the problem

The file runs in the slot (the referee); the candidate never sees it run. Hidden instances come from `trial.random`,
whose seed is drawn from the operating system for each block and is the same for the trees alternated within it.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.util
import json
import random
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from evolve.evaluators.bench import Bench, checked, logs, order, said_by
from evolve.evaluators.channel import Refused, unpack
from evolve.evaluators.evaluator import Job, Site, Stage
from evolve.evaluators.integrity import Seen, examine
from evolve.evaluators.referee.secret import Secrets
from evolve.evaluators.sandbox import Outcome
from evolve.tasks.errors import EvolveError, GraderError, InfrastructureError, TaskError
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Failure, FailureKind, Sample, bounded
from evolve.tasks.evidence import Outcome as CheckOutcome
from evolve.tasks.verdict import STRICT, VERIFY

VERSION = "script/1"

FRAME_CAP = 4 << 20
"""Bytes of one value a candidate may return."""


class Incorrect(Exception):
    """Raised by `evaluate.py`: the candidate's answer is wrong. The text reaches the next mutation."""


class _Failed(Exception):
    """The candidate failed in the sandbox; carries the evidence of it."""

    def __init__(self, failure: Failure, artifacts: tuple[Artifact, ...] = ()) -> None:
        super().__init__(failure.message)
        self.failure, self.artifacts = failure, artifacts


class _Raised(Exception):
    """`evaluate.py` raised, or returned what it may not: a sentence that says so."""


SEED_GOOD_FOR = 20
"""Exceptions of `evaluate.py` that are put down to candidates before the seed is looked at again."""

_MACHINE = (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO, errno.EROFS, errno.EDQUOT)


class Trial:
    """One tree, one block: what `evaluate(trial)` works with.

    block: number of the block. random: a random stream nobody outside the referee knows. tree: hex id of the tree.
    """

    Incorrect = Incorrect

    def __init__(self, bench: Bench, tree: str, block: int, seed: bytes) -> None:
        self._bench, self.tree, self.block = bench, tree, block
        self.secret = seed
        self.random = random.Random(seed)
        self.seconds = 0.0
        self.cpu = 0.0
        self.lines: list[str] = []
        self.said: list[str] = []

    def call(self, target: str, *arguments: Any, seconds: float | None = None) -> Any:
        """Call `"program.py:function"` of the candidate's in the sandbox with JSON arguments; its JSON value.

        seconds: wall limit of this call (default: the task's timeout). A crash, a limit or a value that is no plain,
        finite JSON ends the trial as the candidate's failure. The value is a claim: check it.
        """
        command = self._bench.command(self.tree, (), frame=FRAME_CAP, **self._wall(seconds))
        outcome = self._count(self._bench.sandbox.call(command, target, arguments))
        if outcome.failure is not None:
            raise _Failed(outcome.failure, logs(outcome))
        try:
            header, body = unpack(outcome.frame)
        except Refused as error:
            raise _Failed(Failure(FailureKind.OUTPUT, f"{target}: {error}"), logs(outcome)) from error
        if body or not isinstance(header, dict) or set(header) != {"value"}:
            raise _Failed(Failure(FailureKind.OUTPUT, f"{target}: the result is not one value"), logs(outcome))
        return header["value"]

    def run(self, argv: Sequence[str], stdin: bytes = b"", seconds: float | None = None) -> Outcome:
        """Run a command in the candidate's tree in the sandbox. Does not raise for a failing one: see `failure`."""
        command = self._bench.command(self.tree, tuple(argv), stdin=stdin, **self._wall(seconds))
        return self._count(self._bench.sandbox.run(command))

    def fail(self, outcome: Outcome) -> None:
        """End the trial with an outcome's failure as the candidate's; does nothing where it has none."""
        if outcome.failure is not None:
            raise _Failed(outcome.failure, logs(outcome))

    def read(self, path: str) -> bytes:
        """A file of the candidate's tree as committed. Ends the trial where there is none."""
        data = self._bench.workshop.read(self.tree, path)
        if data is None:
            raise _Failed(Failure(FailureKind.OUTPUT, f"the candidate has no file {path}"))
        return data

    def log(self, text: str) -> None:
        """A line for a person, kept beside the evidence."""
        self.lines.append(text)

    def _wall(self, seconds: float | None) -> dict[str, float]:
        return {} if seconds is None else {"wall": seconds}

    def _count(self, outcome: Outcome) -> Outcome:
        self.seconds += outcome.cost.wall
        self.cpu += outcome.cost.cpu
        self.said.append(said_by(outcome))
        return outcome


class ScriptEvaluator:
    """Gates, then `evaluate(trial)` once a block and tree. See `evolve.evaluators.evaluator.Evaluator`."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        assert self.task.evaluate.script is not None
        self.script = Path(self.task.root) / self.task.evaluate.script
        if not self.script.is_file():
            raise TaskError(f"evaluate.script {self.task.evaluate.script!r}: there is no {self.script}")
        self._secrets = Secrets(Path(site.scratch) / "secrets")
        self._module: ModuleType | None = None
        self._bench: Bench | None = None
        self._passed: set[str] = set()
        self._faults = 0

    @property
    def bench(self) -> Bench:
        if self._bench is None:
            self._bench = Bench(self.site)
        return self._bench

    def digest(self) -> str:
        facts = {"version": VERSION, "settings": dict(self.task.evaluate.settings)}
        text = json.dumps(facts, sort_keys=True, default=str).encode()
        return hashlib.sha256(text + self.script.read_bytes()).hexdigest()

    def stages(self) -> Sequence[Stage]:
        evaluate = self.task.evaluate
        return (Stage("run", evaluate.repeats.screen, evaluate.timeout, evaluate.gpus),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        began = time.monotonic()
        evaluate = self._load()
        secret = self._secrets.draw(job.id)
        samples: list[Sample] = []
        failures: dict[str, Failure] = {}
        artifacts: list[Artifact] = []
        checks: list[Check] = []
        cpu = 0.0
        for tree in job.trees:
            if self.task.evaluate.gates and (tree not in self._passed or job.stage == VERIFY):
                failure, kept = self.bench.gates(tree)
                if failure:
                    failures[tree] = failure
                    artifacts += kept
                elif job.stage not in STRICT:
                    self._passed = {tree}
        for block in range(job.first_block, job.first_block + job.blocks):
            seed = secret.of_block(block)
            for tree in order(job.trees, block):
                if tree in failures:
                    continue
                trial = Trial(self.bench, tree, block, seed)
                result = self._once(evaluate, trial, artifacts)
                cpu += trial.cpu
                checks += self.bench.checks(tree, "\n".join(trial.said))
                if isinstance(result, Failure):
                    failures[tree] = result
                else:
                    samples.append(Sample(tree, result, block, trial.seconds))
                if trial.lines:
                    artifacts.append(bounded(f"log-{block}-{tree[:8]}", "\n".join(trial.lines), 4096))
        if job.stage in STRICT and job.trees[0] not in failures:
            checks += self._impossible(job.trees[0], secret.of_block(-1))
        wall = time.monotonic() - began
        return Evidence(
            job.id, job.trees, self.site.task_digest, self.site.evaluator, self.site.machine, job.stage,
            secret=secret.commitment, samples=tuple(samples), failures=failures, checks=tuple(checks),
            cost=Cost(wall, cpu, wall * self.task.evaluate.gpus), sandbox=self.bench.sandbox.label,
            artifacts=tuple(artifacts),
        )  # fmt: skip

    def _once(
        self, evaluate: Callable[[Trial], Mapping[str, Any]], trial: Trial, artifacts: list[Artifact]
    ) -> dict[str, float] | Failure:
        try:
            values = self._ask(evaluate, trial)
        except Incorrect as error:
            return Failure(FailureKind.INCORRECT, str(error)[:500] or "the answer is wrong")
        except _Failed as error:
            artifacts.extend(error.artifacts)
            return error.failure
        except _Raised as error:
            if trial.tree == self.site.base:
                raise GraderError(f"{error} on the unchanged seed: mend it, then start again") from error
            self._still_judges_the_seed(evaluate, trial, error)
            return Failure(FailureKind.OUTPUT, f"{error} on what this candidate gave it")
        return checked({m.name: m for m in self.task.evaluate.metrics}, values, self.script.name)

    def _ask(self, evaluate: Callable[[Trial], Mapping[str, Any]], trial: Trial) -> Mapping[str, Any]:
        """What `evaluate` returns. Raises _Raised where it raises or returns no mapping; a machine that is out of
        memory, disk or descriptors is ours (InfrastructureError)."""
        try:
            values = evaluate(trial)
        except (Incorrect, _Failed, EvolveError, MemoryError):
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _MACHINE:
                raise InfrastructureError(f"{self.script.name}: {error}") from error
            last = traceback.format_exception_only(error)[-1].strip()
            frames = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(self.script)]
            where = f" (line {frames[-1]})" if frames else ""
            raise _Raised(f"{self.script.name} raised {last[:300]}{where}") from error
        if not isinstance(values, Mapping):
            raise _Raised(f"{self.script.name} returned {type(values).__name__}, no mapping of metrics,")
        return values

    def _impossible(self, tree: str, seed: bytes) -> tuple[Check, ...]:
        """What a variant without a solution shows, where the task has one: only findings. A candidate that fails on it,
        or is found wrong, has not solved it; a variant that cannot be judged is UNABLE."""
        variant = getattr(self._module, "impossible", None)
        if not callable(variant):
            return ()
        solved: bool | None
        try:
            answer = variant(Trial(self.bench, tree, -1, seed))
            solved = answer if isinstance(answer, bool) else None
        except (Incorrect, _Failed):
            solved = False
        except (EvolveError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - whatever kept the variant from being judged, the candidate has not passed it
            solved = None
        found = examine(Seen(tree, impossible=solved), ("impossible variant",))
        return tuple(c for c in found if c.outcome is not CheckOutcome.PASSED)

    def _still_judges_the_seed(
        self, evaluate: Callable[[Trial], Mapping[str, Any]], trial: Trial, raised: _Raised
    ) -> None:
        """The candidate is to blame only where the seed, on the same hidden input, is judged as ever. Looked at again
        after SEED_GOOD_FOR faults. Raises GraderError where the seed is not."""
        self._faults += 1
        if self._faults % SEED_GOOD_FOR != 1:
            return
        seed = Trial(self.bench, self.site.base, trial.block, trial.secret)
        try:
            self._ask(evaluate, seed)
        except (Incorrect, _Failed, _Raised) as error:
            self._faults = 0
            text = f"{raised}, and the unchanged seed is not judged any more either ({error}): mend it, then start again"
            raise GraderError(text) from error

    def _load(self) -> Callable[[Trial], Mapping[str, Any]]:
        if self._module is None:
            name = f"evolve_grader_{hashlib.sha256(str(self.script).encode()).hexdigest()[:8]}"
            spec = importlib.util.spec_from_file_location(name, self.script)
            assert spec is not None and spec.loader is not None
            module = importlib.util.module_from_spec(spec)
            sys.path.insert(0, str(self.script.parent))
            try:
                spec.loader.exec_module(module)
            except Exception as error:
                raise TaskError(f"{self.script} cannot be loaded: {type(error).__name__}: {error}") from error
            finally:
                sys.path.pop(0)
            self._module = module
        evaluate = getattr(self._module, "evaluate", None)
        if not callable(evaluate):
            raise TaskError(f"{self.script} defines no function evaluate(trial)")
        found: Callable[[Trial], Mapping[str, Any]] = evaluate
        return found

    def close(self) -> None:
        if self._bench is not None:
            self._bench.close()
            self._bench = None

"""What an edit must pass before money is spent on it, cheap to dear: does it parse, is it known, does it load, does it
behave as something known does.

A gate says no only where it is sure: a file that did not parse or load in the parent either is let through, and so is
whatever takes longer than the gate has. What it says no to can be put right by the mutator in one turn; the search
refuses a known program by itself, and judges everything else as if there were no gates.
"""

from __future__ import annotations

import ast
import asyncio
import hashlib
import json
import tempfile
import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pygit2

from evolve.errors import SandboxError
from evolve.evaluators.channel import Refused, unpack
from evolve.evaluators.sandbox import Command, Sandbox
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.population.candidate import Candidate
from evolve.tasks.evidence import FailureKind
from evolve.tasks.task import Task
from evolve.tasks.verdict import told

SECONDS = 2.0
"""Wall time of a smoke test, of a probe."""

MARGIN = 0.25
"""A parent that needed more than this share of SECONDS to load is not asked about: its child might need more."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an edit is not worth its evaluation: a word for the record, and words for the mutator."""

    reason: str
    for_model: str


# ---- parse -----------------------------------------------------------------------------------------------------------


def unparsable(before: Mapping[str, bytes], changed: Mapping[str, bytes | None]) -> Problem | None:
    """A changed Python file that does not parse, though it did before or is new."""
    for path, content in changed.items():
        if content is None or not path.endswith(".py") or (error := syntax_error(content)) is None:
            continue
        if path in before and syntax_error(before[path]) is not None:
            continue
        return Problem("parse", f"With the edit, {path} is no valid Python: {_located(error, content)}")
    return None


def syntax_error(content: bytes) -> Exception | None:
    try:
        ast.parse(content)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return error
    return None


def _located(error: Exception, content: bytes) -> str:
    if not isinstance(error, SyntaxError) or not error.lineno:
        return str(error)
    lines = content.decode("utf-8", "replace").split("\n")
    around = "\n".join(lines[max(error.lineno - 3, 0) : error.lineno + 2])
    return f"{error.msg} at line {error.lineno}:\n~~~\n{around}\n~~~"


# ---- known -----------------------------------------------------------------------------------------------------------


def duplicate(earlier: Candidate | None, how: str = "known already, but for layout and comments") -> Problem | None:
    """What to say of an edit that makes a program the archive has already, or one that is as good as it."""
    if earlier is None:
        return None
    verdict = earlier.verdict
    if verdict is None:
        came = "it is being judged"
    elif verdict.fitness is None:
        came = f"it was {verdict.status.value}: {told(verdict)[:200]}"
    else:
        came = "it scored " + ", ".join(f"{name} = {e.mean:.6g}" for name, e in verdict.metrics.items())
    return Problem(
        "duplicate",
        f"This program is {how}: candidate #{earlier.number} "
        f"('{earlier.idea[:120]}'); {came}. Make a different change.",
    )


# ---- load ------------------------------------------------------------------------------------------------------------

_LOADER = """
import importlib.util, json, os, sys, time
def load(paths):
    sys.path.insert(0, os.getcwd())
    began = time.monotonic()
    for path in paths:
        name = path[:-3].replace("/", ".")
        spec = importlib.util.spec_from_file_location(name, path)
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException as error:
            where = error.__traceback__
            while where.tb_next is not None:
                where = where.tb_next
            return {"path": path, "line": where.tb_lineno, "error": f"{type(error).__name__}: {error}"[:500]}
    return {"seconds": time.monotonic() - began}
"""
_LOADER_FILE = "_evolve_gate.py"


def _project() -> tuple[str, ...]:
    """The repository we work in: no candidate may see it, wherever it lies."""
    found = pygit2.discover_repository(str(Path.cwd()))
    return (str(Path(found).parent),) if found else ()


@dataclass(slots=True, weakref_slot=True)
class Smoke:
    """Loads changed Python modules in a sandbox. sandbox: of the caller, who closes it. seconds: for one load."""

    sandbox: Sandbox
    seconds: float = SECONDS
    _parents: dict[str, bool] = field(default_factory=dict)
    _one: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def own(cls) -> Smoke | None:
        """With a sandbox of its own, which ends with it; None where no rung holds on this machine."""
        folder = tempfile.TemporaryDirectory(prefix="evolve-smoke-")
        try:
            sandbox = open_sandbox(Path(folder.name), hide=_project())
        except SandboxError:
            folder.cleanup()
            return None
        made = cls(sandbox)
        weakref.finalize(made, _end, sandbox, folder)
        return made

    def check(self, before: Mapping[str, bytes], changed: Mapping[str, bytes | None], task: Task) -> Problem | None:
        """A changed module that fails to load, where the parent's loads well within the time. One at a time.

        before: all files of the parent's tree that loading may need. Raises SandboxError.
        """
        with self._one:
            return self._check(before, changed, task)

    def _check(self, before: Mapping[str, bytes], changed: Mapping[str, bytes | None], task: Task) -> Problem | None:
        paths = [path for path, content in changed.items() if path.endswith(".py") and content is not None]
        known = [path for path in paths if path in before]
        if not known or not self._parent_loads(before, known, task):
            return None
        after = {p: c for p, c in (dict(before) | dict(changed)).items() if c is not None}
        found = self._load(after, known, task)
        if found is None or "error" not in found:
            return None
        return Problem(
            "load", f"With the edit, {found['path']} fails as it is loaded, at line {found['line']}: {found['error']}"
        )

    def _parent_loads(self, before: Mapping[str, bytes], paths: Sequence[str], task: Task) -> bool:
        digest = hashlib.sha256()
        for path in sorted(before):
            digest.update(path.encode() + b"\0" + before[path] + b"\0")
        key = digest.hexdigest() + "/".join(paths)
        if key not in self._parents:
            found = self._load(before, paths, task)
            quick = found is not None and "error" not in found and float(found["seconds"]) < MARGIN * self.seconds
            while len(self._parents) >= 64:
                self._parents.pop(next(iter(self._parents)))
            self._parents[key] = quick
        return self._parents[key]

    def _load(self, files: Mapping[str, bytes], paths: Sequence[str], task: Task) -> dict[str, Any] | None:
        """{"seconds"} of a load, or {"path", "line", "error"}; None where it came to no end of its own."""
        value = _call(
            self.sandbox, files, task, self.seconds, f"{_LOADER_FILE}:load", [list(paths)], {_LOADER_FILE: _LOADER}
        )
        return (
            value
            if isinstance(value, dict) and ({"seconds"} <= value.keys() or {"path", "line", "error"} <= value.keys())
            else None
        )


def _end(sandbox: Sandbox, folder: tempfile.TemporaryDirectory[str]) -> None:
    sandbox.close()
    folder.cleanup()


def _call(
    sandbox: Sandbox, files: Mapping[str, bytes], task: Task, seconds: float, target: str, arguments: Sequence[Any],
    beside: Mapping[str, str],
) -> Any:  # fmt: skip
    """The value that a function of the files returns in the sandbox; None where it returned none in time."""
    with tempfile.TemporaryDirectory(prefix="evolve-gate-") as folder:
        for path, content in files.items():
            place = Path(folder) / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)
        for path, text in beside.items():
            (Path(folder) / path).write_text(text, encoding="utf-8")
        command = Command(
            (), Path(folder), wall=seconds, limits=task.limits, frame=1 << 20, env=dict(task.environment.env)
        )
        outcome = sandbox.call(command, target, tuple(arguments))
    if outcome.failure is not None and outcome.failure.kind is not FailureKind.CRASH:
        return None
    try:
        header, _ = unpack(outcome.frame)
    except Refused:
        return None
    return header.get("value") if isinstance(header, dict) else None


# ---- behave ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probes:
    """Cheap inputs on which programs of a task may be told apart: `target` is called with each list of arguments.

    From the task file: `[evaluate.settings] probes = { target = "program.py:solve", inputs = [[1], [2]] }`.
    """

    target: str
    inputs: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, task: Task) -> Probes | None:
        given = task.evaluate.settings.get("probes")
        if not isinstance(given, Mapping) or not isinstance(given.get("target"), str):
            return None
        inputs = given.get("inputs", ())
        return (
            cls(given["target"], tuple(tuple(item) if isinstance(item, list) else (item,) for item in inputs)) or None
        )

    def fingerprint(self, sandbox: Sandbox, files: Mapping[str, bytes], task: Task, seconds: float = SECONDS) -> str:
        """Hex digest of what a program answers to all probes; empty where it fails one or is too slow.

        Two programs of one fingerprint gave the same answers to the last digit; whether that makes them the same is
        for the task's probes to see to. Raises SandboxError.
        """
        digest = hashlib.sha256()
        for arguments in self.inputs:
            value = _call(sandbox, files, task, seconds, self.target, arguments, {})
            if value is None:
                return ""
            digest.update(json.dumps(value, sort_keys=True).encode() + b"\0")
        return digest.hexdigest() if self.inputs else ""


AUDIT = 8
"""Every so many briefs a program is evaluated though its fingerprint is known: probes that take different programs for one are
found out by their verdicts (population/folds/lineage.py), and no longer asked."""


def audited(brief: int) -> bool:
    """Whether the answer to that brief is evaluated whatever its fingerprint."""
    return brief % AUDIT == 0


async def smoke(
    gate: Smoke, before: Mapping[str, bytes], changed: Mapping[str, bytes | None], task: Task
) -> Problem | None:
    """`Smoke.check` without holding up the loop."""
    return await asyncio.to_thread(gate.check, before, changed, task)

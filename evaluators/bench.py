"""What the built-in evaluators share: the sandbox of a slot, trees in folders, gates, checked metrics."""

from __future__ import annotations

import fcntl
import math
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolve.evaluators.evaluator import Job, Site
from evolve.evaluators.integrity import Seen, examine
from evolve.evaluators.materialise import Workshop
from evolve.evaluators.sandbox import Command, Mount, Outcome
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox
from evolve.evaluators.setup import Prepared, prepare
from evolve.tasks.errors import TaskError
from evolve.tasks.evidence import Artifact, Check, Failure, FailureKind, bounded
from evolve.tasks.evidence import Outcome as CheckOutcome

LOG_CAP = 8 << 10
"""Bytes of a failing run's output kept beside its evidence."""

LARGEST = 1e300
"""A metric beyond this is absurd and refused."""


CANARY = "EVOLVE_REFEREE_KEY"
"""Environment variable of a slot that holds a planted fake secret, which also lies in a file of the slot's own: neither
can come out of a candidate that stayed in its place."""


def said_by(outcome: Outcome) -> str:
    """All that a candidate let out in one run, as text, bounded."""
    frame = (outcome.frame or b"")[: 1 << 16].decode("latin-1")
    return "\n".join((outcome.stdout[: 1 << 16], outcome.stderr[: 1 << 16], frame))


class Bench:
    """One task's trees, sandbox and gates in one slot."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        self._own = Path(site.scratch).absolute() / f"slot-{os.getpid()}-{id(self):x}"
        self._lock = _claim(self._own)
        self.canary = os.environ.get(CANARY) or secrets.token_hex(16)
        (self._own / "answers.json").touch(mode=0o600)
        (self._own / "answers.json").write_text(f'{{"key": "{self.canary}"}}')
        self.workshop = Workshop(site.archive, self._own / "trees", base=site.base, may_edit=site.task.may_edit)
        self._sandbox: LocalSandbox | None = None
        self._prepared: Prepared | None = None

    @property
    def sandbox(self) -> LocalSandbox:
        """This slot's sandbox, opened when first needed, after the environment's setup."""
        if self._sandbox is None:
            self._prepared = prepare(self.site)
            environment = self.task.environment
            preload = self.task.evaluate.settings.get("preload", ())
            show = (*(self._prepared.interpreters if self._prepared else ()), *self._tools())
            self._sandbox = open_sandbox(
                self._own / "sandbox", unsafe=self.site.unsafe, gpus=self.task.evaluate.gpus, rung=self.site.rung,
                preload=tuple(preload), network=bool(environment.network), show=show, hide=private_folders(self.site),
            )  # fmt: skip
        return self._sandbox

    def _tools(self) -> tuple[str, ...]:
        """Programs that the task's own commands name and that lie in a person's folders (~/.local/bin/uv)."""
        lines = (*self.task.evaluate.gates, self.task.evaluate.command or "")
        words = [words[0] for line in lines if (words := line.split()) and "/" not in words[0]]
        found = [path for word in dict.fromkeys(words) if (path := shutil.which(word))]
        return tuple(dict.fromkeys(p for path in found for p in (path, os.path.realpath(path))))

    def command(self, tree: str, argv: tuple[str, ...], **more: Any) -> Command:
        """A command in a candidate's tree under the task's limits, mounts and environment."""
        sandbox = self.sandbox
        tools = dict.fromkeys(os.path.dirname(path) for path in self._tools())
        path = ":".join(dict.fromkeys([os.path.dirname(sys.executable), "/usr/local/bin", "/usr/bin", "/bin", *tools]))
        lower = self._prepared.place if self._prepared else None
        return Command(
            argv,
            self.workshop.folder(tree),
            env={"PATH": path, **self.task.environment.env},
            wall=more.pop("wall", self.task.evaluate.timeout),
            limits=self.task.limits,
            mounts=tuple(mount for text in self.task.environment.data for mount in mounts(text, sandbox.private_home)),
            network=self.task.environment.network,
            lower=lower,
            at=str(lower) if lower else "",
            **more,
        )

    def shell(self, tree: str, line: str, **more: Any) -> Outcome:
        return self.sandbox.run(self.command(tree, ("/bin/sh", "-c", line), **more))

    def gates(self, tree: str) -> tuple[Failure | None, tuple[Artifact, ...]]:
        """The first gate that says no, with its log; None where all pass."""
        for line in self.task.evaluate.gates:
            outcome = self.shell(tree, line)
            if outcome.failure is not None:
                kind = outcome.failure.kind if outcome.failure.kind is FailureKind.TIMEOUT else FailureKind.GATE
                return Failure(kind, f"gate {line!r}: {outcome.failure.message}"), logs(outcome)
        return None, ()

    def checks(self, tree: str, said: str) -> tuple[Check, ...]:
        """What integrity checks find in what a candidate said: only findings, since most candidates pass."""
        seen = Seen(tree, output=said, canaries={"answers": self.canary}, label=self.sandbox.label,
                    wanted_label=LABELS.get(self.site.rung, self.sandbox.label))  # fmt: skip
        return tuple(c for c in examine(seen, ("canary", "sandbox")) if c.outcome is not CheckOutcome.PASSED)

    def close(self) -> None:
        if self._sandbox is not None:
            self._sandbox.close()
        self.workshop.close()
        shutil.rmtree(self._own, ignore_errors=True)
        os.close(self._lock)


def private_folders(site: Site) -> tuple[str, ...]:
    """What no candidate may see, wherever it lies: the project, its archive, the task's own files, our scratch."""
    archive = Path(site.archive).absolute()
    project = [str(folder.parent) for folder in archive.parents if folder.name == ".git"]
    return (*project, str(archive), str(site.task.root), str(site.scratch))


def _claim(own: Path) -> int:
    """A slot's folder, locked while it lives; folders of slots that died are removed."""
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    mine = os.open(own / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(mine, fcntl.LOCK_EX)
    for other in own.parent.glob("slot-*"):
        if other == own:
            continue
        try:
            theirs = os.open(other / "lock", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            continue
        try:
            fcntl.flock(theirs, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(other, ignore_errors=True)
        except BlockingIOError:
            continue
        finally:
            os.close(theirs)
    return mine


def mounts(text: str, home: str = "") -> tuple[Mount, ...]:
    """Read-only mounts of an `environment.data` entry: at its own path and, for `~/...`, below the candidate's HOME.

    Raises TaskError where there is no such path.
    """
    path = text.removesuffix(":ro")
    real = os.path.abspath(os.path.expanduser(path))
    if not os.path.exists(real):
        raise TaskError(f"environment.data {text!r}: there is no {real} on this machine")
    inside = (Mount(real, f"{home}/{path[2:]}"),) if path.startswith("~/") and home else ()
    return (Mount(real), *inside)


def logs(outcome: Outcome, name: str = "") -> tuple[Artifact, ...]:
    """stdout and stderr of a run as bounded artifacts; empty ones left out."""
    prefix = f"{name}-" if name else ""
    pairs = ((f"{prefix}stdout.txt", outcome.stdout), (f"{prefix}stderr.txt", outcome.stderr))
    return tuple(bounded(which, text, LOG_CAP) for which, text in pairs if text)


def checked(task_metrics: Mapping[str, Any], values: Mapping[str, Any], where: str) -> dict[str, float] | Failure:
    """The task's metrics out of what was reported: present, numbers, finite, not absurd; others are left out."""
    out: dict[str, float] = {}
    for name in task_metrics:
        value = values.get(name)
        if value is None:
            return Failure(FailureKind.METRIC, f"metric {name!r} is missing from {where}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            return Failure(FailureKind.METRIC, f"metric {name!r} is {str(value)[:80]!r}, no number")
        try:
            number = float(value)
        except OverflowError:
            return Failure(FailureKind.METRIC, f"metric {name!r} is too large")
        if not math.isfinite(number) or abs(number) > LARGEST:
            return Failure(FailureKind.METRIC, f"metric {name!r} is {number}")
        out[name] = number
    return out


def order(trees: tuple[str, ...], block: int) -> tuple[str, ...]:
    """ABBA: every other block runs the other way round, so that drift favours nobody."""
    return trees if block % 2 == 0 else trees[::-1]


def split(line: str) -> tuple[str, ...]:
    """A command line as words. Raises TaskError on unbalanced quotes."""
    try:
        return tuple(shlex.split(line))
    except ValueError as error:
        raise TaskError(f"command {line!r}: {error}") from error


__all__ = ["Bench", "Job", "checked", "logs", "mounts", "order", "split"]

"""What the built-in evaluators share: the sandbox of a slot, trees in folders, gates, the environment's setup."""

from __future__ import annotations

import fcntl
import hashlib
import math
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolve.evaluators.evaluator import Job, Site
from evolve.evaluators.materialise import Workshop
from evolve.evaluators.sandbox import Command, Mount, Outcome
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.tasks.errors import BaselineError, TaskError
from evolve.tasks.evidence import Artifact, Failure, FailureKind, bounded

LOG_CAP = 8 << 10
"""Bytes of a failing run's output kept beside its evidence."""

SETUP_SECONDS = 1800.0

LARGEST = 1e300
"""A metric beyond this is absurd and refused."""


class Bench:
    """One task's trees, sandbox and gates in one slot."""

    def __init__(self, site: Site) -> None:
        self.site, self.task = site, site.task
        self._own = Path(site.scratch) / f"slot-{os.getpid()}"
        self.workshop = Workshop(site.archive, self._own / "trees")
        self.sandbox = open_sandbox(self._own / "sandbox", unsafe=site.unsafe, gpus=site.task.evaluate.gpus, rung=site.rung)
        self._ready = False

    def folder(self, tree: str) -> Path:
        self._set_up()
        return self.workshop.folder(tree)

    def command(self, tree: str, argv: tuple[str, ...], **more: Any) -> Command:
        """A command in a candidate's tree under the task's limits, mounts and environment."""
        return Command(
            argv,
            self.folder(tree),
            env=dict(self.task.environment.env),
            wall=more.pop("wall", self.task.evaluate.timeout),
            limits=self.task.limits,
            mounts=tuple(_mount(text) for text in self.task.environment.data),
            network=self.task.environment.network,
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

    def _set_up(self) -> None:
        """Run `[environment] setup` once for this base, whoever comes first; the result lies under every tree."""
        if self._ready:
            return
        self._ready = True
        setup = self.task.environment.setup
        if not setup:
            return
        name = hashlib.sha256(f"{self.site.base}/{setup}".encode()).hexdigest()[:16]
        place = Path(self.site.scratch) / f"setup-{name}"
        with open(place.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not place.is_dir():
                self._build_environment(setup, place)
        self.workshop.lower = place

    def _build_environment(self, setup: str, place: Path) -> None:
        """The user's own command on the user's own base: it runs with the user's rights and network."""
        import shutil
        import subprocess

        source = Workshop(self.site.archive, self._own / "setup")
        folder = source.folder(self.site.base)
        done = subprocess.run(
            ["/bin/sh", "-c", setup], cwd=folder, env={**os.environ, **self.task.environment.env}, capture_output=True,
            text=True, timeout=SETUP_SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            tail = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
            raise BaselineError(f"environment.setup {setup!r} failed with exit code {done.returncode}: {tail[0][:300]}")
        partial = place.with_suffix(f".{os.getpid()}")
        shutil.copytree(folder, partial, symlinks=True)
        partial.rename(place)

    def close(self) -> None:
        self.sandbox.close()
        self.workshop.close()


def _mount(text: str) -> Mount:
    path = text.removesuffix(":ro")
    real = os.path.expanduser(path)
    if not os.path.exists(real):
        raise TaskError(f"environment.data {text!r}: there is no {real} on this machine")
    return Mount(os.path.abspath(real))


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


__all__ = ["Bench", "Job", "checked", "logs", "order", "split"]

"""Rungs of isolation behind one protocol. The strongest rung that passes its self-test on this machine is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from evolve.tasks.evidence import Cost, Failure
from evolve.tasks.task import Limits


@dataclass(frozen=True, slots=True)
class Mount:
    """A host path seen at `target` inside (the same path where empty); read-only unless `writable`."""

    source: str
    target: str = ""
    writable: bool = False


@dataclass(frozen=True, slots=True)
class Command:
    """What to run inside.

    argv:    the program and its arguments, or, where `call` is set, unused.
    tree:    folder with the candidate's files (the candidate may write to its own copy or layer only). In one that is too
             large to be copied, it can change what everyone may write to, as `materialise.Workshop` makes it.
    cwd:     relative to the tree.
    stdin:   bytes given on standard input.
    env:     the whole environment beside PATH, HOME, TMPDIR, LANG.
    wall:    seconds from the candidate's start; its whole process tree is gone within one second of it.
    frame:   maximal bytes of one framed message on the result channel (file descriptor named in EVOLVE_CHANNEL);
             0: no channel is opened.
    lower:   folder that lies beneath the tree (what the environment's setup left); never written to.
    at:      where the tree is seen inside, where mounts can be made; empty: /work.
    """

    argv: tuple[str, ...]
    tree: Path
    cwd: str = "."
    stdin: bytes = b""
    env: Mapping[str, str] = field(default_factory=dict)
    wall: float = 60.0
    limits: Limits = field(default_factory=Limits)
    mounts: tuple[Mount, ...] = ()
    network: tuple[str, ...] = ()
    frame: int = 0
    lower: Path | None = None
    at: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened inside, as seen from outside. Output and exit code are logs, never scores.

    failure: timeout, memory, limit or crash as the sandbox saw it; None for a clean exit 0.
    frame:   the one message received whole on the channel, or None. Its content is the candidate's claim.
    peak:    bytes of memory the whole tree held at most, where it was seen.
    """

    code: int | None
    signal: int | None = None
    failure: Failure | None = None
    stdout: str = ""
    stderr: str = ""
    cut: int = 0
    frame: bytes | None = None
    cost: Cost = field(default_factory=Cost)
    peak: int = 0


@runtime_checkable
class Sandbox(Protocol):
    """One rung. `label` is shown in every view and event ("jailed", "jailed-user", "confined", ...)."""

    label: str

    def run(self, command: Command) -> Outcome:
        """Run to the end or to a limit. Raises SandboxError when the rung itself fails or has degraded."""
        ...

    def call(self, command: Command, target: str, arguments: tuple[Any, ...]) -> Outcome:
        """Call a Python function of the candidate's, "program.py:function", with JSON arguments. Its value comes back in
        the frame, {"value": ...}. `command.argv` is unused. Raises as `run`; ValueError for arguments that are no JSON."""
        ...

    def close(self) -> None: ...

"""The ladder of rungs: which hold on this machine, by trying real attacks, and the strongest that does."""

from __future__ import annotations

import functools
import json
import os
import resource
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import Command, Outcome, probe, remembered
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox
from evolve.tasks.errors import SandboxError
from evolve.tasks.evidence import FailureKind
from evolve.tasks.task import Limits

RUNGS = tuple(LABELS)
"""Strongest first."""

NOT_PROTECTED = {
    "native": "kernel exploits, side channels",
    "userns": "kernel exploits, side channels; memory overshoot between looks; same user id on the host",
    "bubblewrap": "as userns; number of files; each call starts an interpreter",
    "landlock": "path names and other processes' names are visible; disk and memory overshoot between looks; no sockets",
    "process": "the network, world-readable files, shared /tmp and /dev/shm",
    "bare": "everything: your files, your keys, your network",
}

_EVERY = frozenset(RUNGS[:-1])
_WALLED = frozenset(RUNGS[:4])
"""Rungs that keep a candidate from the network and from folders that anyone may write to."""

REQUIRED: dict[str, frozenset[str]] = {name: _EVERY for name in probe.ATTACKS} | {
    "more processes than allowed": _EVERY,
    "connect to this machine": _WALLED,
    "connect to an abstract socket": _WALLED,
    "leave files for the next": _WALLED,
    "memory by a tree of processes": _EVERY,
}
"""Attack of the self-test -> rungs that must hold it to be available."""

PROCESSES, MEMORY = 48, 96 << 20


@dataclass(frozen=True, slots=True)
class RungReport:
    """One rung on this machine. `held` and `lost` name the self-test's attacks; `why`: what keeps it from being used."""

    rung: str
    label: str
    available: bool
    held: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    why: str = ""

    @property
    def not_protected(self) -> str:
        return NOT_PROTECTED[self.rung]


@dataclass
class _Scene:
    """What an attack is aimed at: files, two processes of ours, two listening sockets. Effects are seen here."""

    root: Path
    heard: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.root.chmod(0o711)
        self.bait, self.tree = self.root / "bait", self.root / "tree"
        self.bait.mkdir(mode=0o711)
        self.tree.mkdir()
        shutil.copy(str(probe.__file__), self.tree / "probe.py")
        self.secret, self.marker = secrets.token_hex(8), secrets.token_hex(8)
        (self.bait / "secret").touch(mode=0o600)
        (self.bait / "secret").write_text(self.secret)
        environment = {"EVOLVE_PROBE": self.marker}
        self.victims = [
            subprocess.Popen(["/bin/sleep", "30"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True)
            for _ in range(2)
        ]
        self.tcp = socket.create_server(("127.0.0.1", 0))
        self.abstract = f"evolve-{secrets.token_hex(8)}"
        self.unix = socket.socket(socket.AF_UNIX)
        self.unix.bind("\0" + self.abstract)
        self.unix.listen()
        for server in (self.tcp, self.unix):
            threading.Thread(target=self._listen, args=(server,), daemon=True).start()
        self.daemon = f"ev{secrets.token_hex(5)}"

    def _listen(self, server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(1)
                    self.heard.add(connection.recv(8).decode())
            except OSError:
                return

    def facts(self) -> dict[str, Any]:
        return {
            "secret": str(self.bait / "secret"), "marker": self.marker, "planted": str(self.bait / "planted"),
            "daemon": self.daemon, "port": self.tcp.getsockname()[1], "abstract": self.abstract,
            "victim": self.victims[0].pid, "other": self.victims[1].pid, "processes": PROCESSES, "memory": MEMORY,
        }  # fmt: skip

    def effects(self, got: dict[str, Any]) -> set[str]:
        """Names of the attacks that had their effect."""
        left = [Path(folder, self.daemon) for folder in ("/tmp", "/dev/shm") if Path(folder, self.daemon).exists()]
        time.sleep(0.05)
        seen = {
            "read a private file": got.get("read a private file") == self.secret,
            "read another process's environment": got.get("read another process's environment") == self.marker,
            "write outside": (self.bait / "planted").exists(),
            "leave a daemon": _runs(self.daemon),
            "connect to this machine": "tcp" in self.heard,
            "connect to an abstract socket": "unix" in self.heard,
            "signal another process": self.victims[0].poll() is not None,
            "change another process's limits": resource.prlimit(self.victims[1].pid, resource.RLIMIT_NOFILE)[0] == 77,
            "leave files for the next": bool(left),
            "make a user namespace": got.get("make a user namespace") == 0,
        }
        for path in left:
            path.unlink()
        return {name for name, worked in seen.items() if worked}

    def close(self) -> None:
        self.tcp.close()
        self.unix.close()
        for victim in self.victims:
            victim.kill()
            victim.wait()


def _int(value: object) -> int:
    return value if isinstance(value, int) else 0


def _runs(comm: str) -> bool:
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/comm") as file:
                    if file.read().strip() == comm:
                        return True
            except OSError:
                continue
    return False


def test_rung(rung: str) -> RungReport:
    """Start a rung and attack it. A rung is available when every attack it must hold was tried and held."""
    label = LABELS[rung]
    if rung == "bare":
        return RungReport(rung, label, True, lost=tuple(REQUIRED), why="holds nothing; taken only with --unsafe")
    with tempfile.TemporaryDirectory(prefix="evolve-ladder-") as folder:
        scene = _Scene(Path(folder))
        try:
            sandbox = LocalSandbox(rung, scene.root / "scratch")
            try:
                tried, worked = _attack(sandbox, scene)
            finally:
                sandbox.close()
        except (SandboxError, OSError) as error:
            return RungReport(rung, label, False, why=str(error))
        finally:
            scene.close()
    broken = [name for name in worked if rung in REQUIRED[name]]
    missing = [name for name in REQUIRED if name not in tried]
    why = f"it must hold and did not: {', '.join(broken)}" if broken else ""
    if missing:
        why = f"the self-test could not try: {', '.join(missing)}"
    held = tuple(name for name in tried if name not in worked)
    return RungReport(rung, label, not broken and not missing, held, tuple(worked), why)


test_rung.__test__ = False  # type: ignore[attr-defined]


def _attack(sandbox: LocalSandbox, scene: _Scene) -> tuple[list[str], list[str]]:
    limits = Limits(processes=PROCESSES, memory=MEMORY)
    command = Command((), scene.tree, wall=20.0, limits=limits, frame=1 << 16)
    outcome = sandbox.call(command, "probe.py:attack", (scene.facts(),))
    answer = _value(outcome)
    if not isinstance(answer, dict):
        raise SandboxError(f"the self-test did not run: {outcome.failure.message if outcome.failure else 'no answer'}")
    worked = scene.effects(answer["got"])
    tried = [name for name in answer["tried"] if name in REQUIRED]
    tried.append("more processes than allowed")
    if not _processes_held(sandbox, command, scene):
        worked.add("more processes than allowed")
    eaten = sandbox.call(command, "probe.py:eat", (scene.facts(),))
    tried.append("memory by a tree of processes")
    if eaten.failure is None or eaten.failure.kind is not FailureKind.MEMORY:
        worked.add("memory by a tree of processes")
    return tried, [name for name in REQUIRED if name in worked]


def _processes_held(sandbox: LocalSandbox, command: Command, scene: _Scene) -> bool:
    """Whether the limit on processes was met and held. Where it counts a whole user's, as without a uid or a namespace of our
    own, that user's other processes may leave no room for even one: such a try shows nothing and is repeated."""
    for _ in range(5):
        spawned = sandbox.call(command, "probe.py:spawn", (scene.facts(),))
        if spawned.failure is not None and spawned.failure.kind is FailureKind.LIMIT:
            return True
        if count := _int(_value(spawned)):
            return 0 < count <= PROCESSES + 4
        time.sleep(0.3)
    return False


def _value(outcome: Outcome) -> object:
    from evolve.evaluators.channel import Refused, unpack

    try:
        header, _ = unpack(outcome.frame)
    except Refused:
        return None
    return header.get("value") if isinstance(header, dict) else json.dumps(header)


@functools.cache
def ladder() -> tuple[RungReport, ...]:
    """Every rung tried on this machine, strongest first (what `evolve doctor` prints). Believes nothing remembered, and
    puts right what is."""
    reports = tuple(test_rung(rung) for rung in RUNGS)
    for report in reports[:-1]:
        remembered.remember(report.rung, report.available)
    return reports


def _why_not(rung: str) -> str:
    """Why a rung cannot be used here; empty where it passes its self-test, now or (`remembered`) as things are now."""
    if remembered.holds(rung):
        return ""
    report = test_rung(rung)
    remembered.remember(rung, report.available)
    return "" if report.available else report.why or "it does not hold"


@functools.cache
def strongest() -> str:
    """The strongest rung whose self-test passes here; "bare" where none does. A pass is remembered for later processes
    (`remembered`).

    EVOLVE_SANDBOX names one to use instead of the strongest; it must pass as well. Raises SandboxError where it does not.
    """
    wanted = os.environ.get("EVOLVE_SANDBOX")
    if wanted:
        if wanted not in RUNGS:
            raise SandboxError(f"EVOLVE_SANDBOX={wanted!r} names no rung; there are {', '.join(RUNGS)}")
        if wanted != "bare" and (why := _why_not(wanted)):
            raise SandboxError(f"EVOLVE_SANDBOX={wanted!r} does not hold on this machine: {why}")
        return wanted
    for rung in RUNGS[:-1]:
        if not _why_not(rung):
            return rung
    return "bare"


def open_sandbox(
    scratch: Path, *, unsafe: bool = False, gpus: int = 0, rung: str = "", preload: tuple[str, ...] = (),
    network: bool = False, show: tuple[str, ...] = (), hide: tuple[str, ...] = (),
) -> LocalSandbox:  # fmt: skip
    """A sandbox at the strongest rung (or the named one). Raises SandboxError where only "bare" is left and `unsafe`
    was not asked for. Arguments as in `LocalSandbox`."""
    rung = rung or strongest()
    if rung == "bare" and not unsafe:
        raise SandboxError(
            "no sandbox rung holds on this machine, so candidates would run with your rights; 'evolve doctor' says why, "
            "--unsafe runs them anyway"
        )
    devices = gpu_devices() if gpus else ()
    return LocalSandbox(rung, scratch, preload=preload, devices=devices, network=network, show=show, hide=hide)


def gpu_devices() -> tuple[str, ...]:
    """Device nodes of this machine's NVIDIA GPUs; empty where there are none."""
    nodes = [path for path in sorted(Path("/dev").glob("nvidia*")) if not path.is_dir()]
    return tuple(str(path) for path in nodes) if any(path.name == "nvidiactl" for path in nodes) else ()

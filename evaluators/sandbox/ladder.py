"""The ladder of rungs: which hold on this machine, by trying real attacks, and the strongest that does."""

from __future__ import annotations

import functools
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.local import LABELS, LocalSandbox
from evolve.tasks.errors import SandboxError
from evolve.tasks.task import Limits

RUNGS = ("native", "userns", "process", "bare")
"""Strongest first."""

NOT_PROTECTED = {
    "native": "kernel exploits, side channels",
    "userns": "memory overshoot between polls; same user id on the host",
    "process": "network, world-readable files, shared /tmp",
    "bare": "everything: your files, your keys, your network",
}


@dataclass(frozen=True, slots=True)
class RungReport:
    """One rung on this machine. `held` and `lost` name the self-test's attacks; `why`: what kept it from starting."""

    rung: str
    label: str
    available: bool
    held: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    why: str = ""

    @property
    def not_protected(self) -> str:
        return NOT_PROTECTED[self.rung]


@dataclass(frozen=True, slots=True)
class Attack:
    """A shell line run inside; `worked` looks from outside whether it had its effect. `required`: rungs that hold it."""

    name: str
    line: str
    required: frozenset[str]


def _attacks(bait: Path, port: int) -> tuple[tuple[Attack, Callable[[str], bool]], ...]:
    every, walls, jails = frozenset(RUNGS[:3]), frozenset(RUNGS[:3]), frozenset(RUNGS[:2])
    secret = (bait / "secret").read_text()
    python = "python3 -c"
    return (
        (Attack("read a private file", f"cat {bait}/secret", walls), lambda out: secret in out),
        (Attack("write outside", f"echo x > {bait}/planted", every), lambda out: (bait / "planted").exists()),
        (Attack("leave a daemon", f"(setsid sh -c 'sleep 0.4; echo x > {bait}/open/daemon' &)", every),
         lambda out: _later(bait / "open" / "daemon")),
        (Attack("connect out", f"{python} 'import socket; socket.create_connection((\"127.0.0.1\", {port}), 2).send(b\"x\")'",
                jails), lambda out: _heard(port)),
        (Attack("leave a file in /tmp", f"echo x > /tmp/evolve-probe-{port}", jails),
         lambda out: _found(Path(f"/tmp/evolve-probe-{port}"))),
        (Attack("see other processes", f"kill -0 {os.getpid()} && echo visible", every), lambda out: "visible" in out),
    )  # fmt: skip


def _later(path: Path) -> bool:
    import time

    time.sleep(0.6)
    return path.exists()


def _found(path: Path) -> bool:
    there = path.exists()
    if there:
        path.unlink()
    return there


_heard_on: set[int] = set()


def _heard(port: int) -> bool:
    return port in _heard_on


def _listen() -> tuple[socket.socket, int]:
    server = socket.create_server(("127.0.0.1", 0))
    port = int(server.getsockname()[1])

    def accept() -> None:
        try:
            connection, _ = server.accept()
        except OSError:
            return
        _heard_on.add(port)
        connection.close()

    threading.Thread(target=accept, daemon=True).start()
    return server, port


def test_rung(rung: str) -> RungReport:
    """Start a rung and attack it. A rung is available when every attack it must hold is held."""
    with tempfile.TemporaryDirectory(prefix="evolve-ladder-") as folder:
        root = Path(folder)
        root.chmod(0o711)
        bait, tree = root / "bait", root / "tree"
        (bait / "open").mkdir(parents=True)
        tree.mkdir()
        bait.chmod(0o711)
        (bait / "open").chmod(0o777)
        (bait / "secret").write_text(os.urandom(8).hex())
        (bait / "secret").chmod(0o600)
        server, port = _listen()
        try:
            sandbox = LocalSandbox(rung, root / "scratch")
            held, lost = [], []
            try:
                for attack, worked in _attacks(bait, port):
                    outcome = sandbox.run(Command(("/bin/sh", "-c", attack.line), tree, wall=10.0, limits=Limits(processes=64)))
                    if worked(outcome.stdout):
                        lost.append(attack)
                    else:
                        held.append(attack)
            finally:
                sandbox.close()
        except (SandboxError, OSError) as error:
            return RungReport(rung, LABELS[rung], False, why=str(error))
        finally:
            server.close()
    broken = [a.name for a in lost if rung in a.required]
    why = f"it must hold and did not: {', '.join(broken)}" if broken else ""
    return RungReport(rung, LABELS[rung], not broken, tuple(a.name for a in held), tuple(a.name for a in lost), why)


@functools.cache
def ladder() -> tuple[RungReport, ...]:
    """Every rung tried on this machine, strongest first."""
    return tuple(test_rung(rung) for rung in RUNGS)


@functools.cache
def strongest() -> str:
    """The strongest rung whose self-test passes here; "bare" where none does."""
    wanted = os.environ.get("EVOLVE_SANDBOX")
    for rung in RUNGS[:-1]:
        if wanted in (None, rung) and test_rung(rung).available:
            return rung
    return "bare"


def open_sandbox(scratch: Path, *, unsafe: bool = False, gpus: int = 0, rung: str = "") -> LocalSandbox:
    """A sandbox at the strongest rung (or the named one). Raises SandboxError where only "bare" is left and `unsafe`
    was not asked for."""
    rung = rung or os.environ.get("EVOLVE_RUNG") or strongest()
    if rung == "bare" and not unsafe:
        raise SandboxError(
            "no sandbox rung holds on this machine, so candidates would run with your rights; 'evolve doctor' says why, "
            "--unsafe runs them anyway"
        )
    return LocalSandbox(rung, scratch, devices=_gpu_devices() if gpus else ())


def _gpu_devices() -> tuple[str, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    return tuple(sorted(str(path) for path in Path("/dev").glob("nvidia*")))

"""Kernel workers in the jail: the same `Link` as from the nursery, its process behind the sandbox's rung.

A `Ward` keeps one launcher (a clean parent that has imported torch and triton and holds no secret) for each worker that lives
at a time: usually one for candidates and one for baselines. What a worker gets of the host is the toolchain read-only, a
private tree, home and tmp that go with it, no network, the GPU's device nodes, its socket and the shared memory.
"""

from __future__ import annotations

import mmap
import os
import shutil
import socket
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolve.evaluators.kernels import wire
from evolve.evaluators.kernels.launch import PAGE, START_SECONDS, Link
from evolve.evaluators.sandbox import Command, Outcome
from evolve.evaluators.sandbox.keeper import descendants
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.sandbox.session import Session
from evolve.tasks.errors import InfrastructureError, SandboxError
from evolve.tasks.task import Limits

PRELOAD = {"cpu": "evolve.evaluators.kernels.preload", "cuda": "evolve.evaluators.kernels.preload_gpu"}
"""Imported once by each launcher."""

HARNESS = "evolve.evaluators.kernels.worker:enter"
SECONDS = 24 * 3600.0
"""Wall time of a worker: a kept baseline serves many candidates. Every order has its own deadline."""


class Ward:
    """Owns launchers; `spawn` takes a free one. Close it to end every worker. Not for several threads."""

    def __init__(
        self, scratch: str | Path | None = None, *, device: str = "cpu", rung: str = "", unsafe: bool = False,
        limits: Limits | None = None,
    ) -> None:  # fmt: skip
        """scratch: a folder of its own. rung: the sandbox's, empty for the strongest here. unsafe: no sandbox will do too.

        Raises SandboxError where no rung holds.
        """
        self.scratch = Path(tempfile.mkdtemp(prefix="ward-") if scratch is None else scratch)
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.scratch.chmod(0o711)
        self.tree = self.scratch / "tree"
        self.tree.mkdir(exist_ok=True)
        self.tree.chmod(0o755)
        self.device, self.rung, self.unsafe = device, rung, unsafe
        given = limits or Limits(memory=16 << 30)
        # a GPU's driver and compilers start dozens of threads and open hundreds of files; Triton and nvcc write their caches
        self.limits = replace(
            given, processes=max(given.processes, 512), files=max(given.files, 4096), disk=max(given.disk, 4 << 30)
        )
        self._free: list[LocalSandbox] = []
        self._plain: LocalSandbox | None = None
        self._taken: list[JailedLink] = []
        self._made = 0

    def spawn(
        self, size: int, device: str, clock: str = "real", env: Mapping[str, str] | None = None, cpu: float = 900
    ) -> JailedLink:
        """A new worker with `size` bytes of shared memory behind the control page."""
        sandbox = self._free.pop() if self._free else self._open((PRELOAD[self.device],))
        limits = replace(self.limits, cpu=None if device == "cuda" else SECONDS)
        command = Command((), self.tree, wall=SECONDS, limits=limits, env={**_environment(), **(env or {})})
        region = os.memfd_create("evolve-kernels", os.MFD_CLOEXEC)
        try:
            os.ftruncate(region, PAGE + -(-max(size, PAGE) // PAGE) * PAGE)
            session = sandbox.open(command, HARNESS, (device, clock), (region,))
            link = JailedLink(self, sandbox, session, mmap.mmap(region, 0))
        except BaseException:
            self._free.append(sandbox)
            raise
        finally:
            os.close(region)
        self._taken.append(link)
        return link

    def _open(self, preload: tuple[str, ...]) -> LocalSandbox:
        self._made += 1
        folder = self.scratch / f"sandbox-{self._made}"
        return open_sandbox(
            folder, unsafe=self.unsafe, gpus=int(self.device == "cuda"), rung=self.rung, preload=preload
        )

    def open_run(self, command: Command) -> Outcome:
        """Run a command of its own in a jail, to its end (compute-sanitizer). Raises SandboxError."""
        if self._plain is None:
            self._plain = self._open(())
        return self._plain.run(replace(command, limits=self.limits, env={**_environment(), **command.env}))

    def release(self, link: JailedLink) -> None:
        """A worker has ended: its launcher is free again."""
        if link in self._taken:
            self._taken.remove(link)
            self._free.append(link.sandbox_of)

    def close(self) -> None:
        for link in list(self._taken):
            link.close()
        for sandbox in (*self._free, *([self._plain] if self._plain else [])):
            sandbox.close()
        self._plain = None
        self._free.clear()
        shutil.rmtree(self.scratch, ignore_errors=True)


class JailedLink(Link):
    """A worker in a jail as the referee sees it. Its output goes to a log inside, which ends with it."""

    def __init__(self, ward: Ward, sandbox: LocalSandbox, session: Session, memory: mmap.mmap) -> None:
        self.ward, self.sandbox_of, self.session = ward, sandbox, session
        self.memory, self.sandbox = memory, sandbox.label
        self.sock: socket.socket = session.socket
        self.pid = session.pid
        self._open = True
        try:
            if self.pid == 0:
                raise InfrastructureError(f"a kernel worker ended before it began: {session.finish().stderr[-500:]}")
            hello = self.ask(None, START_SECONDS)
            if hello.get("hello") is None:
                raise InfrastructureError(f"a kernel worker began with {hello}")
        except wire.WireFault as fault:
            text = session.finish().stderr[-1000:] if fault.kind == "closed" else str(fault)
            self.close()
            raise InfrastructureError(f"a kernel worker did not start in the jail: {text}") from fault
        except BaseException:
            self.close()
            raise

    def members(self) -> list[int]:
        """Processes in the worker's jail, as the kernel sees them from outside (D12): all below the jail's init."""
        init = _parent(self.pid)
        return list(descendants(init)) if init > 1 else []

    def close(self) -> None:
        """End the worker and whatever is in its jail; nothing is left when this returns."""
        if not self._open:
            return
        self._open = False
        try:
            self.session.__exit__(None, None, None)
        except SandboxError:
            self.sandbox_of.close()  # a launcher that failed starts anew for the next worker
        self.ward.release(self)
        try:
            self.memory.close()
        except BufferError:
            pass  # a view of it is still held by the caller; the mapping goes with the last one


def _environment() -> dict[str, str]:
    """What a worker's environment adds to the sandbox's; caches go to its private tmp.

    torch.compile starts no processes of its own, which would outlive the calls: the census (D12) counts them.
    """
    kept: dict[str, Any] = {k: v for k, v in os.environ.items() if k in ("CUDA_VISIBLE_DEVICES", "CUDA_HOME")}
    return {**kept, "OMP_NUM_THREADS": "1", "USER": "candidate", "TORCHINDUCTOR_COMPILE_THREADS": "1"}


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except (OSError, ValueError):
        return 0

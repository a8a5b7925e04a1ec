"""The referee's end of a worker: a process from the nursery, a socket, shared memory. One `Link` a candidate and process."""

from __future__ import annotations

import json
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evolve.evaluators.kernels import wire
from evolve.tasks.errors import InfrastructureError

PAGE = mmap.PAGESIZE
_WORD = struct.Struct("<Q")
START_SECONDS = 120.0


class Nursery:
    """Owns one clean parent. `spawn` takes about a tenth of a second on the CPU; close it to end every worker."""

    def __init__(self, scratch: str | Path | None = None, env: Mapping[str, str] | None = None) -> None:
        self._own = tempfile.mkdtemp(prefix="nursery-") if scratch is None else ""
        self.scratch = str(scratch or self._own)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        root = str(Path(__file__).resolve().parents[2])
        if not (Path(root) / "evolve").is_dir():
            root = str(Path(root).parent)
        code = f"import sys; sys.path.insert(0, {root!r}); from evolve.evaluators.kernels import nursery; "
        code += f"nursery.main({theirs.fileno()})"
        keep = {
            k: v
            for k, v in os.environ.items()
            if k in ("PATH", "LANG", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CUDA_HOME", "HOME")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", code],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            # read where the compiler is imported, which the clean parent does: a pool of processes would outlive the calls (D12)
            env={**keep, "TORCHINDUCTOR_COMPILE_THREADS": "1", **(env or {})},
            start_new_session=True,
        )
        theirs.close()
        self._control = ours
        self._ask(None, [], START_SECONDS)

    def _ask(self, request: Any, fds: list[int], seconds: float = 30.0) -> dict[str, Any]:
        self._control.settimeout(seconds)
        try:
            if request is not None:
                socket.send_fds(self._control, [json.dumps(request).encode()], fds)
            data = self._control.recv(1 << 16)
        except OSError as error:
            raise InfrastructureError(f"the clean parent of kernel workers does not answer: {error}") from error
        if not data:
            said = self.process.stderr.read().decode(errors="replace")[-2000:] if self.process.stderr else ""
            raise InfrastructureError(f"the clean parent of kernel workers ended: {said.strip() or 'no message'}")
        answer: dict[str, Any] = json.loads(data)
        return answer

    def spawn(
        self, size: int, device: str, clock: str = "real", env: Mapping[str, str] | None = None, cpu: float = 900
    ) -> Link:
        """A new worker with `size` bytes of shared memory behind the control page."""
        region = os.memfd_create("evolve-kernels")
        os.ftruncate(region, PAGE + -(-max(size, PAGE) // PAGE) * PAGE)
        ours, theirs = socket.socketpair()
        request = {
            "spawn": True,
            "device": device,
            "clock": clock,
            "scratch": self.scratch,
            "env": dict(env or {}),
            "cpu": cpu,
        }
        try:
            answer = self._ask(request, [theirs.fileno(), region])
        finally:
            theirs.close()
        return Link(self, ours, region, int(answer["pid"]))

    def kill(self, pid: int) -> None:
        try:
            self._control.send(json.dumps({"kill": pid}).encode())
        except OSError:
            pass

    def close(self) -> None:
        self._control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        if self.process.stderr:
            self.process.stderr.close()
        if self._own:
            import shutil

            shutil.rmtree(self._own, ignore_errors=True)


class Link:
    """One worker as the referee sees it."""

    def __init__(self, nursery: Nursery, sock: socket.socket, region: int, pid: int) -> None:
        self.nursery, self.sock, self.pid = nursery, sock, pid
        self.memory = mmap.mmap(region, 0)
        os.close(region)
        self.sandbox = ""
        try:
            self.sandbox = str(self.ask(None, START_SECONDS).get("sandbox", ""))
        except wire.WireFault as fault:
            self.close()
            raise InfrastructureError(f"a kernel worker did not start: {fault}") from fault

    def ask(self, order: Any, seconds: float) -> dict[str, Any]:
        """Send an order and read one answer. Raises wire.WireFault."""
        if order is not None:
            wire.send(self.sock, order)
        return wire.receive(self.sock, seconds)

    def write(self, offset: int, data: bytes | memoryview) -> None:
        """Into the data part of the shared memory."""
        self.memory[PAGE + offset : PAGE + offset + len(data)] = data

    def read(self, offset: int, size: int) -> bytes:
        return self.memory[PAGE + offset : PAGE + offset + size]

    def release(self, ticket: int, key: int) -> None:
        """Hand over the key: key first, ticket last (the gate waits for the ticket)."""
        self.memory[wire.FLAG : wire.FLAG + 8] = bytes(8)
        self.memory[8:16] = key.to_bytes(8, "little")
        self.memory[0:8] = ticket.to_bytes(8, "little")

    def flagged(self, ticket: int) -> bool:
        """Whether the seal of the call has set its flag."""
        (word,) = _WORD.unpack_from(self.memory, wire.FLAG)
        return bool(word == ticket)

    def members(self) -> list[int]:
        """Processes in the worker's session, as the kernel sees them from outside (D12)."""
        found = []
        for entry in os.listdir("/proc"):
            if entry.isdigit():
                try:
                    if os.getsid(int(entry)) == self.pid:
                        found.append(int(entry))
                except (ProcessLookupError, PermissionError):
                    continue
        return found

    def processes(self) -> int:
        return len(self.members())

    def others(self) -> list[str]:
        """What the further processes call themselves (command line, or name where there is none): told, not judged by."""
        return [name for pid in self.members() if pid != self.pid and (name := _called(pid))][:4]

    def threads(self) -> int:
        try:
            return len(os.listdir(f"/proc/{self.pid}/task"))
        except OSError:
            return 0

    def close(self) -> None:
        """End the worker and its session; gone within a second."""
        self.nursery.kill(self.pid)
        self.sock.close()
        until = time.monotonic() + 1.0
        while os.path.exists(f"/proc/{self.pid}") and time.monotonic() < until:
            time.sleep(0.01)
        try:
            self.memory.close()
        except BufferError:
            pass


def _called(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        return (words or Path(f"/proc/{pid}/comm").read_text().strip())[:120]
    except OSError:
        return ""

"""A clean parent: imports torch and triton without touching CUDA, then forks one worker for each candidate (~1 s with CUDA
against ~7 s for a fresh interpreter, docs/facts). It holds no secret: what a fork could read is library code.

Started as `python -I -c ...` with a scrubbed environment. A fork gets a session, a private folder, limits, no network
where the kernel allows it, and two descriptors: its socket and the shared memory.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import shutil
import signal
import socket
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

NEWNS, NEWUTS, NEWIPC, NEWNET = 0x00020000, 0x04000000, 0x08000000, 0x40000000
PDEATHSIG, NO_NEW_PRIVS = 1, 38


def main(control_fd: int) -> None:
    """Serve spawn requests until the control socket closes, then end every worker."""
    control = socket.socket(fileno=control_fd)
    _prctl(PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import torch  # what candidates need is loaded once, before any fork

    try:
        import triton
        import triton.runtime.interpreter  # noqa: F401
    except ImportError:
        pass
    for module in ("worker", "worker_cpu"):
        __import__(f"evolve.evaluators.kernels.{module}")
    from evolve.evaluators.kernels.worker_cpu import WorkClock

    with WorkClock():  # a first use imports much; forks should find it done
        torch.zeros(1) + 1
    control.send(json.dumps({"ready": True, "pid": os.getpid()}).encode())
    folders: dict[int, str] = {}
    while True:
        readable, _, _ = select.select([control], [], [], 0.05)
        _reap(control, folders)
        if not readable:
            continue
        data, fds, _, _ = socket.recv_fds(control, 1 << 16, 8)
        if not data:
            break
        request = json.loads(data)
        if "kill" in request:
            _kill(request["kill"])
            continue
        folder = tempfile.mkdtemp(prefix="worker-", dir=request["scratch"])
        pid = os.fork()
        if pid == 0:
            _worker(request, fds, folder, control)
        for fd in fds:
            os.close(fd)
        folders[pid] = folder
        control.send(json.dumps({"pid": pid}).encode())
    for pid in folders:
        _kill(pid)
    os._exit(0)


def _worker(request: dict[str, Any], fds: list[int], folder: str, control: socket.socket) -> NoReturn:
    """Become the candidate's process. `sandbox` in the first message says what really holds."""
    code = 1
    try:
        control.close()
        os.setsid()
        _prctl(PDEATHSIG, signal.SIGKILL)
        label = _confine(request, folder)
        sock = socket.socket(fileno=fds[0])
        from evolve.evaluators.kernels import wire, worker

        wire.send(sock, {"hello": os.getpid(), "sandbox": label})
        worker.serve(sock, fds[1], request["device"], request.get("clock", "real"))
        code = 0
    except BaseException as error:  # noqa: BLE001 - the fork must never run on into the parent's loop
        sys.stderr.write(f"worker: {type(error).__name__}: {error}\n")
    finally:
        os._exit(code)


def _confine(request: dict[str, Any], folder: str) -> str:
    label = "process"
    if _unshare(NEWNET | NEWIPC | NEWUTS):
        label += "+no-network"
    for limit, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, request.get("file_bytes", 256 << 20)),
        (resource.RLIMIT_NOFILE, 1024),
        (resource.RLIMIT_CPU, int(request.get("cpu", 900))),
    ):
        resource.setrlimit(limit, (value, value))
    _prctl(NO_NEW_PRIVS, 1)
    os.chdir(folder)
    os.umask(0o077)
    keep = {
        k: v
        for k, v in os.environ.items()
        if k in ("PATH", "LANG", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CUDA_HOME")
    }
    os.environ.clear()
    os.environ.update(keep)
    defaults = {
        "HOME": folder,
        "TMPDIR": folder,
        "TRITON_CACHE_DIR": f"{folder}/triton",
        "TORCHINDUCTOR_CACHE_DIR": f"{folder}/inductor",
        "USER": "candidate",
        "OMP_NUM_THREADS": "1",
    }
    os.environ.update({**defaults, **request.get("env", {})})
    tempfile.tempdir = folder
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{folder}/log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for fd, source in ((0, null), (1, log), (2, log)):
        os.dup2(source, fd)
    return label


def _unshare(flags: int) -> bool:
    libc = ctypes.CDLL(None, use_errno=True)
    return bool(libc.unshare(flags) == 0)


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


def _reap(control: socket.socket, folders: dict[int, str]) -> None:
    for pid in list(folders):
        done, _ = os.waitpid(pid, os.WNOHANG)
        if done:
            _kill(pid)
            shutil.rmtree(folders.pop(pid), ignore_errors=True)


def _kill(pid: int) -> None:
    """The worker's whole session: its process group, and any process still in its session."""
    for target in _session(pid):
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            continue


def _session(leader: int) -> list[int]:
    found = [leader] if Path(f"/proc/{leader}").exists() else []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != leader:
            try:
                if os.getsid(int(entry)) == leader:
                    found.append(int(entry))
            except (ProcessLookupError, PermissionError):
                continue
    return found

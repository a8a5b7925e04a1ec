"""Sandboxes on this machine: one launcher process each, at the rung asked for."""

from __future__ import annotations

import fcntl
import json
import os
import selectors
import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import Command, Outcome
from evolve.tasks.errors import SandboxError
from evolve.tasks.evidence import Cost, Failure, FailureKind

LABELS = {"native": "jailed", "userns": "jailed-user", "process": "separate-uid", "bare": "UNPROTECTED"}
"""Rung -> the label shown in every view and event."""

FIRST_UID, UIDS = 61_000, 256

ENVIRONMENT = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": "1"}

_TOOLCHAIN = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/lib32", "/opt", "/etc/ld.so.cache", "/etc/ld.so.conf",
              "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/ssl", "/etc/localtime", "/sys")  # fmt: skip


class LocalSandbox:
    """Runs commands in one rung: "native" (namespaces, as root), "userns" (namespaces, as a plain user), "process"
    (another uid, limits and a subreaper, as root) or "bare" (limits and a subreaper only: UNPROTECTED).

    Not for several threads. Raises SandboxError where the rung cannot be set up or has degraded.
    """

    def __init__(
        self, rung: str, scratch: str | Path, *, preload: tuple[str, ...] = (), devices: tuple[str, ...] = ()
    ) -> None:
        """scratch: a folder of this sandbox's own. preload: modules the launcher imports once for all candidates.
        devices: device nodes shown inside (a GPU's)."""
        if rung not in LABELS:
            raise SandboxError(f"no rung {rung!r}; there are {', '.join(LABELS)}")
        self.rung, self.label = rung, LABELS[rung]
        self.scratch = Path(scratch)
        self._preload, self._devices = preload, devices
        self._lease, self.uid = _lease_uid() if rung in ("native", "process") else (None, os.getuid())
        self._launcher: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    # ---- the launcher --------------------------------------------------------------------------------------------

    def _start(self) -> socket.socket:
        if self._control is not None and self._launcher is not None and self._launcher.poll() is None:
            return self._control
        self._stop()
        self.scratch.mkdir(parents=True, exist_ok=True)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        configuration = {
            "rung": self.rung,
            "uid": self.uid,
            "scratch": str(self.scratch),
            "binds": _binds(),
            "devices": list(self._devices),
            "preload": list(self._preload),
            "seccomp": self.rung != "bare",
        }
        self._launcher = subprocess.Popen(
            [sys.executable, "-I", "-m", "evolve.evaluators.sandbox.launcher", str(theirs.fileno()),
             json.dumps(configuration)],
            pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env={**ENVIRONMENT}, start_new_session=True,
        )  # fmt: skip
        theirs.close()
        ours.settimeout(60)
        try:
            ready = json.loads(ours.recv(4096) or b"{}")
        except (TimeoutError, OSError, ValueError):
            ready = {}
        if not ready.get("ready"):
            said = self._launcher.stderr.read(4000).decode("utf-8", "replace") if self._launcher.stderr else ""
            ours.close()
            self._stop()
            last = said.strip().splitlines()[-1:] or ["it said nothing"]
            raise SandboxError(f"the sandbox rung {self.rung!r} cannot be set up here: {last[0]}; see 'evolve doctor'")
        ours.settimeout(None)
        self._control = ours
        return ours

    def _stop(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None
        if self._launcher is not None:
            try:
                self._launcher.wait(1)
            except subprocess.TimeoutExpired:
                self._launcher.kill()
                self._launcher.wait()
            if self._launcher.stderr:
                self._launcher.stderr.close()
            self._launcher = None

    def close(self) -> None:
        self._stop()
        if self._lease is not None:
            os.close(self._lease)
            self._lease = None
        shutil.rmtree(self.scratch, ignore_errors=True)

    # ---- running -------------------------------------------------------------------------------------------------

    def run(self, command: Command) -> Outcome:
        return self._run(command, None)

    def call(self, command: Command, target: str, arguments: tuple[Any, ...]) -> Outcome:
        """Call a Python function of the candidate's, `"program.py:function"`, without starting an interpreter; its
        value comes back in the frame as {"value": ...}. `command.argv` is unused. Raises ValueError for arguments
        that are no JSON."""
        json.dumps(arguments, allow_nan=False)
        return self._run(command, {"target": target, "args": list(arguments)})

    def _run(self, command: Command, call: dict[str, Any] | None) -> Outcome:
        control = self._start()
        tree, own = self._tree(command.tree)
        files, size = _weigh(tree)
        request = {
            "argv": list(command.argv),
            "call": call,
            "tree": str(tree),
            "small": files <= 200 and size <= 8 << 20,
            "cwd": command.cwd,
            "env": {**ENVIRONMENT, "HOME": "/home" if self.label.startswith("jailed") else str(tree), "TMPDIR": "/tmp",
                    "PATH": f"{os.path.dirname(sys.executable)}:{ENVIRONMENT['PATH']}", **command.env},
            "wall": command.wall,
            "limits": asdict(command.limits),
            "mounts": [asdict(mount) for mount in command.mounts],
            "network": bool(command.network),
        }  # fmt: skip
        try:
            return self._exchange(control, json.dumps(request).encode(), command)
        finally:
            if own:
                shutil.rmtree(tree, ignore_errors=True)

    def _tree(self, tree: Path) -> tuple[Path, bool]:
        """Where there is no mount namespace the candidate gets a copy on disk, which is removed afterwards."""
        if self.rung in ("native", "userns"):
            return tree, False
        self.scratch.mkdir(parents=True, exist_ok=True)
        copy = Path(tempfile.mkdtemp(prefix="tree-", dir=self.scratch))
        shutil.copytree(tree, copy, symlinks=True, dirs_exist_ok=True)
        if self.uid != os.getuid():
            os.chmod(self.scratch, 0o711)
            for folder, folders, names in os.walk(copy):
                for path in (folder, *(os.path.join(folder, name) for name in (*folders, *names))):
                    os.chown(path, self.uid, self.uid, follow_symlinks=False)
        return copy, True

    def _exchange(self, control: socket.socket, request: bytes, command: Command) -> Outcome:
        pipes = [os.pipe2(os.O_CLOEXEC) for _ in range(4 if command.frame else 3)]
        (in_read, in_write), (out_read, out_write), (err_read, err_write) = pipes[:3]
        theirs = [in_read, out_write, err_write] + ([pipes[3][1]] if command.frame else [])
        try:
            socket.send_fds(control, [request], theirs)
        except OSError as error:
            self._stop()
            raise SandboxError(f"the sandbox's launcher is gone: {error}") from error
        finally:
            for fd in theirs:
                os.close(fd)
        sinks = {out_read: _Sink(command.limits.output), err_read: _Sink(command.limits.output)}
        if command.frame:
            sinks[pipes[3][0]] = _Sink(command.frame + 64, whole=True)
        try:
            report = self._listen(control, in_write, command.stdin, sinks)
        finally:
            for fd in sinks:
                os.close(fd)
        if "error" in report:
            self._stop()
            raise SandboxError(f"sandbox rung {self.rung!r}: {report['error']}")
        return _outcome(report, sinks[out_read], sinks[err_read], sinks.get(pipes[3][0]) if command.frame else None)

    def _listen(
        self, control: socket.socket, stdin: int, data: bytes, sinks: dict[int, _Sink]
    ) -> dict[str, Any]:
        """Feed stdin, drain the pipes, and wait for the keeper's report; then take what is still in the pipes."""
        report: dict[str, Any] | None = None
        os.set_blocking(stdin, False)
        with selectors.DefaultSelector() as selector:
            selector.register(control, selectors.EVENT_READ)
            for fd in sinks:
                selector.register(fd, selectors.EVENT_READ)
            if data:
                selector.register(stdin, selectors.EVENT_WRITE)
            else:
                os.close(stdin)
            while report is None:
                for key, _ in selector.select():
                    if key.fileobj is control:
                        message = control.recv(1 << 16)
                        report = json.loads(message) if message else {"error": "the launcher ended"}
                    elif key.fileobj == stdin:
                        data = _feed(selector, stdin, data)
                    elif not sinks[key.fd].take(key.fd):
                        selector.unregister(key.fd)
            if data:
                os.close(stdin)
        for fd, sink in sinks.items():
            os.set_blocking(fd, False)
            while sink.take(fd):
                continue
        return report


def _feed(selector: selectors.BaseSelector, stdin: int, data: bytes) -> bytes:
    try:
        data = data[os.write(stdin, data[: 1 << 16]) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        data = b""
    if not data:
        selector.unregister(stdin)
        os.close(stdin)
    return data


class _Sink:
    """Keeps head and tail of a stream within a cap and counts the rest; `whole`: keeps the head only."""

    def __init__(self, cap: int, *, whole: bool = False) -> None:
        self.cap, self.whole = cap, whole
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def take(self, fd: int) -> bool:
        """Read once; False at the end of the stream or when there is nothing now."""
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            return False
        self.total += len(chunk)
        half = self.cap if self.whole else self.cap // 2
        room = half - len(self.head)
        if room > 0:
            self.head += chunk[:room]
            chunk_rest = chunk[room:]
        else:
            chunk_rest = chunk
        if not self.whole and chunk_rest:
            self.tail += chunk_rest
            if len(self.tail) > 2 * half:
                del self.tail[:-half]
        return bool(chunk)

    def text(self) -> tuple[str, int]:
        """The text kept, with the cut stated in it, and how many bytes were cut."""
        half = self.cap // 2
        tail = bytes(self.tail[-half:]) if half else b""
        cut = self.total - len(self.head) - len(tail)
        head = self.head.decode("utf-8", "replace")
        if cut <= 0:
            return head + tail.decode("utf-8", "replace"), 0
        return f"{head}\n[... {cut} bytes cut ...]\n{tail.decode('utf-8', 'replace')}", cut


def _outcome(report: dict[str, Any], out: _Sink, err: _Sink, frame: _Sink | None) -> Outcome:
    stdout, cut_out = out.text()
    stderr, cut_err = err.text()
    failure = None
    if "kind" in report:
        failure = Failure(FailureKind(report["kind"]), report["message"])
    elif report["code"]:
        last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")
        failure = Failure(FailureKind.CRASH, f"exit code {report['code']}" + (f": {last.strip()[:300]}" if last else ""))
    whole = bytes(frame.head) if frame is not None and frame.total <= frame.cap and frame.total else None
    if frame is not None and frame.total > frame.cap and failure is None:
        failure = Failure(FailureKind.OUTPUT, f"a result of {frame.total} bytes, {frame.cap - 64} are allowed")
    return Outcome(
        code=report["code"],
        signal=report.get("signal"),
        failure=failure,
        stdout=stdout,
        stderr=stderr,
        cut=cut_out + cut_err,
        frame=whole,
        cost=Cost(wall=report["wall"], cpu=report["cpu"]),
    )


def _binds() -> list[str]:
    """What a jail shows read-only: the system's toolchain and this Python with its packages."""
    prefixes = {os.path.realpath(p) for p in (sys.prefix, sys.base_prefix, sys.exec_prefix)} | {sys.prefix}
    wanted = list(_TOOLCHAIN)
    for path in sorted(prefixes):
        if os.path.exists(path) and not any(_below(path, known) for known in wanted):
            wanted.append(path)
    return wanted


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _weigh(tree: Path) -> tuple[int, int]:
    files = size = 0
    for folder, _, names in os.walk(tree):
        files += len(names)
        if files > 10_000:
            break
        size += sum(os.lstat(os.path.join(folder, name)).st_size for name in names)
    return files, size


def _lease_uid() -> tuple[int | None, int]:
    """A uid that no other sandbox on this machine uses now, held by a file lock until closed."""
    if os.getuid() != 0:
        return None, os.getuid()
    folder = Path("/run/evolve-uids") if os.access("/run", os.W_OK) else Path(tempfile.gettempdir()) / "evolve-uids"
    folder.mkdir(mode=0o700, exist_ok=True)
    for uid in range(FIRST_UID, FIRST_UID + UIDS):
        lock = os.open(folder / str(uid), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            continue
        return lock, uid
    raise SandboxError(f"all {UIDS} sandbox user ids are taken; other runs hold them")


__all__ = ["LABELS", "LocalSandbox"]

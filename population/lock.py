"""Locks between processes: `flock` on a file that names its holder. The kernel lets go of one when its holder dies,
however it dies, so a stale lock cannot exist."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
import weakref
from pathlib import Path

from evolve.population import disk
from evolve.tasks.errors import RepositoryError

PATIENCE = 0.1
"""Seconds of retrying: `held` looks by taking the lock for a moment."""


class Lock:
    """An exclusive lock, held from construction to `close`. The file stays: unlinking it would let two holders in."""

    def __init__(self, path: str | Path, what: str, patience: float = PATIENCE) -> None:
        """Raises RepositoryError naming `what` and the holder where it stays taken for `patience` seconds, DiskError
        where it cannot be made."""
        self._fd = -1
        deadline = time.monotonic() + patience
        while (fd := _take(path)) is None:
            if time.monotonic() > deadline:
                raise RepositoryError(f"{what} is held by {holder(path)}; stop that process first, or wait for it")
            time.sleep(0.01)
        self._fd = fd
        _open_locks.add(self)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


_open_locks: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget() -> None:
    """A forked child shares the descriptor and would hold the lock beyond its parent's death."""
    for lock in list(_open_locks):
        lock.close()


os.register_at_fork(after_in_child=_forget)


def _take(path: str | Path) -> int | None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise disk.DiskError(error, path) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(fd, 0)
        os.pwrite(fd, json.dumps({"host": socket.gethostname(), "pid": os.getpid()}).encode(), 0)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError as error:
        os.close(fd)
        raise disk.DiskError(error, path) from error
    return fd


def held(path: str | Path) -> bool:
    """Whether a live process holds the lock."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def holder(path: str | Path) -> str:
    """Who holds it, in words. A file cut short by a dying writer says so."""
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        return f"process {found['pid']} on {found['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"

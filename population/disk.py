"""The few writes that must survive a power cut, each with its fsync in the right place.

A file is durable once its content *and* the directory entry that names it are synced, so every function here says what
is on disk when it returns. `sync=False` skips the fsyncs and nothing else (tests, throw-away archives).
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from evolve.tasks.errors import ArchiveError

LOCK_WAIT = 10.0
"""Seconds to wait for somebody else's lock file on a ref; git holds one for milliseconds."""

STALE_LOCK = 60.0
"""Seconds after which a lock file has outlived whoever made it: longer than a disk stalls."""


class DiskError(ArchiveError):
    """The disk said no. `errno` and `path` are the system's; nothing in memory was lost, a later flush goes on."""

    def __init__(self, error: OSError, path: str | Path) -> None:
        self.errno = error.errno or 0
        self.path = str(path)
        name = errno.errorcode.get(self.errno, "I/O error")
        hint = {
            errno.ENOSPC: "free some space; the run goes on from where it was",
            errno.EDQUOT: "free some space or raise the quota; the run goes on from where it was",
            errno.EROFS: "the file system is read-only; remount it or move the repository",
            errno.EACCES: "give the user of this process write permission",
            errno.EPERM: "give the user of this process write permission",
        }.get(self.errno, "nothing recorded was lost; the same command goes on")
        super().__init__(f"cannot write {self.path}: {os.strerror(self.errno)} ({name}); {hint}")


def write_all(fd: int, data: bytes) -> None:
    """All of `data`, whatever the kernel takes at a time."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync(fd: int) -> None:
    os.fsync(fd)


def replace(source: str, target: str) -> None:
    os.replace(source, target)


def sync_directory(path: str) -> None:
    """The entries of a directory (names, not contents) are on disk when this returns."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(fd)
    finally:
        os.close(fd)


def make_directories(path: str, *, durable: bool) -> None:
    """`mkdir -p`, with every new entry synced into its parent."""
    missing = []
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for new in reversed(missing):
        try:
            os.mkdir(new, 0o777)
        except FileExistsError:
            continue
        if durable:
            sync_directory(os.path.dirname(new))


def write_file(path: str, data: bytes, *, durable: bool, mode: int = 0o444) -> None:
    """A new file with this content, synced; its directory entry is not. Removed again when the write fails."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        if durable:
            sync(fd)
    except BaseException:
        unlink([path])
        raise
    finally:
        os.close(fd)


def swap_file(path: str, data: bytes, *, durable: bool, wait: float = LOCK_WAIT) -> None:
    """Replace a ref-like file the way git does: `<path>.lock` made exclusively, written, synced, renamed, entry synced.

    Whoever else follows git's protocol (`git pack-refs`, say) never loses our value nor we theirs. A lock in the
    way for `wait` seconds that is older than STALE_LOCK is a dead process's, and is removed once. Raises DiskError, with
    EEXIST where it stays.
    """
    lock, deadline, pause, broken = path + ".lock", time.monotonic() + wait, 0.001, False
    while True:
        try:
            fd = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
            break
        except FileExistsError as error:
            if time.monotonic() > deadline:
                if broken or not _older(lock, STALE_LOCK):
                    raise DiskError(error, lock) from error
                unlink([lock])
                broken = True
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
    try:
        try:
            write_all(fd, data)
            if durable:
                sync(fd)
        finally:
            os.close(fd)
        replace(lock, path)
    except BaseException:
        unlink([lock])
        raise
    if durable:
        sync_directory(os.path.dirname(path))


def _older(path: str, seconds: float) -> bool:
    try:
        return time.time() - os.stat(path).st_mtime > seconds
    except FileNotFoundError:
        return False


def unlink(paths: Iterable[str]) -> None:
    """Remove files that may be gone already."""
    for path in paths:
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass

"""References of the archive: reading them cheaply, moving them durably.

Loose files and `packed-refs` only (git's default format). A ref is moved under git's own lock protocol, so a
`git pack-refs` beside us is harmless.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from pathlib import Path

from evolve.population import disk
from evolve.tasks.errors import ArchiveError, UsageError

_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")

FRESH = 1.0
"""Seconds for which a lock on a ref may be somebody's who lives."""

Stamp = tuple[int, int, int]
"""(inode, modification time in ns, size) of a file: equal means unchanged. Ours are replaced, so the inode changes."""


def check_name(name: str, what: str = "run name") -> str:
    """`name` where it can be one component of a branch name on any file system. Raises UsageError saying why not."""
    if "/" in name:
        raise UsageError(f"{what} {name!r} holds a '/'; branches are evolve/<run>/..., so use '-' instead")
    if not _NAME.match(name) or name.endswith((".lock", ".")) or ".." in name:
        raise UsageError(f"{what} {name!r} must be letters, digits, '_', '.' or '-', at most 64, such as 'fast-sort-2'")
    return name


class Refs:
    def __init__(self, path: str | Path, *, durable: bool = True) -> None:
        self.path = str(path)
        self.durable = durable
        self._packed: dict[str, str] = {}
        self._packed_stamp: Stamp | None = None

    def read(self, name: str) -> str | None:
        """Hex id a ref stands at, or None where there is no such ref."""
        try:
            with open(os.path.join(self.path, name), encoding="ascii") as file:
                value = file.read().strip()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return self._read_packed().get(name)
        if len(value) != 40:
            raise ArchiveError(f"ref {name} in {self.path} holds {value!r}, not an object id; restore it from a copy")
        return value

    def untouched(self, name: str) -> bool:
        """Whether nobody has made this ref, nor died making it (its lock file would bar the way)."""
        return self.read(name) is None and not os.path.exists(os.path.join(self.path, name) + ".lock")

    def under(self, prefix: str) -> dict[str, str]:
        """Name -> id of every ref below `prefix` (which ends in a slash), sorted by name."""
        found = {}
        for folder, _, files in os.walk(os.path.join(self.path, prefix)):
            for file in files:
                name = os.path.relpath(os.path.join(folder, file), self.path)
                if not name.endswith(".lock") and (oid := self.read(name)):
                    found[name] = oid
        for name, oid in self._read_packed().items():  # after the loose ones: pack-refs adds here, then removes there
            if name.startswith(prefix):
                found.setdefault(name, oid)
        return dict(sorted(found.items()))

    def names(self, folder: str) -> list[str]:
        """Last components of the refs right in `folder` (which ends in a slash), sorted. One listing."""
        try:
            found = {
                entry.name for entry in os.scandir(os.path.join(self.path, folder)) if not entry.name.endswith(".lock")
            }
        except FileNotFoundError:
            found = set()
        packed = self._read_packed()
        found.update(
            name[len(folder) :] for name in packed if name.startswith(folder) and "/" not in name[len(folder) :]
        )
        return sorted(found)

    def stamp(self, name: str) -> Stamp | None:
        """Changes whenever the loose file of `name` does; None where there is none. One stat."""
        return _stamp(os.path.join(self.path, name))

    def move(self, name: str, oid: str) -> None:
        """Set a ref, creating it; on disk when this returns. Raises DiskError."""
        path = os.path.join(self.path, name)
        try:
            disk.make_directories(os.path.dirname(path), durable=self.durable)
            disk.swap_file(path, oid.encode("ascii") + b"\n", durable=self.durable)
        except OSError as error:
            raise disk.DiskError(error, path) from error

    def unlock(self, folder: str) -> None:
        """Remove the lock files below `folder` that a killed process left. For who alone moves the refs there: a lock that is
        fresh may be `git pack-refs`'s, which holds one for less than a moment, so it is looked at again once it no longer is."""
        until = time.monotonic() + 2 * FRESH
        for lock in Path(self.path, folder).rglob("*.lock"):
            with contextlib.suppress(FileNotFoundError):
                while time.time() - lock.stat().st_mtime <= FRESH and time.monotonic() < until:
                    time.sleep(FRESH / 20)
                if time.time() - lock.stat().st_mtime > FRESH:
                    lock.unlink()

    def _read_packed(self) -> dict[str, str]:
        path = os.path.join(self.path, "packed-refs")
        stamp = _stamp(path)
        if stamp != self._packed_stamp:
            found: dict[str, str] = {}
            if stamp is not None:
                with open(path, encoding="utf-8") as file:
                    for line in file:
                        if line[:1] not in ("#", "^"):
                            oid, _, name = line.rstrip("\n").partition(" ")
                            found[name] = oid
            self._packed, self._packed_stamp = found, stamp  # at once: another thread may be reading
        return self._packed


def _stamp(path: str) -> Stamp | None:
    try:
        stat = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size

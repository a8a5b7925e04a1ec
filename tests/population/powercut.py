"""What a power cut would leave, from a record of file operations (disklog.c).

The model is POSIX without favours: a file holds what it held at its last fsync, a folder has the entries it had at its
last fsync; whatever happened since may have reached the disk or not, in part, each folder and file by itself (entries
of one folder in order, as journals keep them).
"""

from __future__ import annotations

import os
import random
import struct
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

HEAD = struct.Struct("=c7xQQQQQ")


def recorder(folder: Path) -> Path:
    """The compiled recorder. Skips the test where there is no C compiler."""
    target = folder / "disklog.so"
    source = Path(__file__).with_name("disklog.c")
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl", "-lpthread"],
            check=True,
            capture_output=True,
        )
    except FileNotFoundError:
        pytest.skip("the power cut tests need a C compiler")
    return target


@dataclass(frozen=True)
class Operation:
    op: str
    ino: int
    path: str
    other: str
    offset: int
    data: bytes


def operations(log: Path) -> list[Operation]:
    out, data, at = [], log.read_bytes(), 0
    while at < len(data):
        op, ino, la, lb, offset, size = HEAD.unpack_from(data, at)
        at += HEAD.size
        path, other, content = (
            data[at : at + la],
            data[at + la : at + la + lb],
            data[at + la + lb : at + la + lb + size],
        )
        out.append(Operation(op.decode(), ino, path.decode(), other.decode(), offset, content))
        at += la + lb + size
    return out


@dataclass
class File:
    now: bytearray = field(default_factory=bytearray)
    synced: bytes = b""


@dataclass
class Folder:
    """`before`: entries on disk when recording began. `changes` since, of which the first `synced` are on disk."""

    before: dict[str, File | None] = field(default_factory=dict)
    changes: list[tuple[str, File | str | None]] = field(default_factory=list)
    synced: int = 0

    def entries(self, changes: int) -> dict[str, File | None]:
        """name -> file, or None for a folder."""
        out = dict(self.before)
        for name, what in self.changes[:changes]:
            if what == "gone":
                out.pop(name, None)
            else:
                out[name] = None if what == "folder" else what  # type: ignore[assignment]
        return out


class Disk:
    """A folder as recorded so far."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.files: dict[int, File] = {}
        self.folders: dict[str, Folder] = {}
        for folder, below, files in os.walk(root):
            made = Folder({name: None for name in below})
            for name in files:
                path = os.path.join(folder, name)
                content = Path(path).read_bytes()
                made.before[name] = self.files.setdefault(os.stat(path).st_ino, File(bytearray(content), content))
            self.folders[folder] = made

    def apply(self, o: Operation) -> None:
        if o.op == "c":
            self.files[o.ino] = File()
            self._change(o.path, self.files[o.ino])
        elif o.op == "w":
            file = self.files[o.ino].now
            file.extend(bytes(max(0, o.offset - len(file))))
            file[o.offset : o.offset + len(o.data)] = o.data
        elif o.op == "t":
            file = self.files[o.ino].now
            del file[o.offset :]
        elif o.op == "s":
            self.files[o.ino].synced = bytes(self.files[o.ino].now)
        elif o.op == "d":
            self.folders[o.path].synced = len(self.folders[o.path].changes)
        elif o.op in "rl":
            file_ = self._at(o.path)
            self._change(o.other, file_)
            if o.op == "r":
                self._change(o.path, "gone")
        elif o.op == "u":
            self._change(o.path, "gone")
        elif o.op == "m":
            self.folders[o.path] = Folder()
            self._change(o.path, "folder")

    def _at(self, path: str) -> File:
        folder, name = os.path.split(path)
        found = self.folders[folder].entries(len(self.folders[folder].changes))[name]
        assert found is not None, f"{path} is a folder: renaming those is not modelled"
        return found

    def _change(self, path: str, what: File | str) -> None:
        folder, name = os.path.split(path)
        self.folders[folder].changes.append((name, what))

    def cut(self, target: Path, kept: Callable[[Folder], int], content: Callable[[File], bytes]) -> None:
        """Write to `target` what is left when a folder keeps so many of its changes and a file has that content."""

        def lay(folder: str, place: Path) -> None:
            place.mkdir()
            for name, file in self.folders[folder].entries(kept(self.folders[folder])).items():
                if file is None:
                    lay(f"{folder}/{name}", place / name)
                else:
                    (place / name).write_bytes(content(file))

        lay(self.root, target)


def cuts(disk: Disk, rng: random.Random) -> Iterator[tuple[str, Callable[[Folder], int], Callable[[File], bytes]]]:
    """The two extremes, and one at random between."""
    yield "only what was synced", lambda folder: folder.synced, lambda file: file.synced
    yield "all names, synced contents", lambda folder: len(folder.changes), lambda file: file.synced

    def some(file: File) -> bytes:
        return rng.choice([file.synced, bytes(file.now), bytes(file.now[: rng.randint(0, len(file.now))])])

    kept: dict[int, int] = {}
    chosen: dict[int, bytes] = {}
    yield (
        "a part of each",
        lambda folder: kept.setdefault(id(folder), rng.randint(folder.synced, len(folder.changes))),
        lambda file: file.synced if bytes(file.now) == file.synced else chosen.setdefault(id(file), some(file)),
    )

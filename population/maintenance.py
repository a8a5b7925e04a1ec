"""Upkeep of an archive: packs joined geometrically with deltas, checkpoints, refs packed, a commit graph.

Run in a process of its own at the lowest priority, one at a time (a lock elects it):

    python -m evolve.population.maintenance ARCHIVE

Nothing reachable or unreachable is ever dropped: a repack takes whole packs, so an object that another process wrote a
moment ago and has not referred to yet is safe. New packs are synced before the old ones go. It may be killed anywhere.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from evolve.population import disk, place, usergit
from evolve.population.lock import Lock, held
from evolve.tasks.errors import ArchiveError, RepositoryError

FACTOR = 2
"""After a repack each pack holds at least this many times the objects of all smaller ones together."""

STALE = 3600.0
"""Seconds after which a scratch file in the pack folder has no owner any more."""

LOOSE_REFS = 64

SCRATCH = "evolve-repack-"

SIDE_FILES = (".idx", ".bitmap", ".rev", ".pack", ".keep")
"""In the order in which they go: git finds a pack by its index."""


def maintain(path: str | Path) -> bool:
    """All of it, once. Returns False where another process is at it. Raises ArchiveError, RepositoryError."""
    path = Path(path)
    try:
        lock = Lock(place.home_of(path) / "locks" / "maintenance.lock", "maintenance")
    except disk.DiskError:
        raise
    except RepositoryError:
        return False
    try:
        packs = path / "objects" / "pack"
        tidy(packs)
        repack(path)
        _checkpoints(path)
        loose = sum(len(files) for _, _, files in os.walk(path / "refs" / "evolve"))
        if loose > LOOSE_REFS:
            _unlock_stale(path)
            usergit.run(path, "pack-refs", "--all", "--prune")
        usergit.run(path, "commit-graph", "write", "--reachable", "--split", "--no-progress", ok=(0, 1))
    finally:
        lock.close()
    return True


def tidy(packs: Path) -> None:
    """Let go of what dead processes left: scratch files, and `.keep` marks on fresh packs that nobody will join."""
    for entry in list(os.scandir(packs)):
        try:
            if _left_over(Path(entry.path)):
                disk.unlink([entry.path])
        except FileNotFoundError:
            continue
    for scratch in packs.parent.glob(f"{SCRATCH}*"):
        shutil.rmtree(scratch, ignore_errors=True)


def _left_over(file: Path) -> bool:
    if file.suffix == ".keep":
        return _abandoned(file.read_text("utf-8", "replace"))
    return file.name.startswith("tmp_") and time.time() - file.stat().st_mtime > STALE


def _abandoned(label: str) -> bool:
    words = label.split()
    if words[:2] != ["evolve", "fresh"] or len(words) != 4 or words[2] != socket.gethostname():
        return False
    try:
        os.kill(int(words[3]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def loose_packs(packs: Path) -> list[tuple[int, str]]:
    """(objects, stem) of each pack that a repack may take, smallest first."""
    found = []
    for index in packs.glob("pack-*.idx"):
        stem = str(index.with_suffix(""))
        if not any(os.path.exists(stem + mark) for mark in (".keep", ".promisor", ".mtimes")):
            try:
                with open(index, "rb") as file:
                    head = file.read(8 + 1024)
                shared = os.stat(stem + ".pack").st_nlink > 1  # with the user's repository: joining it would copy it
            except FileNotFoundError:
                continue
            if head[:8] == b"\377tOc\0\0\0\2" and not shared:
                found.append((struct.unpack_from(">I", head, 8 + 255 * 4)[0], stem))
    return sorted(found)


def geometric(counts: Sequence[int]) -> int:
    """How many of the packs, smallest first, to join so that the rest is a geometric progression (git-repack(1))."""
    split = 0
    for at in range(len(counts) - 1, 0, -1):
        if counts[at] < FACTOR * counts[at - 1]:
            split = at + 1
            break
    total = sum(counts[:split])
    while 0 < split < len(counts) and counts[split] < FACTOR * total:
        total += counts[split]
        split += 1
    return split if split > 1 else 0


def repack(path: Path) -> int:
    """Join small packs into one with deltas; returns how many were joined."""
    folder = path / "objects" / "pack"
    packs = loose_packs(folder)
    take = geometric([count for count, _ in packs])
    if not take:
        return 0
    stems = [stem for _, stem in packs[:take]]
    scratch = path / "objects" / f"{SCRATCH}{os.getpid()}"
    try:
        scratch.mkdir()
        done = subprocess.run(
            ["git", "-C", str(path), "-c", "pack.writeBitmaps=false", "-c", "pack.window=5", "pack-objects",
             "--stdin-packs", "--quiet", "--delta-base-offset", "--threads=1", str(scratch / "pack")],
            input="".join(f"{os.path.basename(stem)}.pack\n" for stem in stems),
            env=usergit.environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ArchiveError(f"git pack-objects in {path} failed: {done.stderr.strip()}")
        new = _adopt(scratch, folder)
        for stem in stems:
            if os.path.basename(stem) != new:
                disk.unlink(stem + suffix for suffix in SIDE_FILES)
    except OSError as error:
        raise disk.DiskError(error, scratch) from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return take


def _adopt(scratch: Path, folder: Path) -> str:
    """Move the finished pack into place, index last, everything synced first. Returns its name without suffix."""
    files = sorted(scratch.iterdir(), key=lambda file: file.suffix == ".idx")
    for file in files:
        fd = os.open(file, os.O_RDONLY)
        try:
            disk.sync(fd)
        finally:
            os.close(fd)
    for file in files:
        disk.replace(str(file), str(folder / file.name))
    disk.sync_directory(str(folder))
    return files[-1].stem


def _unlock_stale(path: Path) -> None:
    """Remove lock files that the dead left: a killed writer's on its own log, a killed `git pack-refs`'s on any ref."""
    locks, now = place.home_of(path) / "locks" / "logs", time.time()
    for lock in [*path.glob("*.lock"), *(path / "refs").rglob("*.lock")]:
        run, _, log = lock.with_suffix("").relative_to(path).as_posix().removeprefix("refs/evolve/").partition("/log/")
        dead = log != "" and not held(locks / run / log)
        try:
            if dead or now - lock.stat().st_mtime > STALE:
                lock.unlink()
        except FileNotFoundError:
            continue


def _checkpoints(path: Path) -> None:
    from evolve.population import replay
    from evolve.population.archive import Archive

    with Archive(path) as archive:
        for run in archive.runs():
            if replay.is_due(archive, run):
                archive.state(run)  # which keeps one


def start(path: Path) -> subprocess.Popen[bytes]:
    """`maintain` in a process of its own, at the lowest priority, not waited for."""
    return subprocess.Popen(
        ["nice", "-n", "19", sys.executable, "-P", "-m", "evolve.population.maintenance", str(path)],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


if __name__ == "__main__":
    maintain(sys.argv[1])

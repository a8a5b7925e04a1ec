"""A process that writes events and dies, or has its operations recorded: run by test_archive_crash.py.

    python crash_writer.py WHERE ACKS POINT COUNT EVENTS [KEY=VALUE ...]

Every acknowledged event's commit goes to ACKS, one a line, at once. POINT names where to kill the process the COUNT-th
time it gets there ("none": nowhere).
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from evolve.population import disk, flush
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.refs import Refs
from evolve.tasks.evidence import Artifact


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def arm(point: str, count: int) -> None:
    """Replace one step of the write path by one that dies, at the given visit."""
    left = [count]

    def here(matches: bool = True) -> bool:
        left[0] -= matches
        return matches and left[0] == 0

    write, replace, move, tell = disk.write_all, disk.replace, Refs.move, flush.GroupCommit._tell

    def torn_write(fd: int, data: bytes) -> None:
        if here("tmp_pack" in os.readlink(f"/proc/self/fd/{fd}")):
            os.write(fd, data[: len(data) // 2])
            die()
        write(fd, data)

    def before_move(self: Refs, name: str, oid: str) -> None:
        if here():
            die()
        move(self, name, oid)

    def in_move(source: str, target: str) -> None:
        if here("/refs/" in target):
            die()
        replace(source, target)

    def after_move(source: str, target: str) -> None:
        replace(source, target)
        if here("/refs/" in target):
            die()

    def before_tell(*arguments: Any) -> None:
        if here():
            die()
        tell(*arguments)

    steps: dict[str, Callable[[], None]] = {
        "none": lambda: None,
        "pack": lambda: setattr(disk, "write_all", torn_write),
        "before-ref": lambda: setattr(Refs, "move", before_move),
        "in-ref": lambda: setattr(disk, "replace", in_move),
        "after-ref": lambda: setattr(disk, "replace", after_move),
        "before-ack": lambda: setattr(flush.GroupCommit, "_tell", staticmethod(before_tell)),
    }
    steps[point]()


def ref_first() -> None:
    """The order that must not be: the ref moves before the objects it reaches are on disk."""

    def commit(self: flush.GroupCommit) -> None:
        with self._committing:
            waiters, self._waiters = self._waiters, []
            with self.store.lock:
                ids = self.store.take()
                moves = [(log, log.tip) for log in self.logs if log.tip != log.durable]
            for log, tip in moves:
                self.refs.move(log.ref, tip)
                log.durable = tip
            self.store.write(ids)
            self._tell(waiters, None)

    flush.GroupCommit._commit = commit  # type: ignore[method-assign]


async def write(where: str, acks: str, events: int, *, durable: bool, maintain: bool, fold: int) -> None:
    archive = Archive.open(where, durable=durable)
    archive.store._fold_packs = archive.store._fold_at = fold
    writer = archive.writer("r", exclusive=True)
    base = next(iter(archive.state("r").candidates))
    out = os.open(acks, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def one(worker: int) -> None:
        for k in range(events // 4):
            number = 1 + worker * 100_000 + k
            tree = archive.store.edit(base, {"train.py": b"rate = %d\n" % number})
            commit = archive.store.commit(tree, [base], f"change {number}\n", writer.now())
            born = writer.append(ev.Born(number, "t", commit, tree, (base,), number))
            noted = writer.append(ev.Directive("x" * worker), [Artifact("log", f"log of {number}\n" * 20)])
            await writer.durable()
            os.write(out, f"{born.oid}\n{noted.oid}\n".encode())
            if maintain and worker == 0 and k % 5 == 4:
                await asyncio.to_thread(archive.maintain)

    await asyncio.gather(*(one(worker) for worker in range(4)))
    writer.close()
    archive.close()


if __name__ == "__main__":
    where, acks, point, count, events, *rest = sys.argv[1:]
    options = dict(item.split("=") for item in rest)
    arm(point, int(count))
    if options.get("order") == "ref-first":
        ref_first()
    asyncio.run(
        write(
            where, acks, int(events), durable=options.get("durable") != "no",
            maintain=options.get("maintain") == "yes", fold=int(options.get("fold", "128")),
        )
    )  # fmt: skip

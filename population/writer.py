"""The only writer of events: one log ref per process, appended in memory, made durable in groups."""

from __future__ import annotations

import dataclasses
import itertools
import os
import re
import socket
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.population import events as ev
from evolve.population.flush import Log
from evolve.population.lock import Lock, held
from evolve.population.objects import EMPTY_TREE, MODE_FILE
from evolve.population.redact import redact, redact_json, suspect
from evolve.population.refs import Stamp, check_name
from evolve.tasks.errors import ArchiveError, RepositoryError, SchemaError
from evolve.tasks.evidence import Artifact, bounded
from evolve.tasks.records import from_json, to_json

if TYPE_CHECKING:
    from evolve.population.archive import Archive

ARTIFACT_CAP = 1 << 20
RUN_CAP = 2 << 30
"""Bytes kept of one artifact, and of all artifacts of a run together; beyond, only `SPENT_CAP` of each."""

SPENT_CAP = 512

FIXED_EPOCH = 1_700_000_000
"""Date of everything under `fixed_dates`, plus the clock in seconds: commit ids then depend on content alone."""


class Writer:
    """Appends to its own log of a run; reads what others append to theirs (`poll`).

    Not for several threads: append, poll and close belong to one.
    """

    def __init__(
        self,
        archive: Archive,
        run: str,
        *,
        exclusive: bool = False,
        name: str = "",
        fixed_dates: bool = False,
        artifact_cap: int = ARTIFACT_CAP,
        run_cap: int = RUN_CAP,
    ) -> None:
        """Use `Archive.writer`. Raises RepositoryError where `exclusive` and a live process runs this run already,
        SchemaError where the run holds what this version must not write beside."""
        self.run = run
        self._archive = archive
        self._store = archive.store
        self._fixed = fixed_dates
        self._caps = artifact_cap, run_cap
        self._lock: Lock | None = None
        if exclusive:
            self._lock = Lock(archive.home / "locks" / f"{run}.lock", f"run {run!r}")
            archive.refs.unlock(f"refs/heads/evolve/{run}/")  # a killed runner's; nobody else moves these
        try:
            tips = archive.tips(run)
            heads = {log: _head(archive, log, tip) for log, tip in tips.items()}
            self.name, self._alive = self._claim(check_name(name, "writer name") if name else _host(), set(tips))
        except BaseException:
            if self._lock:
                self._lock.close()
            raise
        self._log = Log(archive.log_ref(run, self.name))
        self._earlier = tuple(dict.fromkeys(tips.values()))
        self._position = 0
        self._clock = max((head.clock for head in heads.values()), default=0)
        self._kept_before = sum(head.kept for head in heads.values())
        self._kept = 0
        self._seen: dict[str, tuple[Stamp | None, str, int]] = {
            log: (archive.refs.stamp(archive.log_ref(run, log)), tips[log], head.position + 1)
            for log, head in heads.items()
        }
        archive.group.attach(self._log)

    def _claim(self, name: str, taken: set[str]) -> tuple[str, Lock]:
        """A log name nobody has or had, and a lock that says its owner lives."""
        folder = self._archive.home / "locks" / "logs" / self.run
        for number in itertools.count(1):
            log = f"{name}-{number}"
            path = folder / log
            if log in taken or held(path):
                continue
            try:
                lock = Lock(path, f"log {log!r}")
            except RepositoryError as error:
                if isinstance(error, ArchiveError):
                    raise
                continue
            if self._archive.refs.untouched(self._archive.log_ref(self.run, log)):
                return log, lock
            lock.close()
        raise AssertionError("unreachable")

    # ---- writing -------------------------------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds since the epoch for a commit made now; under `fixed_dates` a function of the log alone."""
        return float(FIXED_EPOCH + self._clock) if self._fixed else time.time()

    def append(self, event: ev.Event, artifacts: Sequence[Artifact] = ()) -> ev.Recorded:
        """Record an event, in memory and at once; `durable` says when it is on disk.

        An artifact beyond its cap keeps head and tail, the cut stated in it and in the event; known keys are redacted.
        Artifacts inside a measured event's evidence become artifacts of the event. Raises ArchiveError where the event
        speaks of a commit the archive does not hold.
        """
        if isinstance(event, ev.Measured) and event.evidence.artifacts:
            artifacts = (*artifacts, *(kept for kept in event.evidence.artifacts if kept not in artifacts))
            event = dataclasses.replace(event, evidence=dataclasses.replace(event.evidence, artifacts=()))
        tree, sizes = self._keep(artifacts) if artifacts else (EMPTY_TREE, {})
        clock, when = self._clock + 1, round(self.now(), 3)
        text = ev.encode(event, clock, position=self._position, time=when, artifacts=sizes, kept=self._kept)
        if suspect(text) and (clean := redact_json(to_json(event))) != to_json(event):
            event = from_json(type(event), clean)
            text = ev.encode(event, clock, position=self._position, time=when, artifacts=sizes, kept=self._kept)
        parents = tuple(dict.fromkeys(((self._log.tip,) if self._log.tip else self._earlier) + event.speaks_of()))
        with self._store.lock:
            oid = self._store.commit(tree, parents, text, when)
            self._log.tip = oid
        recorded = ev.Recorded(event, self.name, self._position, clock, when, oid, tuple(sizes))
        self._clock, self._position = clock, self._position + 1
        return recorded

    def _keep(self, artifacts: Iterable[Artifact]) -> tuple[str, dict[str, tuple[int, int]]]:
        """Tree of the artifacts' blobs, and name -> (bytes kept, bytes cut)."""
        cap, run_cap = self._caps
        items, sizes = {}, dict[str, tuple[int, int]]()
        for artifact in artifacts:
            name = _distinct(file_name(artifact.name), sizes)
            left = run_cap - self._kept_before - self._kept
            kept = bounded(name, redact(artifact.data), max(min(cap, left), min(cap, SPENT_CAP)))
            data = kept.data.encode("utf-8", "replace")
            items[name.encode()] = (MODE_FILE, bytes.fromhex(self._store.blob(data)))
            sizes[name] = (len(data), artifact.cut + kept.cut)
            self._kept += len(data)
        return self._store.tree(items), sizes

    async def durable(self) -> None:
        """Returns when every event appended and every object made so far is on disk and the log's ref moved.

        Raises DiskError (an ArchiveError with errno and path) where the disk said no: all of it stays pending, and the
        next call goes on.
        """
        await self._archive.group.durable()

    def flush(self) -> None:
        """`durable`, blocking."""
        self._archive.group.flush()

    # ---- what others write ---------------------------------------------------------------------------------------

    def poll(self) -> list[ev.Recorded]:
        """Events that other writers of the run recorded since the last call (the first: since this writer was opened),
        ordered by (clock, log). Costs a look at one folder and one stat a log when there are none."""
        found: list[ev.Recorded] = []
        for log in self._archive.log_names(self.run):
            if log == self.name:
                continue
            ref = self._archive.log_ref(self.run, log)
            stamp, tip, have = self._seen.get(log, (None, "", 0))
            now = self._archive.refs.stamp(ref)
            if log in self._seen and now == stamp:
                continue
            oid = self._archive.refs.read(ref) or tip
            if oid != tip:
                new = self._archive.read_log(log, oid, have)
                found += new
                have += len(new)
            self._seen[log] = (now, oid, have)
        found.sort(key=lambda recorded: (recorded.clock, recorded.log))
        if found:
            self._clock = max(self._clock, found[-1].clock)
        return found

    def close(self) -> None:
        """Flush and give the locks back. Raises DiskError; the locks are given back all the same."""
        if self._log not in self._archive.group.logs:
            return
        try:
            self._archive.group.flush()
        finally:
            self._archive.group.detach(self._log)
            self._alive.close()
            if self._lock:
                self._lock.close()

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _head(archive: Archive, log: str, tip: str) -> ev.Message:
    """The last message of a log. Raises SchemaError where anything in it forbids writing: only a log whose last writer
    had a newer schema can hold such a thing, so only such a log is read through."""
    head = ev.read(archive.store.message_of(tip))
    if head.schema > ev.SCHEMA:
        for recorded in archive.read_log(log, tip, 0):
            if isinstance(recorded.event, ev.Unknown) and recorded.event.why:
                raise SchemaError(f"{archive.path}: {recorded.event.why}; it can still be read")
    return head


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", socket.gethostname().split(".")[0]).strip("-")[:32] or "host"


def file_name(name: str) -> str:
    """An artifact's name as one file name: what a tree cannot hold becomes '_'."""
    clean = re.sub(r"[^A-Za-z0-9._+=@-]", "_", name)[:120].strip(".") or "artifact"
    return f"_{clean}" if clean.lower() in ("git", "git_1") else clean


def _distinct(name: str, taken: Iterable[str]) -> str:
    if name not in taken:
        return name
    stem, dot, suffix = name.partition(".")
    return next(new for k in itertools.count(2) if (new := f"{stem}-{k}{dot}{suffix}") not in taken)


def alive(locks: Path, run: str, log: str) -> bool:
    """Whether the process that writes a log is still there (on this machine)."""
    return held(os.path.join(locks, "logs", run, log))

"""The archive: what every run tried and found, in a bare git repository of its own.

    refs/evolve/<run>/log/<writer>-<n>    one chain of event commits per writing process

An event's commit has its log's previous event as first parent, then the commits it speaks of; its message is the event
(population/events.py), its tree holds the artifacts. So one ref gives order, reachability and results.
"""

from __future__ import annotations

import heapq
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from functools import partial
from itertools import starmap
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolve.population import events as ev
from evolve.population import frames, maintenance, objects, place, replay
from evolve.population import publish as publishing
from evolve.population.flush import GroupCommit
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.population.refs import Refs, check_name
from evolve.population.writer import Writer, file_name
from evolve.tasks.errors import ArchiveError, RepositoryError, UsageError

if TYPE_CHECKING:
    import networkx
    import pandas

ROOT = "refs/evolve/"

SOME_PACKS = 16
MOST_PACKS = 256
MAINTAIN_EVERY = 60.0
"""Maintenance starts at `SOME_PACKS` packs if the last began this many seconds ago, at `MOST_PACKS` in any case."""

WALKED = 40_000
"""Commits of a log whose content is kept between finding them (newest first) and reading them (oldest first)."""

Chain = list[tuple[str, bytes]]
"""Commits of a log, oldest first: id, and content (empty where it must be read again)."""

MAINTENANCE_GRACE = 3.0
"""Seconds that closing waits for it."""


class Archive:
    """One archive, open. Reading never locks; writing goes through `writer`.

    path: the bare repository. home: the folder of its locks and caches on this machine. store: its objects.
    """

    def __init__(self, path: str | Path, *, durable: bool = True) -> None:
        self.path = Path(path)
        self.home = place.home_of(self.path)
        self.store = Store(self.path, durable=durable)
        self.refs = Refs(self.path, durable=durable)
        self.group = GroupCommit(self.store, self.refs, after_fold=self._upkeep)
        self._maintenance: subprocess.Popen[bytes] | None = None
        self._maintained = time.monotonic()

    @classmethod
    def open(cls, where: str | Path = ".", *, create: bool = False, task: str = "", durable: bool = True) -> Archive:
        """The archive at, or of the repository around, `where`; `create` makes one where there is none.

        task: name of a bundled task, for an archive outside any repository (`./evolve-<task>/`). durable: False skips
        every fsync (tests). Raises ArchiveError where there is none, SchemaError for a newer format.
        """
        found = place.find(where, task)
        if found is None and create:
            found = place.create(where, task)
        if found is None:
            raise ArchiveError(f"no archive at {where}; 'evolve run' makes one in a git repository")
        return cls(found, durable=durable)

    def close(self) -> None:
        """Write what is pending and let go. Raises DiskError."""
        try:
            self.group.close()
            self.store.close()
        finally:
            self._end_maintenance()

    def _upkeep(self) -> None:
        """Called by the thread that writes, now and then: starts maintenance in a process of its own when it is due."""
        if self._maintenance is not None:
            if self._maintenance.poll() is None:
                return
            self._maintenance = None
            self.store.reopen()  # lets go of packs that were joined
        packs = len(maintenance.loose_packs(self.path / "objects" / "pack"))
        since = time.monotonic() - self._maintained
        if packs >= MOST_PACKS or (packs >= SOME_PACKS and since >= MAINTAIN_EVERY):
            self._maintained = time.monotonic()
            self._maintenance = maintenance.start(self.path)

    def _end_maintenance(self) -> None:
        running, self._maintenance = self._maintenance, None
        if running is None:
            return
        try:
            running.wait(MAINTENANCE_GRACE)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGTERM)  # safe anywhere; the next one takes it up
            running.wait()

    def maintain(self) -> bool:
        """Maintenance now, in this process; False where another process is at it. Raises ArchiveError."""
        self.group.flush()
        self.store.fold()
        done = maintenance.maintain(self.path)
        self.store.reopen()
        return done

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- runs and logs -------------------------------------------------------------------------------------------

    def runs(self) -> list[str]:
        """Names of the runs, sorted."""
        return sorted({name.split("/")[2] for name in self.refs.under(ROOT) if name.split("/")[3:4] == ["log"]})

    def log_ref(self, run: str, log: str) -> str:
        return f"{ROOT}{run}/log/{log}"

    def tips(self, run: str) -> dict[str, str]:
        """Log name -> commit of its last event on disk."""
        prefix = f"{ROOT}{run}/log/"
        return {name.removeprefix(prefix): oid for name, oid in self.refs.under(prefix).items()}

    def heads(self, run: str) -> dict[str, str]:
        """Log name -> commit of its last event, on disk or appended by this process."""
        return self.tips(run) | {log.ref.rpartition("/")[2]: log.tip for log in self.group.logs_of(f"{ROOT}{run}/log/")}

    def log_names(self, run: str) -> list[str]:
        return self.refs.names(f"{ROOT}{run}/log/")

    def writer(self, run: str, *, exclusive: bool = False, **options: Any) -> Writer:
        """A log of one's own in a run, new or not. Options: `Writer`.

        exclusive: as the one runner of the run. Raises RepositoryError naming the process that already is, or a run
        whose name differs only in case; UsageError for a name that cannot be part of a branch's; SchemaError where a
        newer version wrote what this one does not know.
        """
        check_name(run)
        for other in self.runs():
            if other != run and other.casefold() == run.casefold():
                raise RepositoryError(f"run {run!r} differs from run {other!r} only in case; choose another name")
        return Writer(self, run, exclusive=exclusive, **options)

    # ---- events --------------------------------------------------------------------------------------------------

    def events(self, run: str = "", after: Mapping[str, int] | None = None) -> Iterator[ev.Recorded]:
        """Events of a run ordered by (Lamport clock, log name); `after`: log -> number of its events to leave out.

        Those on disk and those this process appended. What this version does not know comes as `Unknown`. Raises
        ArchiveError for a run there is none of.
        """
        run = self.only(run)
        heads = self.heads(run)
        if not heads:
            known = ", ".join(self.runs()) or "none"
            raise ArchiveError(f"{self.path} has no run {run!r}; it has: {known}")
        after = after or {}
        return self.merged({log: self.chain(tip, after.get(log, 0))[0] for log, tip in heads.items()})

    def merged(self, chains: Mapping[str, Chain]) -> Iterator[ev.Recorded]:
        """Events of several logs' commits (each oldest first), in the one order all readers see."""
        logs = [starmap(partial(self._read, log), chain) for log, chain in chains.items()]
        return heapq.merge(*logs, key=attrgetter("clock", "log"))

    def read_log(self, log: str, tip: str, after: int) -> list[ev.Recorded]:
        """Events of one log up to commit `tip`, oldest first, without its first `after`."""
        return [self._read(log, oid, data) for oid, data in self.chain(tip, after)[0]]

    def chain(self, tip: str, after: int) -> tuple[Chain, str]:
        """Commits of a log's events from number `after` on, oldest first, and the id of the one before them.

        That is "" where there is none, or where the log is shorter than `after`. Parents point backwards, so the walk
        reads every commit; the content of the last `WALKED` is kept for whoever reads the events next.
        """
        count = ev.position(self.store.message_of(tip)) + 1 - after
        if count < 0:
            return [], ""
        oid, chain = tip, []
        for step in range(count):
            data = self.store.read(oid)
            chain.append((oid, data if step < WALKED else b""))
            oid = objects.first_parent(data)
        chain.reverse()
        return chain, oid if after else ""

    def state(self, run: str) -> RunState:
        """Everything the run's events say; an empty state for a run there is none of.

        From the newest usable checkpoint and the events since, so the time is bounded (population/replay.py).
        """
        return replay.state(self, run)

    def save(self, state: RunState) -> None:
        """Keep a state so that the next opening is quick. What it holds is made durable first. Raises DiskError."""
        replay.save(self, state.run, state)

    def keep(self, state: RunState) -> None:
        """`save` a state that its owner lets go of, if much happened since the last checkpoint and the disk has room."""
        replay.keep(self, state.run, state)

    def recorded(self, oid: str, log: str = "") -> ev.Recorded:
        """The event of one log commit, in its place; `log` is not written in it."""
        return self._read(log, oid, b"")

    def _read(self, log: str, oid: str, data: bytes) -> ev.Recorded:
        commit = objects.parse_commit(data or self.store.read(oid))
        found = ev.read(commit.message)
        when = found.time or float(commit.time)
        return ev.Recorded(found.event, log, found.position, found.clock, when, oid, tuple(found.artifacts))

    def event(self, oid: str) -> ev.Event:
        """The event of one log commit."""
        return ev.read(self.store.message_of(oid)).event

    def artifact(self, event: str, name: str) -> bytes | None:
        """Bytes of an artifact of the event whose commit is `event`; None where it has none of that name."""
        return self.store.file(event, file_name(name))

    # ---- for notebooks -------------------------------------------------------------------------------------------

    def candidates(self, run: str = "") -> pandas.DataFrame:
        """One row a candidate; columns: `evolve.population.frames.candidates`. `run`: "" where there is only one."""
        return frames.candidates(self.state(self.only(run)))

    def lineage(self, run: str = "") -> networkx.DiGraph:
        """Parent -> child over candidates; see `evolve.population.frames.lineage`."""
        return frames.lineage(self.state(self.only(run)))

    def only(self, run: str = "") -> str:
        """`run`, or the archive's only one. Raises UsageError where there are several or none."""
        if run:
            return run
        runs = self.runs()
        if len(runs) != 1:
            raise UsageError(f"{self.path} holds {len(runs)} runs ({', '.join(runs) or 'none'}); say which")
        return runs[0]

    # ---- branches ------------------------------------------------------------------------------------------------

    def publish(self, state: RunState, prefix: str = publishing.PREFIX) -> publishing.Published:
        """Bring `evolve/<run>/{best,winner,<island>}` up to date; see `evolve.population.publish`."""
        return publishing.publish(self, state, prefix)

    def check_room(self, run: str, prefix: str = publishing.PREFIX) -> None:
        """Raises RepositoryError where a branch of the user's is in the way of the run's."""
        publishing.check_room(self, run, prefix)

    def resolve(self, name: str) -> str:
        """Full id of the commit that `name` (an id, short or full, `evolve/<run>/best`, `...~2`) means in the archive.

        Raises UsageError where it means none.
        """
        if self.store.holds_commit(name):
            return name
        found = place.resolve(self.path, name)
        if found is None:
            raise UsageError(f"{self.path} knows no commit {name!r}")
        return found

    def has(self, name: str) -> bool:
        """Whether `resolve` finds it."""
        return self.store.holds_commit(name) or place.resolve(self.path, name) is not None

    # ---- commits from elsewhere ----------------------------------------------------------------------------------

    def import_commit(self, repository: str | Path, commit: str) -> str:
        """Have a commit of another repository here, with all it needs; returns its full id.

        `commit` is anything git names a commit by, in that repository. It stays once an event speaks of it. Raises
        UsageError for one that repository does not know, RepositoryError where it cannot be taken whole.
        """
        oid = place.resolve(repository, commit)
        if oid is None:
            raise UsageError(f"{repository} knows no commit {commit!r}")
        if not self.store.exists(oid) or not place.is_whole(self.path, oid):
            place.fetch_commit(self.path, repository, oid)
            self.store.reopen()
        return oid

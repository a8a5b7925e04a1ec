"""Runs as the server holds them: folded once, followed live, read by many."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

from evolve.errors import UsageError
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.checkpoint import due, events_in
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.tasks.task import Task
from evolve.web import kept
from evolve.web.index import Index, headline, subject

POLL = 0.25
"""Seconds between two looks at the logs' refs."""

PATIENCE = 3.0
"""Seconds that closing waits for each thread of a run."""

CHUNK = 100
"""Events indexed at a time; the lock is held for 10 to 25 ms."""

Batch = dict[str, Any]


class Live:
    """One run: its state, its index, and who wants to hear of changes.

    lock guards everything below it. version counts batches; place: commit -> position in `order`.
    """

    def __init__(self, path: Path, run: str) -> None:
        self.path, self.run = path, run
        self.lock = threading.RLock()
        self.version = 0
        self.state = RunState()
        self.index = Index()
        self.indexed = False
        self.failed = ""
        self.order: list[Candidate] = []
        self.place: dict[str, int] = {}
        self.tasks: dict[str, Task] = {}
        self._listeners: list[Callable[[Batch], None]] = []
        self._ended = threading.Event()
        self._archive = Archive(path)
        self._heads: Mapping[str, str] = {}
        self._behind: Iterator[ev.Recorded] = iter(())
        self._kept = 0
        self._follow()
        self._size_of = sizes(self._archive.store, self.tasks)
        self._threads = [
            threading.Thread(target=self._work, args=(work,), name=f"{work.__name__} {run}", daemon=True)
            for work in (self._polling, self._indexing)
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(PATIENCE)
        if not any(thread.is_alive() for thread in self._threads):  # else one reads a long log, and ends with the process
            self._archive.close()

    # ---- following -----------------------------------------------------------------------------------------------

    def _follow(self) -> None:
        state = self._archive.state(self.run)
        heads = self._archive.heads(self.run)
        with self.lock:
            self.state, self._heads = state, heads
            self._extend()
            opened = state.lineage.opened
            for name, task in (opened.tasks if opened else {}).items():
                self.tasks[name] = Task.parse(task.source, where=f"task {name}")

    def _extend(self) -> None:
        known = self.state.candidates
        if len(known) > len(self.order):
            for candidate in list(known.values())[len(self.order) :]:
                self.place[candidate.commit] = len(self.order)
                self.order.append(candidate)

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:
            self.failed = f"following the run ended: {error}"
            raise

    def _polling(self) -> None:
        while not self._ended.wait(POLL):
            self._poll()
            self._keep()

    def _indexing(self) -> None:
        self._take_up()
        while not self._ended.is_set() and self._index_some():
            pass

    def _take_up(self) -> None:
        """Begin the index where it was kept, if it was."""
        found = kept.read(self._archive, self.run) or Index()
        self._kept = events_in(found.seen)
        behind = self._archive.events(self.run, after=found.seen) if self._heads else iter(())
        with self.lock:
            self.index, self._behind = found, behind

    def _keep(self) -> None:
        """Keep the index where enough came since it was kept last. Once it is whole, only this thread changes it."""
        if self.indexed and due(self._kept, count := events_in(self.index.seen)):
            kept.write(self._archive, self.run, self.index)
            self._kept = count

    def _poll(self) -> None:
        heads = self._archive.heads(self.run)
        if heads == self._heads:
            return
        fresh = list(self._archive.events(self.run, after=self.state.seen))
        with self.lock:
            for recorded in fresh:
                self.state.apply(recorded)
                if isinstance(recorded.event, ev.Rescored):
                    name = recorded.event.task
                    self.tasks[name] = Task.parse(recorded.event.opened.source, where=f"task {name}")
            self._extend()
            if self.indexed:
                for recorded in fresh:
                    self.index.apply(recorded, self._size_of)
            self._heads = heads
            self.version += 1
            batch = self.batch(fresh)
            listeners = list(self._listeners)
        for listener in listeners:
            listener(batch)

    def _index_some(self) -> bool:
        """Index a chunk; False once there is nothing left to index."""
        chunk = list(islice(self._behind, CHUNK))
        with self.lock:
            for recorded in chunk:
                self.index.apply(recorded, self._size_of)
        if chunk:
            return True
        if events_in(self.state.seen) - events_in(self.index.seen) > CHUNK:
            self._behind = self._archive.events(self.run, after=self.index.seen)
            return True
        with self.lock:  # so that what is polled from here on finds it whole
            for recorded in self._archive.events(self.run, after=self.index.seen) if self._heads else ():
                if recorded.position < self.state.seen.get(recorded.log, 0):
                    self.index.apply(recorded, self._size_of)
            self.indexed = True
        return False

    # ---- telling -------------------------------------------------------------------------------------------------

    def listen(self, listener: Callable[[Batch], None]) -> Callable[[], None]:
        """Be called, from another thread, with every later batch; returns what ends it."""
        with self.lock:
            self._listeners.append(listener)

        def forget() -> None:
            with self.lock:
                if listener in self._listeners:
                    self._listeners.remove(listener)

        return forget

    def since(self, seen: Mapping[str, int]) -> Batch | None:
        """What happened after `seen`; None where that is nothing or not known here."""
        with self.lock:
            if dict(seen) == self.state.seen or not set(seen) <= set(self.state.seen):
                return None
            archive = Archive(self.path)
            try:
                return self.batch(list(archive.events(self.run, after=seen)))
            finally:
                archive.close()

    def batch(self, fresh: list[ev.Recorded]) -> Batch:
        """Rows of the candidates that events touched, and one line for each event that is news."""
        from evolve.web.columns import row

        touched: dict[str, None] = {}
        feed = []
        for recorded in fresh:
            event = recorded.event
            for commit in _touches(event):
                touched[commit] = None
            if isinstance(event, ev.Rescored):
                touched |= {c.commit: None for c in self.order if c.task == event.task}
            if isinstance(event, ev.Quarantined):
                doubts = self.state.lineage.doubts
                touched |= {c: None for c, doubt in doubts.items() if doubt.cause == event.candidate}
            if line := headline(event):
                entry: dict[str, Any] = {"kind": event.kind, "time": round(recorded.time, 3), "text": line}
                about = subject(event).get("candidate")
                if about in self.place:
                    entry |= {"number": self.order[self.place[about]].number}
                feed.append(entry)
        with_parents = {p: None for c in touched if c in self.place for p in self.state.candidates[c].parents}
        places = sorted(self.place[c] for c in {**touched, **with_parents} if c in self.place)
        return {
            "seen": dict(self.state.seen),
            "version": self.version,
            "n": len(self.order),
            "rows": [row(self, i) for i in places],
            "feed": feed[-50:],
            "sent": round(time.time(), 3),
        }


def sizes(store: Store, tasks: Mapping[str, Task]) -> Callable[[str, str], int]:
    """What `Cells` asks: (task, tree) -> bytes of its editable files."""

    @lru_cache(maxsize=4096)
    def blob(oid: str) -> int:
        return len(store.read(oid))

    def size_of(task: str, tree: str) -> int:
        return sum(blob(e.oid) for e in store.entries(tree) if e.regular and tasks[task].may_edit(e.path))

    return size_of


def _touches(event: ev.Event) -> tuple[str, ...]:
    found = [getattr(event, "candidate", "")]
    if isinstance(event, ev.Promoted):
        found.append(event.over)
    return tuple(commit for commit in found if commit)


class Runs:
    """The runs of one archive, each opened when somebody first looks."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.archive = Archive(path)
        self.reading = threading.RLock()
        """Held while `archive` (its object store) is read: it is not safe for several threads."""
        self._live: dict[str, Live] = {}
        self._opening = threading.Lock()

    def names(self) -> list[str]:
        with self.reading:
            return self.archive.runs()

    def begin(self, run: str) -> None:
        """Open a run that is there in a thread of its own; who asks for it meanwhile waits for that."""
        threading.Thread(target=self.get, args=(run,), name=f"open {run}", daemon=True).start()

    def get(self, run: str) -> Live:
        """Raises UsageError for a run there is none of."""
        with self._opening:
            if run not in self._live:
                names = self.names()
                if run not in names:
                    raise UsageError(f"no run {run!r}; there are: {', '.join(names) or 'none'}")
                self._live[run] = Live(self.path, run)
            return self._live[run]

    def close(self) -> None:
        with self._opening:
            for live in self._live.values():
                live.close()
        self.archive.close()

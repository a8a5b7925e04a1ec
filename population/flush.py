"""Group commit: what many waiting writers made goes to disk in one pack, then the refs move, then all are told.

The order is the whole point. Objects synced, then the ref that reaches them synced, then the acknowledgement: at any
power cut every acknowledged event is reachable and every ref leads to whole objects.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from evolve.population.git import Store
from evolve.population.refs import Refs
from evolve.tasks.errors import ArchiveError

GATHER = 0.002
"""Seconds to wait for more writers when the last group had more than one; a lone writer never waits."""

IDLE = 1.0
"""Seconds after which what nobody waits for is written too."""


@dataclass(slots=True, eq=False)
class Log:
    """One log ref: `tip` is where it should stand, `durable` where it stands on disk. Written under `Store.lock`."""

    ref: str
    tip: str = ""
    durable: str = ""


Waiter = tuple[asyncio.AbstractEventLoop, "asyncio.Future[None]"]


class GroupCommit:
    """Moves logs after their objects, for all writers of one store in this process."""

    def __init__(self, store: Store, refs: Refs, after_fold: Callable[[], None]) -> None:
        """after_fold: called in the writing thread when fresh packs were joined."""
        self.store = store
        self._after_fold = after_fold
        self.refs = refs
        self.flushes = 0
        self.logs: list[Log] = []
        self._waiters: list[Waiter] = []
        self._wake = threading.Condition()
        self._committing = threading.Lock()
        self._busy = False
        self._closing = False
        self._thread: threading.Thread | None = None

    def attach(self, log: Log) -> None:
        self.logs.append(log)

    def detach(self, log: Log) -> None:
        self.logs.remove(log)

    def logs_of(self, prefix: str) -> list[Log]:
        """Logs of this process below a ref prefix that hold an event."""
        return [log for log in self.logs if log.tip and log.ref.startswith(prefix)]

    def _clean(self) -> bool:
        with self.store.lock:  # `_commit` takes what is pending and says it is busy under the same lock
            return not (self._busy or self.store.pending or any(log.tip != log.durable for log in self.logs))

    async def durable(self) -> None:
        """Returns when everything appended so far is on disk and its refs moved.

        Raises DiskError where that failed; what was appended stays pending and the next call tries again.
        """
        if self._clean():
            return
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        with self._wake:
            self._waiters.append((loop, done))
            if self._thread is None:
                self._start()
            self._wake.notify()
        await done

    def flush(self) -> None:
        """The same, in the calling thread."""
        error = self._commit()
        if error is not None:
            raise error

    def close(self) -> None:
        """Flush and end the thread. Raises DiskError; the thread has ended all the same."""
        with self._wake:
            self._closing = True
            self._wake.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._closing = False
        self.flush()

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="evolve-group-commit", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._serve()
        finally:
            with self._wake:
                self._thread = None
                if self._waiters:  # they came while a fault of ours ended this thread
                    self._start()

    def _serve(self) -> None:
        group = 0
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiters or self._closing, timeout=IDLE)
                if self._closing and not self._waiters:
                    return
            if group > 1:
                time.sleep(GATHER)
            group = len(self._waiters)
            if group or not self._clean():
                self._commit()
                self._fold()

    def _fold(self) -> None:
        try:
            if self.store.fold_if_due():
                self._after_fold()
        except ArchiveError:
            pass  # everything is durable as it is; the next flush meets the same disk and says so

    def _commit(self) -> ArchiveError | None:
        with self._committing:
            with self._wake:
                waiters, self._waiters = self._waiters, []
            with self.store.lock:
                self._busy = True
                ids = self.store.take()
                moves = [(log, log.tip) for log in self.logs if log.tip != log.durable]
            error: ArchiveError | None = None
            try:
                self.store.write(ids)
                for log, tip in moves:
                    self.refs.move(log.ref, tip)
                    log.durable = tip
            except ArchiveError as failed:
                error = failed
            finally:
                self._busy = False
                self.flushes += 1
                self._tell(waiters, error or sys.exception())  # a fault of ours must not leave them waiting either
            return error

    @staticmethod
    def _tell(waiters: Sequence[Waiter], error: BaseException | None) -> None:
        by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
        for loop, future in waiters:
            by_loop.setdefault(loop, []).append(future)
        for loop, futures in by_loop.items():
            try:
                loop.call_soon_threadsafe(_resolve, futures, error)
            except RuntimeError:
                pass  # the loop was closed: nobody waits any more


def _resolve(futures: Sequence[asyncio.Future[None]], error: BaseException | None) -> None:
    for future in futures:
        if not future.done():
            if error is None:
                future.set_result(None)
            else:
                future.set_exception(error)

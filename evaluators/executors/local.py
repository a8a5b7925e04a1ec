"""Slots on this machine. Each is a process that hosts the referee side of every task and a sandbox; it takes one job at
a time. A slot that dies is our failure, not the candidate's: the job is tried again in a fresh one."""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import socket
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from evolve.evaluators.bench import CANARY
from evolve.evaluators.evaluator import Handle, Job, Site
from evolve.evaluators.sandbox.ladder import strongest
from evolve.evaluators.sandbox.local import python
from evolve.tasks import errors
from evolve.tasks.errors import EvolveError, InfrastructureError
from evolve.tasks.evidence import Evidence
from evolve.tasks.records import from_json, to_json

GRACE = 60.0
"""Seconds a slot may take beyond what the job's samples may take at most, before it counts as hung."""


class _Slot:
    """One slot process and the socket to it."""

    def __init__(self, sites: Mapping[str, Site], number: int) -> None:
        self._sites, self._number = sites, number
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def measure(self, job: Job, on_progress: Callable[[str], None] | None) -> Evidence:
        if self._process is None or self._process.returncode is not None:
            await self._start()
        assert self._reader is not None and self._writer is not None
        send(self._writer, {"job": to_json(job)})
        task = self._sites[job.task].task
        longest = task.evaluate.timeout * (job.blocks * len(job.trees) + len(task.evaluate.gates)) * 4 + GRACE
        try:
            async with asyncio.timeout(longest + (1800 if task.environment.setup else 0)):
                while True:
                    message = await receive(self._reader)
                    if "progress" in message:
                        if on_progress:
                            on_progress(message["progress"])
                    elif "error" in message:
                        raise _error(message)
                    else:
                        return from_json(Evidence, message["evidence"])
        except TimeoutError as error:
            await self.stop()
            raise InfrastructureError(f"evaluation slot {self._number} hung on job {job.id} for {longest:.0f} s") from error
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            code = await self._process.wait() if self._process else None
            await self.stop()
            raise InfrastructureError(f"evaluation slot {self._number} was lost on job {job.id} (exit {code})") from error

    async def _start(self) -> None:
        ours, theirs = socket.socketpair()
        sites = {name: to_json(replace(site, task=replace(site.task))) for name, site in self._sites.items()}
        for name, site in self._sites.items():
            sites[name]["task"] = {"source": site.task.source, "root": str(site.task.root)}
        self._process = await asyncio.create_subprocess_exec(
            *python("evolve.evaluators.slot"), str(theirs.fileno()), pass_fds=(theirs.fileno(),),
            stdin=asyncio.subprocess.DEVNULL, start_new_session=True,
            env={**without_keys(os.environ), CANARY: secrets.token_hex(16)},
        )  # fmt: skip
        theirs.close()
        self._reader, self._writer = await asyncio.open_connection(sock=ours, limit=1 << 26)
        send(self._writer, {"sites": sites})

    async def stop(self, *, now: bool = False) -> None:
        """End the slot. Its launcher sees the socket close, and with it goes what runs in the jail."""
        process, writer = self._process, self._writer
        self._process = self._reader = self._writer = None
        if writer is not None:
            writer.close()
        if process is None:
            return
        if process.returncode is None:
            try:
                await asyncio.wait_for(process.wait(), 0.0 if now else 2.0)
            except TimeoutError:
                if process.returncode is None:
                    os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        for site in self._sites.values():
            for folder in Path(site.scratch).glob(f"slot-{process.pid}-*"):
                shutil.rmtree(folder, ignore_errors=True)


class _Run:
    def __init__(self, executor: LocalExecutor, job: Job, on_progress: Callable[[str], None] | None) -> None:
        self._task = asyncio.create_task(executor.measure(job, on_progress))

    async def result(self) -> Evidence:
        return await self._task

    def kill(self) -> None:
        self._task.cancel()


class LocalExecutor:
    """`slots` processes on this machine serve the tasks of `sites` (task name -> site). See `Executor`."""

    def __init__(self, sites: Mapping[str, Site], slots: int = 1) -> None:
        rung = next((site.rung for site in sites.values() if site.rung), "") or strongest()
        self.sites = {name: replace(site, rung=rung) for name, site in sites.items()}
        self.slots = slots
        self._idle: deque[_Slot] = deque(_Slot(self.sites, number) for number in range(slots))
        self._all = list(self._idle)
        self._free = asyncio.Semaphore(slots)

    async def start(self, job: Job, on_progress: Callable[[str], None] | None = None) -> Handle:
        return _Run(self, job, on_progress)

    async def measure(self, job: Job, on_progress: Callable[[str], None] | None) -> Evidence:
        async with self._free:
            slot = self._idle.popleft()
            try:
                return await slot.measure(job, on_progress)
            except asyncio.CancelledError:
                await asyncio.shield(slot.stop(now=True))
                raise
            finally:
                self._idle.append(slot)

    async def close(self) -> None:
        await asyncio.gather(*(slot.stop() for slot in self._all))


def _error(message: Mapping[str, Any]) -> EvolveError:
    """The slot's exception again, of its own class: a task that cannot be is told apart from a machine that failed."""
    kind = getattr(errors, str(message.get("kind")), InfrastructureError)
    made: EvolveError = kind(message["error"])
    return made


_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH", re.IGNORECASE)


def without_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """An environment for a process near candidates: nothing whose name says that it is a secret."""
    return {name: value for name, value in environment.items() if not _SECRET.search(name)}


def send(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    data = json.dumps(message, separators=(",", ":")).encode()
    writer.write(len(data).to_bytes(4, "little") + data)


async def receive(reader: asyncio.StreamReader) -> dict[str, Any]:
    size = int.from_bytes(await reader.readexactly(4), "little")
    message: dict[str, Any] = json.loads(await reader.readexactly(size))
    return message

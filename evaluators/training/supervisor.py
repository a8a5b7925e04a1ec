"""The referee's side of a training run: it owns the clock, the data, the seed, and the end of the trainer.

    start the trainer in the jail -> it rehearses on dummy tokens -> GO -> batches on request -> its state arrives
    -> the trainer's whole tree is ended -> the state is sealed -> scoring in fresh processes (scoring.py)

The clock runs from GO until the state is here whole; nothing of the data is shown before GO, and no validation text at
any time before the trainer is dead. What the trainer says (losses, tokens) is never a result.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from evolve.evaluators.channel import Refused
from evolve.evaluators.sandbox import Command, Mount, Outcome
from evolve.evaluators.sandbox.jail import WORK
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.sandbox.session import Session
from evolve.evaluators.training import corpus, gpu, tracks, wire
from evolve.evaluators.training.data import Dataset
from evolve.evaluators.training.gpu import Watch
from evolve.evaluators.training.tracks import Track
from evolve.tasks.evidence import Failure, FailureKind
from evolve.tasks.task import Limits

_PRELOAD = ("numpy", "torch", "torch._dynamo", "evolve.evaluators.training.harness")


def preload(track: Track) -> tuple[str, ...]:
    """What the sandbox's launcher imports once, so that a trainer is forked and not started."""
    return (*_PRELOAD, "evolve.evaluators.training.ahead") if track.device == "cuda" else _PRELOAD


_ADD_SEALS, _SEALS = 1033, 0x1 | 0x2 | 0x4 | 0x8
"""F_ADD_SEALS; seal, shrink, grow, write: from then on nobody can change the file."""

CACHE = f"{WORK}/.cache"
"""Where a candidate's compile caches lie inside. What the seed's run left lies beneath, read-only."""


class Shared:
    """Anonymous memory that crosses the jail's wall as a file descriptor. A context manager."""

    def __init__(self, name: str, size: int) -> None:
        self.size = size
        self.fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.ftruncate(self.fd, size)

    def map(self, *, write: bool = False) -> mmap.mmap:
        return mmap.mmap(self.fd, self.size, prot=mmap.PROT_READ | (mmap.PROT_WRITE if write else 0))

    def seal(self, size: int) -> None:
        """Cut it to `size` bytes and forbid every change. Raises OSError while somebody can still write to it."""
        os.ftruncate(self.fd, size)
        self.size = size
        fcntl.fcntl(self.fd, _ADD_SEALS, _SEALS)

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(frozen=True, slots=True)
class Program:
    """A candidate: a folder with its files, and the one that defines build_model and train."""

    folder: Path
    entry: str = "train.py"
    lower: Path | None = None
    """Folder beneath it (`.cache/` of the seed's compilation), read-only."""


@dataclass(slots=True)
class Training:
    """How a training run went. `state`: the trained state, sealed (`state.close()` when done), None with a failure.

    seconds: GO to the state's arrival. tokens: served. curve: (share of the budget used, loss the trainer reported).
    ready: seconds from start to GO (import, rehearsal, compilation). planned: tokens said before the start.
    phases: seconds of what surrounds the training, for the record; those of "said" are the trainer's own word.
    """

    failure: Failure | None = None
    state: Shared | None = None
    seconds: float = 0.0
    tokens: int = 0
    batches: int = 0
    curve: list[tuple[float, float]] = field(default_factory=list)
    ready: float = 0.0
    wall: float = 0.0
    planned: int | None = None
    stopped: bool = False
    outcome: Outcome | None = None
    gpu: Mapping[str, float] = field(default_factory=dict)
    phases: dict[str, Any] = field(default_factory=dict)


Stop = Callable[[list[tuple[float, float]]], bool]
"""Whether to end a run, from its curve so far."""


def command(program: Program, track: Track, masks: tuple[Mount, ...], keep: Path | None = None) -> Command:
    """The jail a trainer or a scorer's worker runs in. keep: host folder that takes the compile cache (seed only)."""
    mounts = masks + ((Mount(str(keep), CACHE, writable=True),) if keep else ())
    env = {"TORCHINDUCTOR_CACHE_DIR": f"{CACHE}/inductor", "TRITON_CACHE_DIR": f"{CACHE}/triton"}
    if track.device == "cuda":
        env |= {"CUDA_VISIBLE_DEVICES": ",".join(gpu.cards(track.gpus)), "USER": "candidate"}
        if track.gpus > 1:  # what this machine's owner set for NCCL holds inside too
            env |= {name: value for name, value in os.environ.items() if name.startswith("NCCL_")}
    else:
        env |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    limits = Limits(memory=track.memory, processes=64 if track.device == "cpu" else 1024, disk=4 << 30, files=4096,
                    output=1 << 16)  # fmt: skip
    return Command((), program.folder, env=env, wall=track.wall, limits=limits, mounts=mounts, lower=program.lower)


def masks(track: Track, scratch: Path, rung: str) -> tuple[Mount, ...]:
    """Files of this machine a candidate must not read: where the corpus is the library's help text, that text."""
    if not track.help_text or rung not in ("native", "userns"):
        return ()
    empty = scratch / "empty"
    scratch.mkdir(parents=True, exist_ok=True)
    empty.touch()
    return tuple(Mount(str(empty), str(path)) for path in corpus.help_files())


def end(session: Session) -> Outcome:
    """End the candidate's whole tree now and hear how it was."""
    session._exchange.stop()  # the session has no such word of its own yet
    return session.finish()


def train(
    sandbox: LocalSandbox, program: Program, track: Track, data: Dataset, seed: int, *, hidden: tuple[Mount, ...] = (),
    stop: Stop | None = None, keep: Path | None = None,
) -> Training:  # fmt: skip
    """Train a candidate once. A failure of its own is in the result; raises SandboxError where the jail fails."""
    began = time.monotonic()
    run = Training()
    width = track.sequence + 1
    ring = Shared("ring", wire.SLOTS * _page(track.rows * width * 2))
    run.state = Shared("state", track.state)
    spec = {"entry": program.entry, "config": tracks.config(track, seed), "ring": ring.size, "state": track.state,
            "threads": 1 if track.device == "cpu" else 8, "plan": track.metric == "loss", "rehearse": track.clocked}  # fmt: skip
    watch = Watch(track.gpus)
    try:
        with sandbox.open(
            command(program, track, hidden, keep), "evolve.evaluators.training.harness:train", (spec,)
        ) as session:
            run.phases["open"] = round(time.monotonic() - began, 3)
            server = _Server(session, track, data, ring, run, stop, watch)
            run.failure = server.run(run.state.fd)
            ending = time.monotonic()
            run.outcome = end(session)
            run.phases["end"] = round(time.monotonic() - ending, 3)
    finally:
        ring.close()
    run.wall, run.gpu = time.monotonic() - began, watch.summary()
    if run.failure is None:
        run.failure = _seal(run.state, server.size, track.state)
    if run.failure is not None:
        run.state.close()
        run.state = None
    return run


def _times(said: Any) -> dict[str, float]:
    """A few named seconds that a trainer says its preparation took; anything else is left out."""
    if not isinstance(said, dict):
        return {}
    good = [(k, v) for k, v in said.items() if len(k) <= 20 and isinstance(v, int | float) and not isinstance(v, bool)]
    return {key: round(float(value), 3) for key, value in good[:12]}


def _page(size: int) -> int:
    return -(-size // 4096) * 4096


def _seal(state: Shared, size: int, cap: int) -> Failure | None:
    try:
        if not 8 <= size <= cap:
            raise Refused(f"a trained state of {size} bytes; {cap} are allowed")
        state.seal(size)
        with state.map() as view:
            wire.read_header(memoryview(view)[:], size, cap)
    except (Refused, BufferError) as error:
        return Failure(FailureKind.OUTPUT, str(error))
    return None


class _Server:
    """Serves one trainer: rows on request, in the one order there is, until its budget or its plan is used up."""

    def __init__(
        self,
        session: Session,
        track: Track,
        data: Dataset,
        ring: Shared,
        run: Training,
        stop: Stop | None,
        watch: Watch,
    ) -> None:
        self.session, self.track, self.rows, self.run_, self.stop = session, track, data.train, run, stop
        self.ring, self.view, self.watch = ring, ring.map(write=True), watch
        self.at = self.slot = self.size = 0
        self.most: int | None = track.tokens
        self.go = 0.0

    def run(self, state: int) -> Failure | None:
        failure = self._start(state)
        while failure is None and not self.size:
            failure = self._answer()
        return failure

    def _start(self, state: int) -> Failure | None:
        began = time.monotonic()
        if failure := self.session.send({"setup": True}, descriptors=(self.ring.fd, state)):
            return failure
        said = self._receive(self.track.wall)
        if isinstance(said, Failure):
            return said
        if "ready" not in said or not set(said) <= {"ready", "phases"}:
            return Failure(FailureKind.OUTPUT, "the trainer did not get ready")
        self.run_.phases["said"] = _times(said.get("phases"))
        if self.track.metric == "loss":
            planned = said["ready"]
            if type(planned) is not int or not 1 <= planned <= 1 << 40:
                return Failure(
                    FailureKind.OUTPUT, f"plan(config) must say how many tokens it trains on, not {planned!r:.80}"
                )
            self.run_.planned = self.most = planned
        self.run_.ready = time.monotonic() - began
        if failure := self.session.send({"go": True}):
            return failure
        self.go = time.monotonic()
        self.watch.mark()
        return None

    def _receive(self, seconds: float) -> dict[str, Any] | Failure:
        got = self.session.receive(wire.MESSAGE, seconds)
        if isinstance(got, Failure):
            return got
        header, body = got
        if body or not isinstance(header, dict):
            return Failure(FailureKind.OUTPUT, "the trainer said something that is no message")
        return header

    def _answer(self) -> Failure | None:
        """One message of the trainer's and the answer to it."""
        track, limit = self.track, self.track.seconds
        left = track.wall - self.run_.ready if limit is None else limit - (time.monotonic() - self.go)
        said = self._receive(max(left, 0.0))
        now = time.monotonic()
        if isinstance(said, Failure):
            if said.kind is FailureKind.TIMEOUT:
                allowed = limit if limit is not None else track.wall
                return Failure(FailureKind.TIMEOUT, f"its trained state was not here when its {allowed:g} s were over")
            return said
        self.watch.look(now)
        self._log(said.get("log"), now)
        if "state" in said:
            size = said["state"]
            self.run_.seconds = now - self.go
            self.size = size if type(size) is int and size > 0 else 1
            if limit is not None and self.run_.seconds > limit:
                return Failure(FailureKind.TIMEOUT, f"its trained state came {self.run_.seconds - limit:.3f} s late")
            return None
        if self.stop is not None and self.run_.curve and self.stop(self.run_.curve):
            self.run_.stopped = True
            return Failure(
                FailureKind.METRIC, "stopped early: its training loss is far behind its parent's at equal time"
            )
        return self._serve(said.get("next"))

    def _log(self, losses: Any, now: float) -> None:
        if not isinstance(losses, list):
            return
        share = (now - self.go) / self.track.seconds if self.track.seconds else self.run_.tokens / (self.most or 1)
        for loss in losses[:200]:
            if isinstance(loss, int | float) and not isinstance(loss, bool) and len(self.run_.curve) < 20_000:
                self.run_.curve.append((round(min(share, 1.0), 5), float(loss)))

    def _serve(self, rows: Any) -> Failure | None:
        if type(rows) is not int or not 1 <= rows <= self.track.rows:
            return Failure(
                FailureKind.OUTPUT, f"asked for a batch of {rows!r:.40} rows; 1 to {self.track.rows} are served"
            )
        count = rows * self.track.sequence
        if self.most is not None and self.run_.tokens + count > self.most:
            return self.session.send({"end": True})
        width = self.track.sequence + 1
        view = np.frombuffer(
            self.view, dtype=np.uint16, count=rows * width, offset=self.slot * (self.ring.size // wire.SLOTS)
        )
        view.reshape(rows, width)[:] = self.rows[np.arange(self.at, self.at + rows) % len(self.rows)]
        self.at = (self.at + rows) % len(self.rows)
        self.run_.tokens += count
        self.run_.batches += 1
        slot, self.slot = self.slot, (self.slot + 1) % wire.SLOTS
        return self.session.send({"slot": slot})

"""Loss from logits, in fresh processes: our own log-softmax over the whole vocabulary, bytes of the raw text.

Two workers that share nothing but the sealed state. The first scores every row, in a secret order, validation and
holdout mixed. The second sees a few of those rows again, in other company and another order, some as they were, some
with everything after a secret position replaced by other text. What was said about a row must be said again, and what
was said before that position must not change: a model that looks ahead, across rows, or back to earlier batches says
something else. Neither worker sees a row as it was twice; a worker that plays back what it said about a beginning is
judged by the first version it saw of each.
"""

from __future__ import annotations

import math
import random
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from evolve.evaluators.sandbox import Mount
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.sandbox.session import Session
from evolve.evaluators.training import cuda_ipc, supervisor, tracks, wire
from evolve.evaluators.training.data import Dataset
from evolve.evaluators.training.packing import Rows
from evolve.evaluators.training.supervisor import Program, Shared
from evolve.evaluators.training.tracks import Track
from evolve.tasks import statistics as st
from evolve.tasks.errors import InfrastructureError
from evolve.tasks.evidence import Check, Failure, FailureKind, Outcome

ALTERED, ENDINGS, REPEATED = 64, 8, 16
"""Rows shown again with other endings, in how many versions each, and rows shown again as they were.

A version looks at one secret position, so a leak at a share p of the positions goes unseen with probability
(1 - p)**(64 * 8): 3e-8 at one in thirty, 0.6 at one in a thousand; (1 - p)**64 for a program that remembers.
"""

COLUMNS = 32
"""Secret columns of the vocabulary whose log-probabilities are compared."""

TOLERANCE = {"cpu": (1e-3, 1e-4), "cuda": (0.5, 2e-2)}
"""Largest and mean difference in log-probability (nats) that rounding may make between two batches. Between two processes
on a GPU it is nearly always none; once in 21 runs of a seed on an H100 it was 0.15 and 0.0045, in bf16."""

NEAR, FAINT, SURE = 4, 0.005, 5.0
"""What rounding may hide is looked for in the mean: how much more a row's true next tokens were expected, over the NEAR
positions before its ending was replaced, than with another ending. More than FAINT nats by SURE standard errors, over the
rows, is a look ahead; rounding favours neither."""

FIRST_LOSS = 0.9
"""A model that has seen nothing has a loss of at least this share of ln V."""

ANSWER_SECONDS = 120.0

Floats = npt.NDArray[np.float32]


@dataclass(slots=True)
class Score:
    """nats and bytes summed over the targets that stand for text; `tokens` counts those targets.

    first_loss: nats a token of a new model on the first training rows. checks: what the probes found. logits: how they
    came here. phases: seconds from a worker's start to each point.
    """

    failure: Failure | None = None
    validation: float = math.nan
    holdout: float = math.nan
    first_loss: float = math.nan
    parameters: int = 0
    checks: list[Check] = field(default_factory=list)
    seconds: float = 0.0
    cpu: float = 0.0
    differences: dict[str, float] = field(default_factory=dict)
    stderr: str = ""
    phases: dict[str, float] = field(default_factory=dict)
    logits: str = ""


@dataclass(frozen=True, slots=True)
class _Said:
    """What a worker said about one row: nats of each target [T], log-probabilities of the secret columns [T, C]."""

    nats: Floats
    columns: Floats


class _Refusal(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


class _Worker:
    """One scorer's worker: rows in, what it said about them out."""

    def __init__(self, session: Session, track: Track, state: Shared, columns: Sequence[int]) -> None:
        self.session, self.track, self.state, self.columns = session, track, state, list(columns)
        self.shape = (track.scoring, track.sequence, track.vocabulary)
        self.ipc: cuda_ipc.Buffer | None = None
        self.direct = track.device == "cuda" and cuda_ipc.usable
        self.shared = Shared("logits", 4096 if self.direct else 4 * math.prod(self.shape))
        self.view = self.shared.map(write=True)

    def begin(self) -> None:
        """Have it build the model; `built` waits for that."""
        setup: dict[str, Any] = {"setup": True}
        if self.direct:
            self.ipc = cuda_ipc.Buffer(self.shape)
            setup["ipc"] = self.ipc.handle.hex()
        self._ok(self.session.send(setup, descriptors=(self.state.fd, self.shared.fd)))

    def built(self) -> int:
        """Parameters of the model it built."""
        built = self._hear("built", self.track.wall)
        return built if type(built) is int else 0

    def load(self) -> None:
        self._ok(self.session.send({"load": self.state.size}))
        self._hear("loaded", ANSWER_SECONDS)

    def score(self, rows: Rows, targets: Rows | None = None) -> list[_Said]:
        """At most `track.scoring` rows, uint16 [n, T + 1]; nats of their own targets, or of those of other rows. The last
        of a few rows is shown again to fill the batch, so that every batch has the same shape."""
        full = rows[np.minimum(np.arange(self.track.scoring), len(rows) - 1)]
        self._ok(self.session.send({"rows": len(full)}, np.ascontiguousarray(full[:, :-1]).tobytes()))
        self._hear("scored", ANSWER_SECONDS)
        return self._read(rows if targets is None else targets)

    def _read(self, rows: Rows) -> list[_Said]:
        import torch

        if self.ipc is not None:
            logits = self.ipc.tensor[: len(rows)].clone()  # a copy of ours: the worker may go on writing into its own
        else:
            theirs = torch.frombuffer(self.view, dtype=torch.float32).reshape(self.shape)[: len(rows)]
            logits = theirs.to(self.track.device, copy=True)
        targets = torch.from_numpy(rows[:, 1:].astype(np.int64)).to(logits.device)
        total = torch.logsumexp(logits.double() if self.track.device == "cpu" else logits, dim=-1)
        nats = (total - logits.gather(-1, targets[..., None])[..., 0]).float().cpu().numpy()
        columns = (logits[..., self.columns] - total[..., None]).float().cpu().numpy()
        if not (np.isfinite(nats).all() and np.isfinite(columns).all()):
            raise _Refusal(Failure(FailureKind.METRIC, "its logits hold NaN or infinity"))
        return [_Said(nats[i], columns[i]) for i in range(len(rows))]

    def _hear(self, word: str, seconds: float) -> Any:
        got = self.session.receive(wire.MESSAGE, seconds)
        if isinstance(got, Failure):
            raise _Refusal(got)
        header, body = got
        if body or not isinstance(header, dict) or set(header) != {word}:
            raise _Refusal(Failure(FailureKind.OUTPUT, "the model's process said something that was not asked for"))
        return header[word]

    def _ok(self, failure: Failure | None) -> None:
        if failure is not None:
            raise _Refusal(failure)

    def close(self) -> None:
        self.shared.close()
        if self.ipc is not None:
            self.ipc.close()


def score(
    sandbox: LocalSandbox, program: Program, track: Track, data: Dataset, state: Shared, seed: int, *,
    hidden: tuple[Mount, ...] = (), secret: random.Random | None = None, second: LocalSandbox | None = None,
) -> Score:  # fmt: skip
    """Score a trained state. The trainer must be dead. Raises InfrastructureError for what is not the candidate's.

    second: another sandbox, in which the second worker starts while the first one scores.
    """
    secret = secret or random.Random(secrets.token_bytes(32))
    out = _score(sandbox, second, program, track, data, state, seed, hidden, secret)
    if out.failure is not None and cuda_ipc.OPEN in out.failure.message and cuda_ipc.usable:
        cuda_ipc.usable = False  # not between these namespaces: through shared host memory instead
        out = _score(sandbox, second, program, track, data, state, seed, hidden, secret)
    return out


def _score(
    sandbox: LocalSandbox, second: LocalSandbox | None, program: Program, track: Track, data: Dataset, state: Shared, seed: int,
    hidden: tuple[Mount, ...], secret: random.Random,
) -> Score:  # fmt: skip
    began = time.monotonic()
    columns = sorted(secret.sample(range(track.vocabulary), min(COLUMNS, track.vocabulary)))
    every = np.concatenate([data.validation, data.holdout])
    order = secret.sample(range(len(every)), len(every))
    late = order[len(order) // 3 :]  # shown again early, by a worker that has seen nothing else
    again = secret.sample(late, min(ALTERED + REPEATED, len(late)))
    out = Score()
    spec = {"entry": program.entry, "config": tracks.config(track, seed), "rows": track.scoring,
            "threads": 1 if track.device == "cpu" else 8}  # fmt: skip

    @contextmanager
    def worker(where: LocalSandbox) -> Iterator[_Worker]:
        """A worker, ended afterwards. What it is refused for is in `out` then, and the block is left."""
        command, refused = supervisor.command(program, track, hidden), False
        with where.open(command, "evolve.evaluators.training.harness:score", (spec,)) as session:
            made = _Worker(session, track, state, columns)
            out.logits = "CUDA IPC" if made.direct else "shared memory"
            try:
                yield made
            except _Refusal as error:
                out.failure, refused = error.failure, True
            finally:
                outcome = supervisor.end(session)
                out.cpu += outcome.cost.cpu
                if refused or not out.stderr:
                    out.stderr = outcome.stderr[-4000:]
                made.close()

    said: dict[int, _Said] | None = None
    with ExitStack() as stack:
        ahead = stack.enter_context(worker(second)) if second is not None else None
        if ahead is not None:
            ahead.begin()
        with worker(sandbox) as first:
            first.begin()
            said = _first_visit(first, track, data, every, order, set(again), out)
        if said is not None:
            if ahead is None:
                ahead = stack.enter_context(worker(sandbox))
                ahead.begin()
            _second_visit(ahead, track, every, again, said, secret, out)
    out.seconds = time.monotonic() - began
    return out


def _first_visit(
    worker: _Worker, track: Track, data: Dataset, every: Rows, order: list[int], keep: set[int], out: Score
) -> dict[int, _Said]:
    """Score every row; what was said about the rows that will be shown again."""
    began = time.monotonic()
    out.parameters = worker.built()
    out.phases["built"] = round(time.monotonic() - began, 3)
    fresh = worker.score(data.train[: track.scoring])
    out.first_loss = float(np.mean([said.nats for said in fresh]))
    least = FIRST_LOSS * math.log(track.vocabulary)
    detail = f"a new model's loss on the first batch is {out.first_loss:.3f}, ln V is {math.log(track.vocabulary):.3f}"
    out.checks.append(Check("first-loss", Outcome.CHEAT if out.first_loss < least else Outcome.PASSED, detail))
    worker.load()
    out.phases["loaded"] = round(time.monotonic() - began, 3)
    nats = np.zeros(len(every))
    kept: dict[int, _Said] = {}
    counts = data.token_bytes if track.metric == "bpb" else np.ones_like(data.token_bytes)
    spoken = counts[every[:, 1:]] > 0
    for at in range(0, len(order), track.scoring):
        batch = order[at : at + track.scoring]
        for row, said in zip(batch, worker.score(every[batch]), strict=True):
            nats[row] = float(np.sum(said.nats, where=spoken[row], dtype=np.float64))
            if row in keep:
                kept[row] = said
    out.phases["scored"] = round(time.monotonic() - began, 3)
    count = len(data.validation)
    for name, part in (("validation", slice(0, count)), ("holdout", slice(count, None))):
        amount = int(counts[every[part][:, 1:]].sum())  # bytes of raw text, or tokens
        scale = math.log(2) if track.metric == "bpb" else 1.0
        if amount <= 0:
            raise InfrastructureError(f"the {name} rows of track {track.id} hold no text; pack its data again")
        setattr(out, name, float(nats[part].sum()) / (scale * amount))
    return kept


def _second_visit(
    worker: _Worker, track: Track, every: Rows, again: list[int], before: dict[int, _Said], secret: random.Random,
    out: Score,
) -> None:  # fmt: skip
    """Show rows again, some with another ending; compare what is said with what was said."""
    began = time.monotonic()
    worker.built()
    worker.load()
    out.phases["second loaded"] = round(time.monotonic() - began, 3)
    whole = [(row, track.sequence) for row in again[-REPEATED:]]
    cut = [(row, secret.randrange(track.sequence // 8, track.sequence)) for row in again[:ALTERED] * ENDINGS]
    shown = secret.sample(whole + cut, len(whole) + len(cut))
    same: list[tuple[float, float]] = []
    prefix: list[tuple[float, float]] = []
    ahead: dict[int, list[float]] = {}
    for at in range(0, len(shown), track.scoring):
        batch = shown[at : at + track.scoring]
        rows = every[[row for row, _ in batch]]
        for i, (_, end) in enumerate(batch):
            if end < track.sequence:  # tokens from position `end` on are another row's; logits before it must stay
                rows[i, end:] = every[secret.randrange(len(every)), end:]
        for (row, end), said in zip(batch, worker.score(rows, every[[row for row, _ in batch]]), strict=True):
            found = prefix if end < track.sequence else same
            for now, then in ((said.columns, before[row].columns), (said.nats, before[row].nats)):
                difference = np.abs(now[:end] - then[:end])
                found.append((float(difference.max()), float(difference.mean())))
            if end < track.sequence:
                near = slice(max(end - NEAR, 0), end)
                ahead.setdefault(row, []).append(float(np.sum(said.nats[near] - before[row].nats[near])))
    out.phases["second scored"] = round(time.monotonic() - began, 3)
    if not prefix or not same:
        out.checks.append(Check("causality", Outcome.UNABLE, "too few rows to look at again"))
        return
    most, mean = TOLERANCE[track.device]
    known, errors = _expected(ahead)
    for name, found, meaning in (
        ("repeat", same, "the same row in other company and order"),
        ("causality", prefix, "the text before a changed ending"),
    ):
        largest, average = max(one for one, _ in found), float(np.mean([one for _, one in found]))
        out.differences[name] = largest
        bad = largest > most or average > mean
        detail = f"{meaning}: log-probabilities differ by {largest:.2g} at most, {average:.2g} on average"
        if name == "causality":
            bad = bad or (known > FAINT and errors > SURE)
            detail += f"; the true ending was expected by {known:.2g} nats more ({errors:.1f} standard errors)"
        out.checks.append(Check(name, Outcome.CHEAT if bad else Outcome.PASSED, detail))


def _expected(ahead: Mapping[int, Sequence[float]]) -> tuple[float, float]:
    """(mean, mean in standard errors) over the rows of what their versions say on average."""
    rows = [math.fsum(versions) / len(versions) for versions in ahead.values()]
    if len(rows) < 2:
        return 0.0, 0.0
    centre, error = st.mean(rows), math.sqrt(st.variance(rows) / len(rows))
    return centre, centre / error if error > 0 else math.copysign(math.inf, centre) if centre else 0.0

"""Evidence: what one job measured or saw. Append-only; a verdict is a pure function of it (`evolve.tasks.verdict`)."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class FailureKind(enum.Enum):
    """How a candidate failed. Our own failures are exceptions and never appear here."""

    PARSE = "parse"  # the program is not a program
    GATE = "gate"  # a gate command said no
    CRASH = "crash"  # non-zero exit, a signal, an exception
    TIMEOUT = "timeout"  # wall or CPU time
    MEMORY = "memory"
    LIMIT = "limit"  # processes, disk, inodes, open files
    OUTPUT = "output"  # nothing, too much, or not what the referee asked for
    METRIC = "metric"  # absent, NaN, infinite, absurd
    CONSTRAINT = "constraint"
    INCORRECT = "incorrect"  # the referee found the answer wrong
    HOST = "host"  # three starts without an end: it takes the machine down


class Outcome(enum.Enum):
    """What an integrity check found. UNABLE (could not run) never counts as passed."""

    PASSED = "passed"
    AUDIT = "audit"  # implausible: no fitness until a person or a re-run clears it
    CHEAT = "cheat"  # shown
    UNABLE = "unable"


@dataclass(frozen=True, slots=True)
class Failure:
    """kind and one sentence for a person and for the next mutation; no host paths, capped by the writer."""

    kind: FailureKind
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """One integrity check's finding about one tree."""

    name: str
    outcome: Outcome
    detail: str = ""
    tree: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one tree. `block` numbers the alternation: samples of one block were taken side by side.

    metrics: metric name -> value in the metric's unit; always finite (the door refuses others).
    seconds: wall seconds the candidate ran, on the referee's clock.
    """

    tree: str
    metrics: Mapping[str, float]
    block: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a job used: seconds of wall time, CPU time and GPU lease."""

    wall: float = 0.0
    cpu: float = 0.0
    gpu: float = 0.0


@dataclass(frozen=True, slots=True)
class Artifact:
    """A log or file kept beside the evidence. `cut`: bytes left out of the middle when it was bounded."""

    name: str
    data: str
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one job measured or saw.

    trees:    hex ids of the judged trees, in the job's order (a champion gate has two).
    stage:    name of the stage ("gates", "screen", "confirm", ...).
    secret:   commitment (hex sha256) to the job's secret inputs; empty where there are none.
    failures: tree -> failure; a tree with a failure has no samples after it.
    sandbox:  label of the rung the candidate ran under.
    self_reported: the numbers came out of the candidate's own process.
    facts:    evaluator-specific JSON that judging or feedback may read (per-workload times, checker output).
    """

    job: str
    trees: tuple[str, ...]
    task: str
    evaluator: str
    machine: str
    stage: str
    secret: str = ""
    samples: tuple[Sample, ...] = ()
    failures: Mapping[str, Failure] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    cost: Cost = field(default_factory=Cost)
    sandbox: str = ""
    self_reported: bool = False
    facts: Mapping[str, object] = field(default_factory=dict)
    artifacts: tuple[Artifact, ...] = ()

    def of(self, tree: str) -> tuple[Sample, ...]:
        """Samples of one tree, in the order taken."""
        return tuple(sample for sample in self.samples if sample.tree == tree)


def bounded(name: str, text: str, cap: int) -> Artifact:
    """An artifact of at most `cap` bytes of UTF-8: head and tail kept, the cut stated inside and in the record."""
    raw = text.encode("utf-8", "replace")
    if len(raw) <= cap:
        return Artifact(name, raw.decode("utf-8", "replace"))
    half = max(cap // 2 - 40, 0)
    cut = len(raw) - 2 * half
    tail = raw[len(raw) - half :] if half else b""
    kept = raw[:half].decode("utf-8", "ignore") + f"\n[... {cut} bytes cut ...]\n" + tail.decode("utf-8", "ignore")
    return Artifact(name, kept, cut)

"""Events: a closed, versioned union. The log of them is the record; every other state is a fold over it.

An event is a git commit on one log ref a writer (population/archive.py) whose message is `encode(event)`. Each kind
says whether it is *binding*: a reader that does not know a binding kind must not write (it would decide on less than
the truth); unknown informative kinds are kept and skipped. Adding a kind raises SCHEMA's minor number; changing the
meaning of one raises the major number, with a migration (docs/schema.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from evolve.population.brief import Brief
from evolve.tasks.errors import ArchiveError, SchemaError
from evolve.tasks.evidence import Evidence
from evolve.tasks.records import from_json, to_json
from evolve.tasks.verdict import Calibration, Verdict

SCHEMA = (1, 5)


@dataclass(frozen=True, slots=True)
class Event:
    """Base of the union. `kind` is the name in JSON; `speaks_of` are the commits that become parents in git."""

    kind: ClassVar[str] = ""
    binding: ClassVar[bool] = True

    def speaks_of(self) -> tuple[str, ...]:
        return ()


@dataclass(frozen=True, slots=True)
class TaskOpened:
    """One task of a run: the base commit in the archive, the task file's text, digests that open its epoch.

    around: the commit whose protected files surround what is judged, where it is not the base (after a rescoring).
    """

    base: str
    source: str
    digest: str
    bundled: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    around: str = ""


@dataclass(frozen=True, slots=True)
class RunOpened(Event):
    """First event of a run. `seed` drives every random stream of the search (never the evaluation's secrets)."""

    kind: ClassVar[str] = "run_opened"
    run: str
    tasks: Mapping[str, TaskOpened]
    seed: int
    tool: str
    mutator: str = ""
    selector: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def speaks_of(self) -> tuple[str, ...]:
        return tuple(task.base for task in self.tasks.values())


@dataclass(frozen=True, slots=True)
class EpochOpened(Event):
    """From here on a task's fitness is comparable only with verdicts of this epoch."""

    kind: ClassVar[str] = "epoch_opened"
    task: str
    epoch: str
    task_digest: str
    evaluator: str
    hardware: str


@dataclass(frozen=True, slots=True)
class Rescored(Event):
    """Task, grader or hardware changed and the run goes on (`evolve run --rescore`): a new epoch of the task begins, in
    which nobody has a verdict and the seed reigns.

    opened: the task as it is now. epoch ... hardware: as in EpochOpened. counted: epochs whose evidence still counts.
    again: candidates to be measured again, the seed among them unless its evidence counts.
    """

    kind: ClassVar[str] = "rescored"
    task: str
    opened: TaskOpened
    epoch: str
    task_digest: str
    evaluator: str
    hardware: str
    counted: tuple[str, ...] = ()
    again: tuple[str, ...] = ()

    def speaks_of(self) -> tuple[str, ...]:
        return (self.opened.around,) if self.opened.around else ()


@dataclass(frozen=True, slots=True)
class Calibrated(Event):
    """What `check` found: the noise floor and its warnings; reused by a resume on the same machine and epoch."""

    kind: ClassVar[str] = "calibrated"
    task: str
    epoch: str
    calibration: Calibration
    seed: str
    findings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Asked(Event):
    kind: ClassVar[str] = "asked"
    brief: Brief


@dataclass(frozen=True, slots=True)
class Leased(Event):
    """A brief was handed to an outside mutator (`evolve ask`) until `until` (seconds since the epoch)."""

    kind: ClassVar[str] = "leased"
    brief: int
    holder: str
    until: float


@dataclass(frozen=True, slots=True)
class Requested(Event):
    """A request is about to leave, with its reservation (money in US dollars, tokens); durable before it does.

    call:   number of the call within its brief, from 0. digest: hex sha256 of the request, for replay.
    A request whose answer never came is charged its reservation and marked unknown.
    """

    kind: ClassVar[str] = "requested"
    brief: int
    call: int
    digest: str
    model: str
    money: float | None = None
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """An answer was received; durable before anything is done with it. Its text is artifact `answer-<call>`.

    money: US dollars, None where the model's price is unknown (unknown is never 0).
    """

    kind: ClassVar[str] = "answered"
    brief: int
    call: int
    model: str
    outcome: str = "ok"
    money: float | None = None
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Batched(Event):
    """Requests went out together: the service's id of their batch, and the digests (hex sha256) of those in it."""

    kind: ClassVar[str] = "batched"
    binding: ClassVar[bool] = False
    batch: str
    model: str
    digests: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wanted(Event):
    """Somebody outside asks for a brief (`evolve ask`). `request` names the asking, so that an answer finds it.

    operator: the one wanted, "" for any. task: of a run with several, "" for any. seconds: how long the lease should be.
    """

    kind: ClassVar[str] = "wanted"
    binding: ClassVar[bool] = False
    request: str
    holder: str
    operator: str = ""
    task: str = ""
    seconds: float = 3600.0


@dataclass(frozen=True, slots=True)
class Told(Event):
    """What an outside mutator answered to a brief (`evolve tell`), durable before it is used.

    commit: holds the answer's tree; its parent is the brief's. It is no candidate: the search makes one of its own, or
    refuses. idea, why, model, money: as in a proposal. stillborn: it gave up; `commit` is then empty.
    """

    kind: ClassVar[str] = "told"
    binding: ClassVar[bool] = False
    brief: int
    holder: str
    commit: str = ""
    idea: str = ""
    why: str = ""
    model: str = ""
    money: float | None = None
    stillborn: str = ""

    def speaks_of(self) -> tuple[str, ...]:
        return (self.commit,) if self.commit else ()


@dataclass(frozen=True, slots=True)
class Refused(Event):
    """A proposal that made no commit: stillborn, against the edit policy, or known already (`earlier` names it)."""

    kind: ClassVar[str] = "refused"
    brief: int
    task: str
    reason: str
    why: str = ""
    earlier: str = ""
    operator: str = ""

    def speaks_of(self) -> tuple[str, ...]:
        return (self.earlier,) if self.earlier else ()


@dataclass(frozen=True, slots=True)
class Born(Event):
    """A proposal became a commit, before anything judged it. `number` is the order of birth within the run.

    shape: hex digest of the normalised syntax tree of the editable files; equal shapes are the same program.
    """

    kind: ClassVar[str] = "born"
    brief: int
    task: str
    candidate: str
    tree: str
    parents: tuple[str, ...]
    number: int
    operator: str = ""
    model: str = ""
    idea: str = ""
    island: str = "main"
    inspired_by: tuple[str, ...] = ()
    shape: str = ""
    sketch: str = ""

    def speaks_of(self) -> tuple[str, ...]:
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class Fingerprinted(Event):
    """What a candidate answers on its task's probes, as a hex digest: equal digests answered alike to the last digit."""

    kind: ClassVar[str] = "fingerprinted"
    task: str
    candidate: str
    fingerprint: str

    def speaks_of(self) -> tuple[str, ...]:
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class Imported(Event):
    """A commit that no brief ordered: a task's seed, or a person's work (`evolve add`)."""

    kind: ClassVar[str] = "imported"
    task: str
    candidate: str
    tree: str
    parents: tuple[str, ...]
    number: int
    source: str
    idea: str = ""
    island: str = "main"
    shape: str = ""
    sketch: str = ""

    def speaks_of(self) -> tuple[str, ...]:
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class Started(Event):
    """A job is about to run; durable before it does. The third start without an end makes its candidate INVALID.

    seconds, gpu_seconds: the reservation charged if the end is never seen. secret: commitment to hidden inputs.
    over: the champion a gate's candidate is measured against.
    """

    kind: ClassVar[str] = "started"
    job: str
    task: str
    candidates: tuple[str, ...]
    stage: str
    attempt: int = 1
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    secret: str = ""
    over: str = ""


@dataclass(frozen=True, slots=True)
class Cancelled(Event):
    """A job was ended by us before its end (a stop): it is charged `seconds` and does not count as a start."""

    kind: ClassVar[str] = "cancelled"
    job: str
    seconds: float = 0.0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Measured(Event):
    """A job's evidence. `candidates` are the commits whose trees it is about, in the job's order."""

    kind: ClassVar[str] = "measured"
    job: str
    task: str
    candidates: tuple[str, ...]
    epoch: str
    evidence: Evidence

    def speaks_of(self) -> tuple[str, ...]:
        return self.candidates


@dataclass(frozen=True, slots=True)
class Judged(Event):
    """The verdict on a candidate from all its evidence so far; a later one replaces it."""

    kind: ClassVar[str] = "judged"
    task: str
    candidate: str
    epoch: str
    verdict: Verdict
    rules: int = 1


@dataclass(frozen=True, slots=True)
class Promoted(Event):
    """A candidate became champion of its task. `gain` in fitness with its lower bound; `tries` since the last."""

    kind: ClassVar[str] = "promoted"
    task: str
    candidate: str
    over: str
    gain: float | None = None
    low: float | None = None
    blocks: int = 0
    tries: int = 1

    def speaks_of(self) -> tuple[str, ...]:
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class GateClosed(Event):
    """A champion gate ended without a promotion; it counts as a try."""

    kind: ClassVar[str] = "gate_closed"
    task: str
    candidate: str
    over: str
    gain: float
    low: float
    blocks: int
    tries: int


@dataclass(frozen=True, slots=True)
class Suspended(Event):
    kind: ClassVar[str] = "suspended"
    task: str
    candidate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Released(Event):
    kind: ClassVar[str] = "released"
    task: str
    candidate: str
    reason: str


@dataclass(frozen=True, slots=True)
class Quarantined(Event):
    """Out of the search, with the candidate that caused it (a shown cheat quarantines its descendants)."""

    kind: ClassVar[str] = "quarantined"
    task: str
    candidate: str
    reason: str
    cause: str = ""


@dataclass(frozen=True, slots=True)
class Pinned(Event):
    """A person asked to keep a candidate in the live population (or no longer)."""

    kind: ClassVar[str] = "pinned"
    task: str
    candidate: str
    pinned: bool = True


@dataclass(frozen=True, slots=True)
class Migrated(Event):
    """Membership only: a candidate is also a member of `island` from here on."""

    kind: ClassVar[str] = "migrated"
    task: str
    candidate: str
    island: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Lesson(Event):
    """What a run learnt, with the candidates that show it. key: names what it is about; a later one of a key replaces it.

    falsified: an idea that did not gain. expires: evaluations of the task after which it no longer counts; 0: never.
    """

    kind: ClassVar[str] = "lesson"
    task: str
    text: str
    evidence: tuple[str, ...] = ()
    falsified: bool = False
    expires: int = 0
    key: str = ""


@dataclass(frozen=True, slots=True)
class Tactic(Event):
    """A named family of approaches, proposed at a plateau. brief: the one that asked for it."""

    kind: ClassVar[str] = "tactic"
    task: str
    family: str
    text: str
    brief: int = 0


@dataclass(frozen=True, slots=True)
class Plateau(Event):
    """A step of the plateau ladder: nothing was gained for `waited` evaluations.

    rung: "tune", "resample", "tactic", "lineage" or "restart"; number: its place on the ladder, from 0. orders: briefs it
    wants, whose children join `island` ("": their parent's), with `hint` for the mutator.
    """

    kind: ClassVar[str] = "plateau"
    task: str
    rung: str
    number: int
    waited: int
    orders: int = 0
    island: str = ""
    hint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HandedOver(Event):
    """From here on a mutator's briefs go to `model` rather than to its cheapest."""

    kind: ClassVar[str] = "handed_over"
    mutator: str
    model: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class StudyOpened(Event):
    """The numbers of a candidate are handed to the numeric tuner; each trial is a brief and a candidate of its own.

    study: its id. fitness: of the candidate at that time. structure: digest of the program without its numbers.
    knobs: plain JSON, as `evolve.mutators.tune.plan` gives them. trials: most of them; opening: the quasi-random ones.
    radius: of the first trust region, in knob ranges; 0: a wide study, without one. polish: one polish by the task's gradients.
    """

    kind: ClassVar[str] = "study_opened"
    task: str
    study: str
    candidate: str
    fitness: float
    structure: str
    knobs: tuple[Mapping[str, Any], ...]
    trials: int
    opening: int
    why: str = ""
    radius: float = 0.0
    polish: bool = False

    def speaks_of(self) -> tuple[str, ...]:
        return (self.candidate,)


@dataclass(frozen=True, slots=True)
class StudyClosed(Event):
    """A study ended after `trials` of its own; gain: of its best trial in fitness, 0 where none was better."""

    kind: ClassVar[str] = "study_closed"
    task: str
    study: str
    trials: int
    gain: float
    why: str = ""


@dataclass(frozen=True, slots=True)
class Directive(Event):
    """A person's word to later briefs (`evolve note`)."""

    kind: ClassVar[str] = "directive"
    text: str
    task: str = ""


@dataclass(frozen=True, slots=True)
class BudgetChanged(Event):
    """New limits of the run; None leaves a limit as it is, a negative number removes it."""

    kind: ClassVar[str] = "budget_changed"
    evaluations: float | None = None
    seconds: float | None = None
    money: float | None = None
    tokens: float | None = None
    gpu_seconds: float | None = None
    by: str = "user"


@dataclass(frozen=True, slots=True)
class Spent(Event):
    """A cost outside answers and evidence: class "work", "tuning" or "error" (our own failures)."""

    kind: ClassVar[str] = "spent"
    on: str
    money: float | None = None
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    evaluations: int = 0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Paused(Event):
    """A person's steering: "paused" (nothing new starts), "running" again, "stopping" (finish and exit)."""

    kind: ClassVar[str] = "paused"
    state: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Session(Event):
    """A process opened or left the run. A run may have many; wall time is their sum."""

    kind: ClassVar[str] = "session"
    binding: ClassVar[bool] = False
    state: str
    host: str = ""
    pid: int = 0
    workers: int = 0
    sandbox: str = ""
    machine: str = ""
    seconds: float = 0.0
    why: str = ""


@dataclass(frozen=True, slots=True)
class Control(Event):
    """The live control's progress (random search beside the run): outside `evaluations` and `log`."""

    kind: ClassVar[str] = "control"
    binding: ClassVar[bool] = False
    task: str
    evaluations: int
    best: float | None


@dataclass(frozen=True, slots=True)
class GreedyControl(Event):
    """Progress of the greedy control (the best so far is always the parent): outside `evaluations` and `log`. `tree`: its best's."""

    kind: ClassVar[str] = "greedy_control"
    binding: ClassVar[bool] = False
    task: str
    evaluations: int
    best: float | None
    tree: str


@dataclass(frozen=True, slots=True)
class Closed(Event):
    """The run ended for a reason that a resume with the same budget would meet again."""

    kind: ClassVar[str] = "closed"
    reason: str


KINDS: dict[str, type[Event]] = {
    kind.kind: kind
    for kind in (
        RunOpened, EpochOpened, Rescored, Calibrated, Asked, Wanted, Leased, Told, Requested, Batched, Answered, Refused, Born,
        Fingerprinted, Imported, Started, Cancelled, Measured, Judged, Promoted, GateClosed, Suspended, Released, Quarantined,
        Pinned, Migrated, Lesson, Tactic, Plateau, HandedOver, StudyOpened, StudyClosed, Directive, BudgetChanged, Spent,
        Paused, Session, Control, GreedyControl, Closed,
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """An event this version does not know: kept, skipped by folds. `why`: what forbids writing beside it, if any."""

    kind: ClassVar[str] = "unknown"
    binding: ClassVar[bool] = False
    name: str
    data: Mapping[str, Any]
    why: str = ""


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event in its place: log ref, position in it (from 0), Lamport clock, wall time in seconds, commit id."""

    event: Event
    log: str
    position: int
    clock: int
    time: float
    oid: str = ""
    artifacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Message:
    """A log commit's message, read.

    position:  of the event in its log, from 0. time: wall clock in seconds, to the millisecond.
    artifacts: name -> (bytes kept, bytes cut out of the middle). kept: bytes of artifacts in this log so far.
    schema:    version of the writer.
    """

    event: Event
    clock: int
    position: int = 0
    time: float = 0.0
    artifacts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    kept: int = 0
    schema: tuple[int, int] = SCHEMA


def encode(
    event: Event,
    clock: int,
    *,
    position: int = 0,
    time: float = 0.0,
    artifacts: Mapping[str, tuple[int, int]] | None = None,
    kept: int = 0,
) -> str:
    """The commit message of an event: a subject a person can read, a blank line, one line of JSON. See `Message`."""
    body: dict[str, Any] = {"kind": event.kind, "schema": _SCHEMA, "clock": clock, "binding": event.binding}
    body["event"] = to_json(event)
    body["at"], body["time"] = position, round(time, 3)
    if artifacts:
        body["artifacts"] = {name: list(sizes) for name, sizes in artifacts.items()}
    if kept:
        body["kept"] = kept
    text = _dumps(body)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # a lone surrogate out of somebody's JSON: only an escape can carry it
        text = json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return f"{event.kind}\n\n{text}\n"


_SCHEMA = f"{SCHEMA[0]}.{SCHEMA[1]}"
_dumps = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode


def read(message: str) -> Message:
    """What a log commit's message says, for reading only: what this version cannot know is an `Unknown` with its `why`.

    Raises ArchiveError where the message is no event of ours at all.
    """
    try:
        body = json.loads(message.split("\n", 2)[2])
        major, minor = (int(part) for part in body["schema"].split("."))
        kind, clock, data = body["kind"], int(body["clock"]), body["event"]
        position, time, kept = int(body.get("at", 0)), float(body.get("time", 0.0)), int(body.get("kept", 0))
        artifacts = {name: (int(sizes[0]), int(sizes[1])) for name, sizes in body.get("artifacts", {}).items()}
    except (IndexError, KeyError, ValueError, AttributeError, TypeError) as error:
        raise ArchiveError(f"a log commit holds no event of ours: {message[:80]!r}") from error
    event: Event
    if major > SCHEMA[0]:
        why = f"event {kind!r} has schema {body['schema']}, this version reads {SCHEMA[0]}.x; upgrade evolve-search"
        event = Unknown(kind, data, why)
    elif kind not in KINDS:
        why = f"unknown binding event {kind!r} (schema {body['schema']}); upgrade evolve-search to write here"
        event = Unknown(kind, data, why if body.get("binding", True) else "")
    else:
        event = _known(KINDS[kind], data, (major, minor))
    return Message(event, clock, position, time, artifacts, kept, (major, minor))


def position(message: str) -> int:
    """Place of an event in its log, from 0, without decoding the rest of its message."""
    return read(message).position


def _known(kind: type[Event], data: Mapping[str, Any], schema: tuple[int, int]) -> Event:
    """A known kind with fields only a newer minor schema knows cannot be folded faithfully, so it is Unknown too."""
    try:
        return from_json(kind, data)
    except (ValueError, TypeError) as error:
        if schema > SCHEMA:
            return Unknown(
                kind.kind,
                data,
                f"event {kind.kind!r} of schema {schema[0]}.{schema[1]}: {error}; upgrade evolve-search",
            )
        raise ArchiveError(f"event {kind.kind!r} cannot be read: {error}") from error


def decode(message: str) -> tuple[Event, int]:
    """The event and Lamport clock of a log commit's message.

    Raises SchemaError for a newer major schema or an unknown binding kind: the archive may then only be read.
    """
    found = read(message)
    if isinstance(found.event, Unknown) and found.event.why:
        raise SchemaError(found.event.why)
    return found.event, found.clock

"""The protocols of evaluation: a job in, evidence out. The controller never runs a candidate; an executor does.

    Evaluator   plans the stages of a task and measures one job
    Executor    where jobs run (a pool of slots on this machine); hands back a Handle
    Sandbox     runs one command or one call in a rung of isolation (evaluators/sandbox)
    Channel     carries one framed message from the worker to the referee (evaluators/channel.py)

Each has a contract test class in `evolve.evaluators.testing` that ours and other people's implementations inherit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task


@dataclass(frozen=True, slots=True)
class Job:
    """A serialisable unit of evaluation.

    id:      unique within a run, derived from what it measures ("<number>/<stage>/<k>"), so a resume finds it again.
    task:    name of the task. trees: hex ids of 1..n trees, alternated within a block (candidate first, champion second).
    stage:   name of the stage. blocks: samples of each tree to take.
    first_block: number of the first block (a later look of a champion gate continues the count).
    attempt: starts of this job so far, from 1.
    parent:  hex id of the tree that the first one was made from, empty where none is meant; what early stopping compares with.
    """

    id: str
    task: str
    trees: tuple[str, ...]
    stage: str
    blocks: int = 1
    first_block: int = 0
    attempt: int = 1
    parent: str = ""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of judging, cheap to dear. `seconds` is what one sample may take at most (the reservation)."""

    name: str
    blocks: int = 1
    seconds: float = 60.0
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class Site:
    """Where and for what an evaluator measures: everything outside the job that evidence depends on.

    archive: path of the bare repository that holds the trees. base: hex id of the base tree.
    task_digest, evaluator: digests written into the evidence. scratch: a folder of the run's own.
    rung: the sandbox rung to use, as the controller's self-test found it.
    """

    task: Task
    archive: str
    base: str
    task_digest: str
    evaluator: str
    machine: str
    scratch: str
    rung: str = ""
    unsafe: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)


@runtime_checkable
class Evaluator(Protocol):
    """Turns trees into evidence. Lives in a slot's process (the referee), never in the candidate's.

    A candidate's failure is evidence (`Evidence.failures`). Raise InfrastructureError for our own: the job is tried
    again and never charged to the candidate.
    """

    def digest(self) -> str:
        """Names version, settings and the grader's own source; a change opens a new epoch."""
        ...

    def stages(self) -> Sequence[Stage]:
        """The stages before a verdict, in order; the last one's samples make the fitness. The champion gate repeats it."""
        ...

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        """Run the job. `progress` takes one line for the live view; it never carries a score.

        The job's stage is one of `stages()`, or repeats the last one under the strictest rules there are: "confirm" (a
        champion gate) or "verify" (an independent re-run, which takes nothing over from earlier jobs).
        """
        ...

    def close(self) -> None:
        """Give back processes, mounts and leases."""
        ...


class Handle(Protocol):
    """A job on its way."""

    async def result(self) -> Evidence:
        """The evidence. Raises InfrastructureError when the slot was lost; asyncio.CancelledError when killed."""
        ...

    def kill(self) -> None:
        """End the job and its whole process tree within a second."""
        ...


class Executor(Protocol):
    """Where jobs run. `start` returns at once; at most `slots` jobs run at a time, others wait inside."""

    slots: int

    async def start(self, job: Job, on_progress: Callable[[str], None] | None = None) -> Handle: ...

    async def close(self) -> None:
        """End every job and slot; nothing of a candidate is left."""
        ...

"""`evolve run --rescore`: the same run goes on where its task, its grader or the hardware changed.

Fitness is never compared across epochs, so a new one begins: no candidate has a verdict, the seed reigns. Stored
evidence is judged again where it was measured as it would be now (only what judging reads changed), or in an earlier
epoch of just this kind. Elsewhere the seed, the champion and each island's best are measured again, as ordinary jobs
that a resume goes on with; the rest stays in the lineage without a verdict.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace

import git

from evolve import evaluators
from evolve.errors import RepositoryError
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.population.writer import Writer
from evolve.search import Ground
from evolve.tasks.evidence import Evidence
from evolve.tasks.task import Task
from evolve.tasks.verdict import judge

ELITES = 8
"""Of each island, measured again in a new epoch."""

TASK_FILE = "evolve.toml"


def surroundings(task: Task, repository: git.Repo | None, old: ev.TaskOpened, archive: Archive, writer: Writer) -> str:
    """The commit whose protected files surround what is judged from now on: the old one, or a new one with those of HEAD
    where they differ and the base's editable files."""
    around = old.around or old.base
    if repository is None:
        return around
    with contextlib.suppress(ValueError):
        head = archive.import_commit(str(repository.git_dir), repository.head.commit.hexsha)
        store = archive.store
        if _protected(store, head, task) != _protected(store, around, task):
            base = store.tree_of(old.base)
            ours = {e.path: e.oid for e in store.entries(base) if task.may_edit(e.path)}
            theirs = {e.path: e.oid for e in store.entries(store.tree_of(head)) if task.may_edit(e.path)}
            edits: dict[str, bytes | None] = dict.fromkeys(theirs.keys() - ours.keys())
            edits |= {path: store.read(oid) for path, oid in ours.items() if theirs.get(path) != oid}
            tree = store.edit(store.tree_of(head), edits)
            return store.commit(tree, (old.base, head), f"Surroundings of {task.name} from {head[:12]}\n", writer.now())
    return around


def _protected(store: Store, commit: str, task: Task) -> Mapping[str, tuple[int, str]]:
    """The files a mutation may not change, without the task file: what it says counts, not how it is written."""
    return {
        e.path: (e.mode, e.oid)
        for e in store.entries(store.tree_of(commit))
        if not task.may_edit(e.path) and e.path != TASK_FILE
    }


def measuring(task: Task, store: Store, around: str) -> str:
    """Hex sha256 over what a measurement depends on: all that the task's digest has but for what only judging reads."""
    plain = replace(
        task.evaluate, objective=(), constraints=(), descriptors=(), repeats=type(task.evaluate.repeats)(),
        metrics=tuple(replace(metric, goal="max", unit="") for metric in task.evaluate.metrics),
    )  # fmt: skip
    facts = [replace(task, evaluate=plain).digest(), sorted(_protected(store, around, task).items())]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def begin(
    ground: Ground, opened: ev.TaskOpened, archive: Archive, writer: Writer, state: RunState
) -> str:  # fmt: skip
    """Open the epoch of `ground` in a run that has another; a sentence for the user. `opened`: the task as it is now."""
    task, lineage, store = ground.task.name, state.lineage, archive.store
    assert lineage.opened is not None
    old, known = lineage.opened.tasks[task], lineage.epochs[task]
    hardware = evaluators.hardware_class()
    before = Task.parse(old.source, where=f"task {task}", root=ground.task.root)
    same = (
        known.evaluator == ground.evaluator
        and known.hardware == hardware
        and measuring(before, store, old.around or old.base) == measuring(ground.task, store, opened.around or opened.base)
    )
    counted = (*lineage.counted(task), ground.epoch) if same else (ground.epoch,)
    gathered = dict(_evidence(archive, state, task, counted))
    again = [c for c in _elites(state, task) if c not in gathered]
    calibration = lineage.calibrations.get((task, known.epoch)) if same else None
    event = ev.Rescored(
        task, opened, ground.epoch, ground.task_digest, ground.evaluator, hardware, counted, tuple(again)
    )
    state.apply(writer.append(event))
    if calibration and (task, ground.epoch) not in lineage.calibrations:
        state.apply(writer.append(replace(calibration, epoch=ground.epoch)))
    for commit, evidence in gathered.items():
        verdict = judge(evidence, state.candidates[commit].tree, ground.task, lineage.calibration(task))
        state.apply(writer.append(ev.Judged(task, commit, ground.epoch, verdict)))
    return (
        f"task {task!r} is scored anew: {len(gathered)} candidates judged again from stored evidence, "
        f"{len(again)} of the best are measured again"
    )


def _evidence(
    archive: Archive, state: RunState, task: str, counted: tuple[str, ...]
) -> Iterator[tuple[str, list[Evidence]]]:
    """Candidates of a task with a verdict at some time, and the evidence of theirs that counts."""
    if not set(counted) & state.lineage.measured_in.get(task, {}).keys():
        return
        return
    for commit, candidate in list(state.candidates.items()):
        if candidate.task != task or commit in state.pending.candidates:
            continue
        events = (archive.event(oid) for oid in state.lineage.measured.get(commit, ()))
        found = [e.evidence for e in events if isinstance(e, ev.Measured) and e.epoch in counted]
        if found:
            yield commit, found


def _elites(state: RunState, task: str) -> list[str]:
    """The seed, the champion, what a person pinned, each island's best; the best first after the seed."""
    lineage = state.lineage
    islands = state.live.islands.get(task, {}).values()
    found = [commit for island in islands for commit in island.members[:ELITES]]
    found += [lineage.champions[task], *(c.commit for c in state.candidates.values() if c.pinned and c.task == task)]
    ranked = sorted(dict.fromkeys(found), key=lambda c: _rank(state.candidates[c]))
    return list(dict.fromkeys([lineage.seeds[task], *ranked]))


def _rank(candidate: Candidate) -> tuple[float, int]:
    return (-candidate.fitness if candidate.fitness is not None else float("inf"), candidate.number)


def refusal(what: str, task: str, run: str, detail: str = "") -> RepositoryError:
    """What a run says that meets a change without --rescore."""
    return RepositoryError(
        f"{what} of task {task!r} changed since run {run!r} was opened{detail}: its scores would not compare. "
        "'--rescore' goes on with it and scores the best anew; or give a new --name, or undo the change"
    )

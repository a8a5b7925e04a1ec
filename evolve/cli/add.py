"""evolve add"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from evolve.cli.common import (
    candidate_argument,
    json_option,
    live,
    only_task,
    open_archive,
    pick_run,
    print_json,
    run_option,
    say,
    task_of,
)
from evolve.errors import RepositoryError, UsageError
from evolve.naming import resolve
from evolve.opening import protected_digest, repository_around
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.git import Store
from evolve.population.novelty import shape, sketch
from evolve.population.publish import check_island
from evolve.population.writer import Writer
from evolve.tasks.policy import check_edit
from evolve.tasks.task import Task

FARTHEST = 10_000
"""Commits of a person's history that are looked through for one that is a candidate."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A commit ready to be entered. left_out: protected paths that differ from the base's and were not taken."""

    commit: str
    parents: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@click.command("add")
@candidate_argument("commit")
@run_option
@click.option("--task", metavar="TASK", help="Which task of the run.")
@click.option("--island", default="i1", show_default=True, metavar="ISLAND", help="Which subpopulation it joins.")
@click.option("--idea", default="", metavar="TEXT", help="What it tries, in a line (default: the commit's subject).")
@json_option
def command(commit: str, name: str | None, task: str | None, island: str, idea: str, as_json: bool) -> None:
    """Enter COMMIT (your own work, or another start) into a run as a candidate; it is judged like any other.

    Only its editable files count. Where it also changes protected files, a commit of the editable ones alone is entered.
    """
    check_island(island)
    archive = open_archive()
    run = pick_run(archive, name)
    if live(archive, run):
        raise RepositoryError(
            f"run {run!r} is being searched; 'evolve stop' it first, add, and start it again (an answer to a brief, "
            "'evolve ask' and 'evolve tell', can be handed in while it goes on)"
        )
    writer = archive.writer(run, exclusive=True)
    try:
        state = archive.state(run)
        task_name = only_task(state, task)
        definition = task_of(state, task_name)
        entry = _prepare(archive, state, writer, task_name, definition, _have(archive, state, commit))
        if repeated := _known(archive.store, state, task_name, definition, entry.commit):
            raise UsageError(f"{commit} is the same program as candidate #{repeated.number}; 'evolve show #{repeated.number}'")
        files = archive.store.files(entry.commit, definition.may_edit)
        number = state.pending.next_number
        subject = next(iter(archive.store.message_of(entry.commit).splitlines()), "")
        writer.append(
            ev.Imported(
                task_name, entry.commit, archive.store.tree_of(entry.commit), entry.parents, number, source="person",
                idea=idea or subject, island=island, shape=shape(files), sketch=sketch(files),
            )
        )  # fmt: skip
        writer.flush()
    finally:
        writer.close()
    if as_json:
        print_json({"run": run, "task": task_name, "commit": entry.commit, "number": number, "left_out": entry.left_out})
        return
    if entry.left_out:
        more = f" and {len(entry.left_out) - 1} more" if len(entry.left_out) > 1 else ""
        say(f"evolve: {entry.left_out[0]}{more} differ from the base's and are protected; only the editable files were taken")
    say(f"evolve: {entry.commit[:12]} is candidate #{number} of run {run!r}; the next 'evolve run' judges it")


def _have(archive: Archive, state: RunState, commit: str) -> str:
    """Full id of the named commit, brought into the archive."""
    oid = resolve(commit, archive, state, Path.cwd())
    repository = repository_around(Path.cwd())
    return archive.import_commit(str(repository.git_dir), oid) if repository is not None else oid


def _known(store: Store, state: RunState, task: str, definition: Task, commit: str) -> Candidate | None:
    """The candidate that is the same program, if there is one."""
    tree, files = store.tree_of(commit), store.files(commit, definition.may_edit)
    same = commit if commit in state.candidates else state.lineage.known_tree(task, tree)
    same = same or state.lineage.known_shape(task, shape(files))
    return state.candidates[same] if same else None


def _prepare(archive: Archive, state: RunState, writer: Writer, task: str, definition: Task, commit: str) -> Entry:
    """The commit itself where it differs from the base in editable files alone, else one that does."""
    store = archive.store
    seed = state.candidates[state.lineage.seeds[task]]
    parents = tuple(_ancestors(store, state, task, commit))[:1]
    if protected_digest(store, commit, definition) == protected_digest(store, seed.commit, definition):
        return Entry(commit, parents)
    parent = state.candidates[parents[0]] if parents else seed
    old = {e.path: e for e in store.entries(seed.tree)}
    new = {e.path: e for e in store.entries(store.tree_of(commit))}
    left_out = tuple(
        path
        for path in sorted(old.keys() | new.keys())
        if not definition.may_edit(path)
        and (old[path].oid if path in old else "") != (new[path].oid if path in new else "")
    )
    before, after = store.files(parent.tree, definition.may_edit), store.files(commit, definition.may_edit)
    edits: dict[str, bytes | None] = {path: text for path, text in after.items() if before.get(path) != text}
    edits |= {path: None for path in before if path not in after}
    if not edits:
        raise UsageError(f"{commit[:12]} changes no editable file ({', '.join(definition.editable)}); it changes {left_out[0]}")
    if why := check_edit(definition, {e.path: e.mode for e in store.entries(parent.tree)}, edits):
        raise UsageError(f"{commit[:12]} cannot be entered: {why}")
    subject = next(iter(store.message_of(commit).splitlines()), "") or "A person's work"
    message = f"{subject}\n\nTaken-from: {commit}\n"
    made = store.commit(store.edit(parent.tree, edits), (parent.commit,), message, writer.now())
    return Entry(made, (parent.commit,), left_out)


def _ancestors(store: Store, state: RunState, task: str, commit: str) -> Iterator[str]:
    """Candidates of the task on the commit's first-parent history, nearest first."""
    for _ in range(FARTHEST):
        parents = store.parents_of(commit) if store.holds_commit(commit) else ()
        if not parents:
            return
        commit = parents[0]
        if commit in state.candidates and state.candidates[commit].task == task:
            yield commit

"""evolve add"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import only_task, open_state, run_option, say, task_of
from evolve.errors import RepositoryError, UsageError
from evolve.opening import protected_digest, repository_around
from evolve.population import events as ev
from evolve.population.lock import held
from evolve.population.novelty import shape, sketch


@click.command("add")
@click.argument("commit")
@run_option
@click.option("--task", default=None, help="Which task of the run.")
@click.option("--island", default="i1", show_default=True)
@click.option("--idea", default="", help="What it tries, in a line.")
def command(commit: str, name: str | None, task: str | None, island: str, idea: str) -> None:
    """Enter COMMIT (your own work, or another start) into a run as a candidate; it is judged like any other."""
    archive, state = open_state(name)
    task_name = only_task(state, task)
    if held(archive.home / "locks" / f"{state.run}.lock"):
        raise RepositoryError(f"run {state.run!r} is being searched; 'evolve stop' it first, add, and start it again")
    repository = repository_around(Path.cwd())
    if archive.has(commit):
        oid = archive.resolve(commit)
    elif repository is not None:
        oid = archive.import_commit(str(repository.git_dir), commit)
    else:
        raise UsageError(f"no commit {commit!r} here or in the archive")
    definition = task_of(state, task_name)
    store = archive.store
    seed = state.candidates[state.lineage.seeds[task_name]]
    if protected_digest(store, oid, definition) != protected_digest(store, seed.commit, definition):
        raise UsageError(
            f"{commit} changes protected files (editable: {', '.join(definition.editable)}); only those may differ"
        )
    if oid in state.candidates:
        raise UsageError(f"{commit} is candidate #{state.candidates[oid].number} already")
    tree, files = store.tree_of(oid), store.files(oid, definition.may_edit)
    if earlier := state.lineage.known_tree(task_name, tree) or state.lineage.known_shape(task_name, shape(files)):
        raise UsageError(f"{commit} is the same program as candidate #{state.candidates[earlier].number}")
    writer = archive.writer(state.run)
    try:
        parents = tuple(p for p in store.parents_of(oid) if p in state.candidates)
        writer.append(
            ev.Imported(
                task_name, oid, tree, parents, state.pending.next_number, source="person",
                idea=idea or store.message_of(oid).splitlines()[0], island=island, shape=shape(files), sketch=sketch(files),
            )
        )  # fmt: skip
        writer.flush()
    finally:
        writer.close()
    say(
        f"evolve: {oid[:12]} is candidate #{state.pending.next_number} of run {state.run!r}; the next 'evolve run' judges it"
    )

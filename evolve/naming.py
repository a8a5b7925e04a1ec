"""What a person calls a candidate, as in git: HEAD and branches in their repository, ids and evolve/... in the archive."""

from __future__ import annotations

from pathlib import Path

import git

from evolve.errors import UsageError
from evolve.opening import repository_around
from evolve.population.archive import Archive
from evolve.population.folds import RunState


def resolve(name: str, archive: Archive, state: RunState, where: Path) -> str:
    """Full commit id of `name`.

    Order: `best`, `winner` or a task's champion by its word; a candidate's number as `#12`; an id or `evolve/<run>/...`
    (with ~ and ^) in the archive; then anything git knows in the repository around `where`. Raises UsageError.
    """
    if name in ("best", "champion"):
        for task in state.lineage.champions:
            return state.lineage.champions[task]
    if name.startswith("#") and name[1:].isdigit():
        for candidate in state.candidates.values():
            if candidate.number == int(name[1:]):
                return candidate.commit
        raise UsageError(f"run {state.run!r} has no candidate number {name[1:]}")
    if archive.has(name):
        return archive.resolve(name)
    repository = repository_around(where)
    if repository is not None:
        try:
            return str(repository.commit(name).hexsha)
        except (git.BadName, ValueError, git.GitCommandError):
            pass
    raise UsageError(
        f"no candidate or commit {name!r}; 'evolve log --name {state.run}' lists the candidates of this run"
    )

"""The exact commands that take a winner, as they are printed at a run's end and by `evolve best`."""

from __future__ import annotations

import shlex
from pathlib import Path

from evolve.errors import RepositoryError
from evolve.opening import repository_around
from evolve.population import place, usergit
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState


def how_to_take(state: RunState, archive: Archive, task: str, where: Path | None = None) -> list[str]:
    """Shell commands that take the champion of `task`, to be run in `where` (default: the working directory).

    A cherry-pick of the published `winner` for the user's repository, a patch applied where nothing is published, the
    changed files for a bundled task. Empty where no candidate is better than the seed.
    """
    opened, champion = state.lineage.opened, state.champion(task)
    if opened is None or champion is None or champion.commit == state.lineage.seeds[task]:
        return []
    where = where or Path.cwd()
    winner = published(state, archive, task, champion)
    if opened.tasks[task].bundled:
        git = "git" if winner and _home_repository(archive, where) else f"git --git-dir {_near(archive.path, where)}"
        name = winner or _own_branch(state, archive, task, champion) or champion.commit
        return [
            f"{git} show {shlex.quote(f'{name}:{path}')} > {shlex.quote(Path(path).name)}"
            for path in _changed(state, archive, task, champion)
        ]
    if winner:
        return [f"git cherry-pick {winner}"]
    base, git = opened.tasks[task].base, f"git --git-dir {_near(archive.path, where)}"
    return [f"{git} diff --binary {base[:12]} {champion.commit[:12]} | git apply --index"]


def published(state: RunState, archive: Archive, task: str, champion: Candidate) -> str:
    """Short name of the `winner` branch in the user's repository that holds the champion's tree; empty for none.

    Branches of another prefix than the usual one are found too.
    """
    repository = place.repository_of(archive.path)
    if repository is None:
        return ""
    tail = _tail(state, task)
    rows = usergit.run(repository, "for-each-ref", "--format=%(refname) %(tree)", f"refs/**/{tail}").stdout.splitlines()
    for row in rows:
        ref, _, tree = row.partition(" ")
        if tree == champion.tree:
            return ref.removeprefix("refs/heads/")
    return ""


def _own_branch(state: RunState, archive: Archive, task: str, champion: Candidate) -> str:
    """The archive's own `winner` branch, where it is up to date."""
    name = f"evolve/{_tail(state, task)}"
    commit = archive.refs.read(f"refs/heads/{name}")
    return name if commit and archive.store.tree_of(commit) == champion.tree else ""


def _tail(state: RunState, task: str) -> str:
    tasks = state.lineage.opened.tasks if state.lineage.opened else {}
    return f"{state.run}/winner" if len(tasks) == 1 else f"{state.run}/{task}/winner"


def _changed(state: RunState, archive: Archive, task: str, champion: Candidate) -> list[str]:
    """Paths whose content differs from the seed's, present in the champion."""
    seed = {e.path: e.oid for e in archive.store.entries(state.candidates[state.lineage.seeds[task]].tree)}
    ours = {e.path: e.oid for e in archive.store.entries(champion.tree)}
    return sorted(path for path, oid in ours.items() if seed.get(path) != oid)


def _home_repository(archive: Archive, where: Path) -> bool:
    """Whether `where` is inside the repository that the archive belongs to, so that plain `git` finds its branches."""
    home, here = place.repository_of(archive.path), repository_around(where)
    if home is None or here is None:
        return False
    try:
        return usergit.common_directory(str(here.git_dir)) == usergit.common_directory(home)
    except RepositoryError:
        return False


def in_git(archive: Archive, commit: str, where: Path | None = None) -> str:
    """The line for plain git that shows a commit of the archive."""
    return f"git --git-dir {_near(archive.path, where or Path.cwd())} show {commit}"


def _near(path: Path, where: Path) -> str:
    """Relative where it is below `where`, quoted for a shell."""
    try:
        return shlex.quote(str(path.relative_to(where)))
    except ValueError:
        return shlex.quote(str(path))

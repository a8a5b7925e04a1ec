"""What a person calls a candidate, as in git: HEAD and branches in their repository, ids and evolve/... in the archive."""

from __future__ import annotations

import re
from pathlib import Path

from evolve.errors import UsageError
from evolve.opening import repository_around
from evolve.population import place
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState

_SUFFIX = re.compile(r"^(?P<stem>.*?)(?P<steps>(?:[~^]\d*)*)$", re.DOTALL)
_ID = re.compile(r"[0-9a-f]{4,40}")


def resolve(name: str, archive: Archive, state: RunState, where: Path) -> str:
    """Full commit id of `name`, which may end in git's `~n` and `^n`.

    `best` (or `winner`) is the champion, `#12` a candidate's number. Ids and `evolve/<run>/...` are looked for in the
    archive first; everything else, such as HEAD, HEAD~2 and branches, in the repository around `where` first. Raises
    UsageError for a name that is none of these.
    """
    match = _SUFFIX.match(name)
    assert match is not None
    stem, steps = match["stem"], match["steps"]
    known = _word(stem, state)
    if known is not None:
        found = archive.resolve(known + steps) if steps else known
    else:
        ours = _ID.fullmatch(stem) or stem.startswith(("evolve/", "refs/evolve/", "refs/heads/evolve/"))
        repository = repository_around(where)
        theirs = [Path(str(repository.git_dir))] if repository is not None else []
        places = [archive.path, *theirs] if ours else [*theirs, archive.path]
        found = next((oid for one in places if (oid := place.resolve(one, name))), "")
    if not found:
        raise UsageError(
            f"no candidate or commit {name!r} of run {state.run!r} or of the repository here; "
            f"'evolve log --name {state.run}' lists the candidates"
        )
    return found


def candidate(name: str, archive: Archive, state: RunState, where: Path) -> Candidate:
    """The candidate that `name` means: by its commit, else (a squash, a cherry-pick) by its tree. Raises UsageError."""
    commit = resolve(name, archive, state, where)
    if commit in state.candidates:
        return state.candidates[commit]
    repository = repository_around(where)
    if archive.store.holds_commit(commit):
        tree = archive.store.tree_of(commit)
    else:
        tree = repository.commit(commit).tree.hexsha if repository is not None else ""
    for task in state.lineage.seeds:
        if tree and (same := state.lineage.known_tree(task, tree)):
            return state.candidates[same]
    raise UsageError(
        f"{name!r} ({commit[:12]}) is no candidate of run {state.run!r}; 'evolve log --name {state.run}' lists them, "
        f"'evolve add {name}' enters a commit of yours"
    )


def _word(stem: str, state: RunState) -> str | None:
    """The commit of a name that only a run gives, or None."""
    if stem in ("best", "winner", "champion"):
        champion = next(iter(state.lineage.champions.values()), None)
        if champion is None:
            raise UsageError(f"run {state.run!r} has no champion yet; 'evolve log' lists its candidates")
        return champion
    if stem.startswith("#") and stem[1:].isdigit():
        number = int(stem[1:])
        for commit, one in state.candidates.items():
            if one.number == number:
                return commit
        raise UsageError(f"run {state.run!r} has no candidate number {number}; it has {len(state.candidates)}")
    return None

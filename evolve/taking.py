"""The exact commands that take a winner: as a run's end and `evolve best` print them, and a candidate's page shows them."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from evolve.errors import RepositoryError
from evolve.opening import repository_around
from evolve.population import place, usergit
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState


@dataclass(frozen=True, slots=True)
class Way:
    """what: in words. commands: shell commands, one after the other."""

    what: str
    commands: tuple[str, ...]


def how_to_take(state: RunState, archive: Archive, task: str, where: Path | None = None) -> list[str]:
    """The first way to take the champion of `task`. Empty where no candidate is better than the seed."""
    champion = state.champion(task)
    if champion is None or champion.commit == state.lineage.seeds[task]:
        return []
    return list(ways(state, archive, champion, where)[0].commands)


def told(state: RunState, archive: Archive, task: str) -> list[str]:
    """Lines for a person: the first way to take the champion, the next one with what it does as a shell's comment."""
    champion = state.champion(task)
    found = ways(state, archive, champion) if champion else []
    lines = [f"{'take it' if k == 0 else '':9} {command}" for k, command in enumerate(found[0].commands if found else ())]
    return lines + [f"{'or':9} {command}  # {way.what}" for way in found[1:2] for command in way.commands]


def ways(state: RunState, archive: Archive, candidate: Candidate, where: Path | None = None) -> list[Way]:
    """Ways to take a candidate, to be run in `where` (default: the working directory), the plainest first.

    A cherry-pick of the published `winner` where that is this very candidate, `evolve pick`, the changed files of a
    bundled task (which has no history of the user's), a patch against the base. None for the base itself.
    """
    opened, seed = state.lineage.opened, state.lineage.seeds.get(candidate.task, "")
    if opened is None or candidate.commit == seed:
        return []
    where = where or Path.cwd()
    record = opened.tasks[candidate.task]
    git = f"git --git-dir {_near(archive.path, where)}"
    reigns = state.lineage.champions.get(candidate.task) == candidate.commit
    winner = published(state, archive, candidate.task, candidate) if reigns else ""
    change = f"{git} diff --binary {(record.base or seed)[:12]} {candidate.commit[:12]}"
    if record.bundled:
        plain = "git" if winner and _home_repository(archive, where) else git
        name = winner or (_own_branch(state, archive, candidate.task, candidate) if reigns else "") or candidate.commit
        files = [
            f"{plain} show {shlex.quote(f'{name}:{path}')} > {shlex.quote(Path(path).name)}"
            for path in _changed(state, archive, candidate)
        ]
        found = [Way("its files", tuple(files))] if files else []
        return [*found, Way("as a patch against the base", (f"{change} > winner.patch",))]
    pick = Way("onto your branch, measured again there", (f"evolve pick '#{candidate.number}' --name {shlex.quote(state.run)}",))
    patch = Way("as a patch against the base", (f"{change} | git apply --index",))
    if winner:
        return [Way("as one plain commit", (f"git cherry-pick {winner}",)), pick, patch]
    return [patch, pick] if reigns else [pick, patch] if candidate.eligible else [patch]


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


def _changed(state: RunState, archive: Archive, candidate: Candidate) -> list[str]:
    """Paths whose content differs from the seed's, present in the candidate."""
    seed = {e.path: e.oid for e in archive.store.entries(state.candidates[state.lineage.seeds[candidate.task]].tree)}
    ours = {e.path: e.oid for e in archive.store.entries(candidate.tree)}
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

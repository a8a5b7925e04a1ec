"""Branches of a run: `evolve/<run>/{best,winner,<island>}`, in the archive and published into the user's repository.

`winner` is a squash (parent: the base, tree: the champion's), so that one cherry-pick takes the whole gain. Publishing
is a fetch from the archive into the user's repository that runs no hook, starts no maintenance and writes no
FETCH_HEAD: only the named refs and the objects they need are added.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from evolve.population import place, usergit
from evolve.population.candidate import Candidate
from evolve.population.refs import check_name
from evolve.tasks.errors import RepositoryError, UsageError

if TYPE_CHECKING:
    from evolve.population.archive import Archive
    from evolve.population.folds import RunState

PREFIX = "refs/heads/evolve"

RESERVED = ("best", "winner")
"""Branches of every run; an island cannot have such a name."""


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did. refs: full name -> commit, in the repository `where`. skipped: full name -> why not."""

    where: Path
    refs: Mapping[str, str] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)


def check_island(name: str) -> str:
    """`name` where an island may have it. Raises UsageError: it becomes a branch beside `best` and `winner`."""
    check_name(name, "island name")
    if name in RESERVED:
        raise UsageError(f"an island cannot be called {name!r}: that is a branch of every run; choose another name")
    return name


def check_prefix(prefix: str) -> str:
    """Raises UsageError for what cannot hold refs."""
    if not re.fullmatch(r"refs(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+", prefix) or re.search(
        r"\.\.|\.lock(/|$)|\.(/|$)", prefix
    ):
        raise UsageError(f"prefix {prefix!r} must be a ref namespace such as 'refs/heads/evolve' or 'refs/evolve-runs'")
    return prefix


def check_room(archive: Archive, run: str, prefix: str = PREFIX) -> None:
    """Whether the run's branches can be made in the user's repository. To be asked before a run starts.

    Raises RepositoryError naming the branch in the way: one called as a folder of ours must be, or one that differs
    only in case; UsageError for a name that cannot be a branch's.
    """
    check_name(run)
    check_prefix(prefix)
    repository = place.repository_of(archive.path)
    if repository is None:
        return
    ours = f"{prefix}/{run}"
    for ref in usergit.run(repository, "for-each-ref", "--format=%(refname)").stdout.splitlines():
        short = ref.removeprefix("refs/heads/")
        if f"{ours}/".startswith(f"{ref}/"):
            raise RepositoryError(
                f"a branch called {short!r} is in the way of {ours.removeprefix('refs/heads/')}/best; rename it "
                f"('git branch -m {short} NAME'), set another prefix, or run with publish = false"
            )
        if f"{ref}/".casefold().startswith(f"{ours}/".casefold()) and not f"{ref}/".startswith(f"{ours}/"):
            raise RepositoryError(
                f"branch {short!r} differs from those of run {run!r} only in case; choose another name"
            )


def branches(state: RunState) -> dict[str, tuple[str, str]]:
    """Branch below `evolve/<run>/` -> (what it is, commit): "best" and islands; `winner` is made by `publish`.

    With several tasks each has a folder of its own. Raises UsageError for an island with a name that cannot be.
    """
    found: dict[str, tuple[str, str]] = {}
    tasks = list(state.lineage.opened.tasks) if state.lineage.opened else []
    for task in tasks:
        folder = "" if len(tasks) == 1 else f"{check_name(task, 'task name')}/"
        champion = state.lineage.champions.get(task)
        if champion:
            found[f"{folder}best"] = (task, champion)
        for island in list(state.live.islands.get(task, {}).values()):
            if island.best_commit:
                found[f"{folder}{check_island(island.name)}"] = (task, island.best_commit)
    return found


def publish(archive: Archive, state: RunState, prefix: str = PREFIX) -> Published:
    """Bring the run's branches up to date, in the archive and in the user's repository around it (if any).

    A branch that is checked out there is left as it is and named in the result. What the branches point at is made
    durable first. Raises RepositoryError where git refuses.
    """
    check_prefix(prefix)
    run = check_name(state.run)
    wanted: dict[str, str] = {}
    for branch, (task, commit) in branches(state).items():
        wanted[branch] = commit
        if branch.endswith("best") and branch.rpartition("/")[2] == "best":
            wanted[branch.removesuffix("best") + "winner"] = squash(archive, state, task, state.candidates[commit])
    archive.group.flush()
    repository = place.repository_of(archive.path)
    local = PREFIX if repository is not None else prefix
    for branch, commit in wanted.items():
        ref = f"{local}/{run}/{branch}"
        if archive.refs.read(ref) != commit:
            archive.refs.move(ref, commit)
    if repository is None:
        return Published(archive.path, {f"{prefix}/{run}/{branch}": commit for branch, commit in wanted.items()})
    return _fetch(archive.path, repository, run, prefix, wanted)


def _fetch(archive: Path, repository: Path, run: str, prefix: str, wanted: Mapping[str, str]) -> Published:
    have = dict(
        line.split(" ")
        for line in usergit.run(
            repository, "for-each-ref", "--format=%(refname) %(objectname)", f"{prefix}/{run}/"
        ).stdout.splitlines()
    )
    busy = _checked_out(repository)
    refs, skipped, specs = {}, {}, []
    for branch, commit in wanted.items():
        target = f"{prefix}/{run}/{branch}"
        if have.get(target) == commit:
            refs[target] = commit
        elif target in busy:
            skipped[target] = f"it is checked out in {busy[target]}; switch to another branch there"
        else:
            refs[target] = commit
            specs.append(f"+{PREFIX}/{run}/{branch}:{target}")
    if specs:
        usergit.run(
            repository, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-auto-maintenance", "--no-prune",
            "--no-recurse-submodules", "--no-show-forced-updates", str(archive), *specs,
        )  # fmt: skip
    return Published(repository, refs, skipped)


def withdraw(archive: Archive, run: str, prefix: str = PREFIX) -> Published:
    """Remove a run's branches again, from the archive and the user's repository; its log and candidates stay.

    One that is checked out stays and is named in the result.
    """
    check_prefix(prefix)
    check_name(run)
    repository = place.repository_of(archive.path)
    skipped: dict[str, str] = {}
    for where, space in {archive.path: PREFIX if repository else prefix, repository or archive.path: prefix}.items():
        busy = _checked_out(where)
        for ref in usergit.run(where, "for-each-ref", "--format=%(refname)", f"{space}/{run}/").stdout.splitlines():
            if ref in busy:
                skipped[ref] = f"it is checked out in {busy[ref]}; switch to another branch there"
            else:
                usergit.run(where, "update-ref", "-d", ref)
    return Published(repository or archive.path, skipped=skipped)


def _checked_out(repository: Path) -> dict[str, str]:
    """Full ref -> folder of the worktree that has it checked out."""
    found, folder = {}, ""
    for line in usergit.run(repository, "worktree", "list", "--porcelain").stdout.splitlines():
        key, _, value = line.partition(" ")
        if key == "worktree":
            folder = value
        elif key == "branch":
            found[value] = folder
    return found


def squash(archive: Archive, state: RunState, task: str, champion: Candidate) -> str:
    """The winner: the base's child with the champion's tree. A pure function of the champion and its verdict."""
    opened = state.lineage.opened
    assert opened is not None
    base = opened.tasks[task].base
    when = archive.store.commit_of(champion.commit).time
    return archive.store.commit(champion.tree, (base,), _message(state.run, task, base, champion), when)


def _message(run: str, task: str, base: str, champion: Candidate) -> str:
    subject = " ".join(champion.idea.split())[:100] if champion.commit != base else ""
    lines = [subject or f"Nothing better than the base yet ({run})", ""]
    verdict = champion.verdict
    if verdict:
        for name, value in verdict.metrics.items():
            spread = f" (95% interval {value.low:.6g} to {value.high:.6g}, n = {value.n})" if value.n > 1 else ""
            lines.append(f"{name} = {value.mean:.6g}{spread}")
        if verdict.self_reported:
            lines.append("Measured from the program's own output.")
        lines.append("")
    lines += [f"Evolve-Run: {run}", f"Evolve-Task: {task}", f"Evolve-Candidate: {champion.commit}"]
    return "\n".join(lines) + "\n"

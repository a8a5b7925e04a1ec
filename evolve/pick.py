"""Taking a winner upstream: the change as commits of the user's own, on a branch of theirs, and measured again there.

Everything is built in a temporary linked worktree: `git cherry-pick` merges (renames, conflicts as the user's git sees
them), `git commit` writes with their identity, signing and hooks. Their working tree, index and branches stay as they
are until the last step, which makes one new branch.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Literal

from evolve.errors import RepositoryError, UsageError
from evolve.minimal import Hunk, Reduction, apply, hunks_between, reduce
from evolve.population import place
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.remeasure import Paired, Remeasure
from evolve.tasks.task import Task

Mode = Literal["squash", "steps", "minimal"]


LOOKS = (1, 4)
"""Where a first look leaves open whether the gain survives, a second takes this many times the samples, all fresh. Each
is judged alone at a one-sided 2.5%, so both together call noise a gain at most 5% of the time."""


class Conflict(RepositoryError):
    """The change does not merge. `said`: git's own words; `paths`: the files in conflict."""

    def __init__(self, said: str, paths: Sequence[str], onto: str, commit: str) -> None:
        self.said, self.paths = said, tuple(paths)
        super().__init__(
            f"the change conflicts with {onto} in {', '.join(paths) or 'its files'}; nothing was changed\n{said}\n"
            f"to resolve it by hand: git switch -c evolve-pick {onto} && git cherry-pick {commit}"
        )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to take and where to. onto: any commit-ish of the user's repository. checked: whether to measure there."""

    candidate: str
    mode: Mode = "squash"
    onto: str = "HEAD"
    provenance: bool = False
    signoff: bool = False
    checked: bool = True
    blocks: int | None = None
    most: int = 200


@dataclass(frozen=True, slots=True)
class Part:
    """One commit to be: the archive's commit whose change against its parent it carries, and its message."""

    commit: str
    message: str


@dataclass(slots=True)
class Picked:
    """What came of it. commit: the last one made, in the user's repository, not yet on any branch of theirs.

    onto: full id it stands on. commits: those made, oldest first. skipped: subjects of parts that were there already.
    there: measured against `onto`, None where it was not. hooked: a hook of the user's changed what was committed.
    same: trees and base are those the run itself measured, so nothing new was there to measure.
    """

    commit: str
    onto: str
    commits: list[str]
    skipped: list[str] = field(default_factory=list)
    there: Paired | None = None
    reduction: Reduction | None = None
    hooked: bool = False
    same: bool = False


class Picker:
    """Takes candidates of one task of a run into the user's repository."""

    def __init__(
        self, archive: Archive, state: RunState, task: Task, where: Path, say: Callable[[str], None] = lambda _: None
    ) -> None:
        """Raises RepositoryError where there is no repository around `where`, or the run has nothing to do with it."""
        opened = state.lineage.opened
        assert opened is not None
        self.archive, self.state, self.task, self.say = archive, state, task, say
        self.repository = _repository(where)
        self.record = opened.tasks[task.name]
        if self.record.bundled:
            raise RepositoryError(
                f"task {task.name!r} came with the tool, so its files are no part of a history here; 'evolve best' "
                "prints the command that writes them, 'evolve pick --patch' the change as a patch"
            )
        self.git = Git(self.repository)
        self.base = self.record.base

    # ---- the whole of it -----------------------------------------------------------------------------------------

    async def pick(self, wanted: Wanted) -> Picked:
        """Raises Conflict, UsageError (an unknown commit, nothing to take), RepositoryError (a hook said no)."""
        candidate = self.state.candidates[wanted.candidate]
        if candidate.commit == self.base:
            raise UsageError("that is the base itself: there is nothing to take")
        if candidate.fitness is None or not candidate.eligible:
            why = candidate.verdict.reason if candidate.verdict else "it was never judged"
            raise UsageError(f"candidate #{candidate.number} has no standing fitness ({why}); pick another")
        onto = self.git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted.onto}^{{commit}}", ok=(0, 1))
        if not onto:
            raise UsageError(f"{wanted.onto!r} names no commit of {self.repository}")
        reduction = await self._minimal(candidate, wanted) if wanted.mode == "minimal" else None
        parts = self._parts(candidate, wanted, reduction)
        self.archive.store.flush()
        for part in parts:
            place.fetch_commit(self.git.directory, self.archive.path, part.commit)
        picked = self._build(parts, onto, wanted)
        picked.reduction = reduction
        if wanted.checked:
            await self._check(picked, candidate, wanted)
        return picked

    def _parts(self, candidate: Candidate, wanted: Wanted, reduction: Reduction | None) -> list[Part]:
        from evolve.upstream import message_of_step, message_of_whole

        store = self.archive.store
        when = store.commit_of(candidate.commit).time
        if wanted.mode == "steps":
            path = self.state.lineage.path_to(candidate.commit)
            parts = []
            for before, step in pairwise(path):
                text = message_of_step(self.state, self.task, before, step, provenance=wanted.provenance)
                commit = store.commit(step.tree, [before.commit], text, store.commit_of(step.commit).time)
                parts.append(Part(commit, text))
            return parts
        tree = candidate.tree
        if reduction is not None:
            base = store.tree_of(self.base)
            kept = [hunk for hunk, _ in reduction.kept]
            tree = store.edit(base, apply(store.files(base, self.task.may_edit), kept))
        text = message_of_whole(self.state, self.task, candidate, reduction, provenance=wanted.provenance)
        return [Part(store.commit(tree, [self.base], text, when), text)]

    # ---- the smallest change -------------------------------------------------------------------------------------

    async def _minimal(self, candidate: Candidate, wanted: Wanted) -> Reduction:
        store = self.archive.store
        base_tree = store.tree_of(self.base)
        before = store.files(base_tree, self.task.may_edit)
        hunks = hunks_between(before, store.files(candidate.tree, self.task.may_edit))
        seed = self.state.candidates[self.state.lineage.seeds[self.task.name]]
        gain = (candidate.fitness or 0.0) - (seed.fitness if seed.fitness is not None else 0.0)
        bench = Remeasure(self.archive, self.state, self.task.name)
        self.say(f"{len(hunks)} hunks; each is tried without, beside the whole change")

        async def compare(part: Sequence[Hunk], times: int) -> Paired:
            tree = store.edit(base_tree, apply(before, part))
            return await bench.compare(tree, candidate.tree, times * (wanted.blocks or bench.blocks))

        try:
            return await reduce(hunks, compare, gain, most=wanted.most, progress=self.say)
        finally:
            await bench.close()

    # ---- commits -------------------------------------------------------------------------------------------------

    def _build(self, parts: Sequence[Part], onto: str, wanted: Wanted) -> Picked:
        made: list[str] = []
        skipped: list[str] = []
        hooked = False
        with self._worktree(onto) as git:
            for part in parts:
                done = git.run("cherry-pick", "--no-commit", "--allow-empty", part.commit, ok=(0, 1))
                if done.returncode:
                    raise self._conflict(git, done, wanted.onto, parts, part)
                if git.run("diff", "--cached", "--quiet", ok=(0, 1)).returncode == 0:
                    skipped.append(part.message.partition("\n")[0])
                    continue
                staged = git("write-tree")
                git.commit(part.message, signoff=wanted.signoff)
                made.append(git("rev-parse", "HEAD"))
                hooked = hooked or git("rev-parse", "HEAD^{tree}") != staged
                git.run("reset", "--hard", "--quiet")
        if not made:
            raise UsageError(f"{wanted.onto} has this change already; there is nothing to take")
        return Picked(made[-1], onto, made, skipped, hooked=hooked)

    def _conflict(
        self, git: Git, done: subprocess.CompletedProcess[str], onto: str, parts: Sequence[Part], part: Part
    ) -> RepositoryError:
        paths = git("diff", "--name-only", "--diff-filter=U").splitlines()
        said = "\n".join(
            line
            for line in (done.stdout + done.stderr).splitlines()
            if line.startswith(("CONFLICT", "error:", "Auto-merging", "fatal:"))
        )
        if not paths and "CONFLICT" not in said:
            return RepositoryError(f"git cherry-pick failed: {(done.stderr or done.stdout).strip()}")
        step = f" (step {parts.index(part) + 1} of {len(parts)}: {part.message.partition(chr(10))[0]})" if len(parts) > 1 else ""
        return Conflict(said + step, paths, onto, part.commit)

    @contextlib.contextmanager
    def _worktree(self, commit: str) -> Iterator[Git]:
        """A linked worktree of the user's repository in a temporary folder, gone afterwards whatever happened."""
        folder = Path(tempfile.mkdtemp(prefix="evolve-pick-"))
        tree = folder / "tree"
        quiet = ("-c", f"core.hooksPath={os.devnull}")
        try:
            self.git.run(*quiet, "worktree", "add", "--quiet", "--detach", str(tree), commit)
            yield Git(tree)
        finally:
            self.git.run("worktree", "remove", "--force", str(tree), ok=(0, 128))
            shutil.rmtree(folder, ignore_errors=True)
            self.git.run("worktree", "prune", ok=(0, 128))

    # ---- measured there ------------------------------------------------------------------------------------------

    async def _check(self, picked: Picked, candidate: Candidate, wanted: Wanted) -> None:
        """The picked commit beside the commit it stands on, with that one's protected files around both."""
        ours = self.git("rev-parse", f"{picked.commit}^{{tree}}")
        theirs = self.git("rev-parse", f"{picked.onto}^{{tree}}")
        store = self.archive.store
        if ours == candidate.tree and theirs == store.tree_of(self.base):
            picked.same = True
            return
        for commit in (picked.onto, picked.commit):
            self.archive.import_commit(self.git.directory, commit)
        bench = Remeasure(self.archive, self.state, self.task.name, base=theirs)
        try:
            for times in LOOKS:
                blocks = times * (wanted.blocks or bench.blocks)
                self.say(f"measuring it beside {wanted.onto}, {blocks} times each")
                picked.there = await bench.compare(ours, theirs, blocks)
                if picked.there.high is None or picked.there.shown_better or picked.there.high <= 0:
                    break
        finally:
            await bench.close()

    # ---- into the repository -------------------------------------------------------------------------------------

    def branch(self, picked: Picked, name: str) -> str:
        """Make branch `name` at the picked commit. Raises UsageError for a name that is taken or no branch name."""
        if self.git.run("check-ref-format", "--branch", name, ok=(0, 1, 128)).returncode:
            raise UsageError(f"{name!r} is no name for a branch")
        if self.git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}", ok=(0, 1)):
            raise UsageError(f"branch {name!r} is there already; give another --branch")
        self.git.run("branch", "--no-track", name, picked.commit)
        return name

    def free_name(self, number: int) -> str:
        """`evolve-pick/<run>-<number>`, with a further number where that is taken."""
        stem = f"evolve-pick/{self.state.run}-{number}"
        name, k = stem, 2
        while self.git("rev-parse", "--verify", "--quiet", f"refs/heads/{name}", ok=(0, 1)):
            name, k = f"{stem}-{k}", k + 1
        return name

    def fast_forward(self, picked: Picked) -> str:
        """Move the branch checked out here, and with it the working tree, to the picked commit. Returns its name.

        Raises RepositoryError in git's words where it is not its descendant or local changes are in the way.
        """
        self.git.run("merge", "--ff-only", "--quiet", picked.commit)
        return self.git("rev-parse", "--abbrev-ref", "HEAD")

    def patch(self, picked: Picked) -> str:
        """The commits as `git format-patch` writes them: `git am` takes it."""
        return self.git.run("format-patch", "--stdout", "--full-index", f"{picked.onto}..{picked.commit}").stdout


class Git:
    """The user's git in one folder, as they would run it: their configuration, hooks and signing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def directory(self) -> Path:
        """The repository's own directory, shared by its worktrees."""
        return Path(self("rev-parse", "--path-format=absolute", "--git-common-dir"))

    def __call__(self, *arguments: str, ok: Sequence[int] = (0,)) -> str:
        return self.run(*arguments, ok=ok).stdout.strip()

    def run(self, *arguments: str, ok: Sequence[int] = (0,), stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Raises RepositoryError with git's own words for an exit code not in `ok`."""
        done = subprocess.run(
            ["git", *arguments], cwd=self.folder, env=_environment(), input=stdin, capture_output=True, text=True,
            errors="replace", check=False,
        )  # fmt: skip
        if done.returncode not in ok:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").replace("fatal: ", "")
            raise RepositoryError(f"git {_verb(arguments)} failed: {said}")
        return done

    def commit(self, message: str, *, signoff: bool) -> None:
        """With the user's identity, signing and hooks. Raises RepositoryError with what a hook said."""
        arguments = ["commit", "--quiet", "--cleanup=whitespace", "-F", "-"]
        if signoff or self("config", "--type=bool", "--get", "format.signOff", ok=(0, 1)) == "true":
            arguments.append("--signoff")
        self.run(*arguments, stdin=message)


def _verb(arguments: Sequence[str]) -> str:
    return next((a for a in arguments if not a.startswith("-") and "=" not in a), "")


def _environment() -> dict[str, str]:
    """The user's, less what would point git at another repository or index (as inside a hook of theirs)."""
    away = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_COMMON_DIR"}
    return {key: value for key, value in os.environ.items() if key not in away} | {"GIT_EDITOR": "true"}


def _repository(where: Path) -> Path:
    done = subprocess.run(
        ["git", "rev-parse", "--show-toplevel"], cwd=where, env=_environment(), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RepositoryError(f"{where} is in no git repository with a working tree; run 'evolve pick' in your own")
    return Path(done.stdout.strip())

"""Where archives are: finding one around a folder, making one beside the user's repository."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from evolve.population import disk, usergit
from evolve.population.lock import Lock
from evolve.tasks.errors import ArchiveError, RepositoryError, SchemaError, UsageError

FORMAT = 1
"""Of the archive as a repository (where refs and local files are); events have a version of their own."""

NAME = "archive.git"

FOLDER = "evolve-"
"""Begins the name of the folder that holds an archive outside any repository: `evolve-<task>`."""

_CONFIG = (
    ("evolve.archive", str(FORMAT)),
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("receive.autogc", "false"),
    ("core.fsync", "all"),
    ("core.logAllRefUpdates", "false"),
    ("fetch.unpackLimit", "1"),
    ("receive.unpackLimit", "1"),
    ("repack.writeBitmaps", "false"),
)


def home_of(archive: Path) -> Path:
    """The folder of what belongs to an archive and this machine only: locks, caches, logs."""
    return archive.parent if archive.name == NAME else archive / "evolve"


def repository_of(archive: Path) -> Path | None:
    """Git directory of the user's repository that an archive lives in; None for one that stands alone."""
    home = home_of(archive)
    common = home.parent
    return common if home.name == "evolve" and archive.name == NAME and (common / "HEAD").is_file() else None


def is_archive(path: Path) -> bool:
    """Raises SchemaError for an archive of a newer format."""
    config = path / "config"
    if not config.is_file():
        return False
    match = re.search(
        r"^\[evolve\]\n(?:\s+\w+ = .*\n)*?\s+archive = (\d+)$", config.read_text("utf-8", "replace"), re.MULTILINE
    )
    if match and int(match[1]) > FORMAT:
        raise SchemaError(f"{path} has archive format {match[1]}, this version knows {FORMAT}; upgrade evolve-search")
    return match is not None


def find(where: str | Path, task: str = "") -> Path | None:
    """The archive `where` is or holds, that of the repository around it, or that of its only `evolve-<task>` folder.

    Raises UsageError where several such folders are there to choose from and `task` does not say which.
    """
    here = Path(where).resolve()
    if not here.is_dir():
        if here.parent.is_dir() and here.name.startswith(FOLDER):
            return None
        raise UsageError(f"{where} is no folder; name one inside a repository, or an archive")
    for path in (here, here / NAME):
        if is_archive(path):
            return path
    common = usergit.common_directory(here)
    if common is not None and is_archive(common / "evolve" / NAME):
        return common / "evolve" / NAME
    found = [path for path in sorted(here.glob(f"{FOLDER}{task or '*'}/{NAME}")) if is_archive(path)]
    if len(found) > 1:
        names = ", ".join(path.parent.name for path in found)
        raise UsageError(f"{where} holds several archives ({names}); name one of these folders")
    return found[0] if found else None


def create(where: str | Path, task: str = "") -> Path:
    """Make the archive for `where`: in the repository around it, else in `./evolve-<task>/`. Returns one already there.

    From a repository with commits it is a local clone (packs hard-linked, no alternates) without its refs. `where` may
    itself be a folder called `evolve-<task>`, there or not.
    """
    here = Path(where).resolve()
    named = here.name.startswith(FOLDER)
    common = usergit.common_directory(here.parent if named and not here.exists() else here)
    if common is None and not task and not named:
        raise RepositoryError(f"{where} is in no git repository; run 'git init' there first, or name a bundled task")
    home = common / "evolve" if common is not None else here if named else here / f"{FOLDER}{task}"
    archive = home / NAME
    lock = _make_home(home)
    try:
        if not is_archive(archive):
            if archive.exists():
                raise ArchiveError(f"{archive} exists and is no archive of this tool; move it away")
            scratch = home / f"{NAME}.{os.getpid()}"
            try:
                _build(scratch, common)
                os.rename(scratch, archive)
                disk.sync_directory(str(home))
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except OSError as error:
        raise disk.DiskError(error, archive) from error
    finally:
        lock.close()
    return archive


def _make_home(home: Path) -> Lock:
    try:
        disk.make_directories(str(home), durable=True)
    except OSError as error:
        raise disk.DiskError(error, home) from error
    return Lock(home / "locks" / "create.lock", f"making {home}", patience=60.0)


def _build(path: Path, common: Path | None) -> None:
    if common is not None and _may_clone(common):
        usergit.run(common, "clone", "--quiet", "--bare", "--local", "--no-tags", "--template=", str(common), str(path))
        refs = usergit.run(path, "for-each-ref", "--format=delete %(refname)").stdout
        subprocess.run(
            ["git", "-C", str(path), "update-ref", "--stdin"],
            input=refs,
            env=usergit.environment(),
            text=True,
            check=True,
        )
        usergit.run(path, "remote", "remove", "origin")
    else:
        usergit.run(path.parent, "init", "--quiet", "--bare", "--template=", str(path))
    if usergit.run(path, "rev-parse", "--show-object-format").stdout.strip() != "sha1":
        raise RepositoryError(f"{common} uses SHA-256 object ids; this tool handles SHA-1 repositories")
    usergit.run(path, "symbolic-ref", "HEAD", "refs/heads/none")
    for key, value in _CONFIG:
        usergit.run(path, "config", key, value)
    usergit.run(path, "hash-object", "-w", "-t", "tree", "--stdin")  # the empty tree: an event's without artifacts
    _sync_tree(path)


def _sync_tree(path: Path) -> None:
    """Everything git made there is on disk; hard-linked packs are the user's and were there before."""
    for folder, _, files in os.walk(path):
        for file in files:
            fd = os.open(os.path.join(folder, file), os.O_RDONLY)
            try:
                if os.fstat(fd).st_nlink == 1:
                    disk.sync(fd)
            finally:
                os.close(fd)
        disk.sync_directory(folder)


def _may_clone(common: Path) -> bool:
    """A clone by hard links serves: whole history, own objects. Otherwise `import_commit` fetches what is needed."""
    objects = common / "objects"
    if (common / "shallow").exists() or (objects / "info" / "alternates").exists() or is_partial(common):
        return False
    if objects.is_symlink() or any(entry.is_symlink() for entry in os.scandir(objects)):
        return False  # git refuses to clone those by links
    return usergit.run(common, "rev-list", "--all", "--max-count=1").stdout.strip() != ""


def is_partial(common: Path) -> bool:
    """Whether a repository was cloned with --filter, so that objects of its own history may be elsewhere."""
    keys = r"^(extensions\.partialclone|remote\..*\.promisor)$"
    return usergit.run(common, "config", "--get-regexp", keys, ok=(0, 1)).returncode == 0


def fetch_commit(archive: Path, repository: str | Path, commit: str) -> None:
    """Bring one commit with all it needs from another repository. Raises RepositoryError saying what is missing.

    From a partial clone only the commit itself comes, without its history, which may be elsewhere.
    """
    common = usergit.common_directory(repository)
    if common is None:
        raise RepositoryError(f"{repository} is no git repository, so commit {commit} cannot be taken from it")
    arguments = [
        "fetch",
        "--quiet",
        "--no-tags",
        "--no-write-fetch-head",
        "--no-auto-maintenance",
        "--no-recurse-submodules",
    ]
    if is_partial(common):
        arguments.append("--depth=1")
    elif (common / "shallow").exists():
        arguments.append("--update-shallow")
    serve = "git -c uploadpack.allowAnySHA1InWant=true upload-pack"
    try:
        usergit.run(archive, *arguments, f"--upload-pack={serve}", str(common), commit)
    except RepositoryError as error:
        hint = f"; {_INCOMPLETE}" if is_partial(common) else ""
        raise RepositoryError(f"commit {commit} cannot be taken from {repository}{hint}: {error}") from error


_INCOMPLETE = (
    "it is a partial clone that lacks some of the commit's files: check the commit out once, or complete the clone "
    "with 'git fetch --refetch --no-filter'"
)


def resolve(repository: str | Path, name: str) -> str | None:
    """Full id of the commit that `name` means in a repository, as `git rev-parse` finds it; None for none."""
    if name.startswith("-"):
        return None
    done = usergit.run(
        repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}", ok=(0, 1, 128)
    )
    return done.stdout.strip() or None


def is_whole(archive: Path, commit: str) -> bool:
    """Whether everything in a commit's tree is here (submodules, which are elsewhere by nature, aside)."""
    done = usergit.run(archive, "rev-list", "--objects", "--no-walk", "--missing=print", commit, ok=(0, 128))
    return done.returncode == 0 and not any(line.startswith("?") for line in done.stdout.splitlines())

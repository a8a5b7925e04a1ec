"""A program laid out in a plain folder for somebody to edit, and what comes back of it.

The folder is a throw-away git repository of one commit. Whoever works there is not trusted: only the contents of
regular files are read, no link is followed, no pipe waited for, and no git is run in it afterwards.
"""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from evolve.errors import RepositoryError, UsageError
from evolve.tasks.policy import LARGEST_FILE, check_edit
from evolve.tasks.task import Task

MOST_READ = 100_000
"""Files of a folder that are looked at."""

PLAIN, EXECUTABLE = 0o100644, 0o100755


def lay(work: Path, files: Mapping[str, bytes], modes: Mapping[str, int]) -> None:
    """Write the files and make the folder a git repository of one commit. modes: path -> git mode."""
    work.mkdir(parents=True)
    for path, content in files.items():
        target = work / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        if modes.get(path, PLAIN) & 0o100:
            target.chmod(0o755)
    _commit(work)


def _commit(work: Path) -> None:
    """With nobody's configuration and no hook."""
    nobody = {f"GIT_{who}_{what}": "evolve@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = nobody | {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(work),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
    }
    for command in (
        ["init", "-q", "-b", "main", "--template="],
        ["add", "-A", "-f"],
        ["commit", "-q", "--allow-empty", "-m", "The program"],
    ):
        done = subprocess.run(
            ["git", "-C", str(work), *command], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise RepositoryError(f"git {command[0]} in {work} failed: {done.stderr.strip()}")


def collect(
    work: Path, files: Mapping[str, bytes], modes: Mapping[str, int], task: Task, leave: Sequence[str] = ()
) -> tuple[dict[str, bytes | None], list[str]]:
    """Files that differ from what was laid out, and paths of new ones that may not be added and are left where they are.

    files, modes: as for `lay`; modes may name more (links of the base), which stay as they are. leave: paths that are
    no part of the answer. Raises UsageError naming a protected file that was changed or deleted, or an editable one
    that is no plain file.
    """
    changed: dict[str, bytes | None] = {}
    ignored: list[str] = []
    present = set(_walk(work))
    for path in sorted(present):
        if path in leave or (path in modes and path not in files):
            continue
        if path not in files and not task.may_edit(path):
            ignored.append(path)
            continue
        content = regular(work / path, LARGEST_FILE)
        if content is None:
            raise UsageError(
                f"{path} in {work} is a link, a device or larger than {LARGEST_FILE} bytes; only plain files come back"
            )
        if files.get(path) != content:
            changed[path] = content
    changed.update({path: None for path in files if path not in present})
    if why := check_edit(task, modes, changed):
        raise UsageError(f"{why}. Undo that change in {work} ('git checkout -- PATH' there) and tell again")
    return changed, ignored


def _walk(work: Path) -> list[str]:
    """Paths of everything below that is no folder, but for git's own; links are listed, never followed."""
    found: list[str] = []
    for root, folders, names in os.walk(work, followlinks=False):
        here = os.path.relpath(root, work)
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in (".git", "__pycache__", *links))
        for name in [*names, *links]:
            if name == ".git":
                continue
            found.append(name if here == "." else f"{here}/{name}")
            if len(found) > MOST_READ:
                raise UsageError(f"{work} holds more than {MOST_READ} files; remove what the work left behind")
    return found


def regular(path: Path, cap: int) -> bytes | None:
    """Content of a plain file of at most `cap` bytes; None for anything else. Follows no link, waits for no pipe."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with os.fdopen(handle, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode) or about.st_size > cap:
            return None
        content = file.read(cap + 1)
    return content if len(content) <= cap else None

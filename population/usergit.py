"""Running git itself where the user's repository is concerned: with nothing of the caller's environment or the
repository's settings that could make it do more than it is told (hooks, gc, index, another repository)."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from evolve.tasks.errors import RepositoryError

_OURS = (
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("core.hooksPath", os.devnull),
    ("core.logAllRefUpdates", "false"),
    ("core.fsmonitor", "false"),
    ("fetch.prune", "false"),
    ("fetch.pruneTags", "false"),
    ("fetch.writeCommitGraph", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("fetch.showForcedUpdates", "false"),
    ("protocol.version", "2"),
    ("protocol.file.allow", "always"),
    ("advice.detachedHead", "false"),
)

_KEPT = {"GIT_CEILING_DIRECTORIES", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"}


def environment() -> dict[str, str]:
    """The caller's, less whatever would point git at another repository, index or object store (a hook's GIT_DIR)."""
    out = {k: v for k, v in os.environ.items() if not k.startswith("GIT_") or k in _KEPT}
    return out | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_REPLACE_OBJECTS": "1"}


def run(
    where: str | Path, *arguments: str, ok: Sequence[int] = (0,), nice: bool = False
) -> subprocess.CompletedProcess[str]:
    """`git -C where ...` to its end, output captured. Raises RepositoryError with git's own words on another exit."""
    settings = [part for key, value in _OURS for part in ("-c", f"{key}={value}")]
    command = ["git", "-C", str(where), *settings, *arguments]
    if nice:
        command = ["nice", "-n", "19", *command]
    try:
        done = subprocess.run(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
        )
    except FileNotFoundError as error:
        raise RepositoryError("git is not installed, or not on PATH; install git 2.31 or newer") from error
    if done.returncode not in ok:
        said = (done.stderr.strip() or done.stdout.strip() or f"exit status {done.returncode}").replace("fatal: ", "")
        raise RepositoryError(f"git {arguments[0]} in {where} failed: {said}")
    return done


def common_directory(where: str | Path) -> Path | None:
    """`$GIT_COMMON_DIR` of the repository around a folder (shared by its worktrees); None outside any."""
    if not Path(where).is_dir():
        raise RepositoryError(f"{where} is no folder")
    done = run(where, "rev-parse", "--path-format=absolute", "--git-common-dir", ok=(0, 128))
    if done.returncode == 0:
        return Path(done.stdout.rstrip("\n"))
    if "not a git repository" in done.stderr:
        return None
    raise RepositoryError(f"git cannot use the repository around {where}: {done.stderr.strip().replace('fatal: ', '')}")


def is_true(where: str | Path, question: str) -> bool:
    """A `git rev-parse --is-...` question."""
    return run(where, "rev-parse", question).stdout.strip() == "true"

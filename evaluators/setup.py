"""`[environment] setup`: run once for a base, by whoever comes first; what it leaves lies under every candidate's tree.

It is the user's own command on the user's own base, so it runs with the user's rights and network. It runs where
candidates will see its result (`Prepared.place`), so that what it writes down as absolute paths stays true.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from evolve.evaluators.evaluator import Site
from evolve.evaluators.materialise import Workshop
from evolve.tasks.errors import BaselineError

SECONDS = 1800.0
"""A setup that takes longer fails."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """place: the folder setup ran in. interpreters: host folders its virtual environments need to be seen."""

    place: Path
    interpreters: tuple[str, ...] = ()


def prepare(site: Site) -> Prepared | None:
    """The environment of a task's base, built now if it is not there; None where the task has no setup.

    Raises BaselineError where the command fails.
    """
    setup = site.task.environment.setup
    if not setup:
        return None
    facts = json.dumps([site.base, setup, dict(site.task.environment.env)], sort_keys=True)
    own = Path(site.scratch).absolute() / f"setup-{hashlib.sha256(facts.encode()).hexdigest()[:16]}"
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    place, done = own / "tree", own / "done"
    with open(own / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.is_file():
            shutil.rmtree(place, ignore_errors=True)
            _build(site, setup, place)
            _open_to_candidates(place)
            partial = own / "part"
            partial.write_text(json.dumps(sorted(_interpreters(place))))
            partial.rename(done)
    return Prepared(place, tuple(json.loads(done.read_text())))


def _build(site: Site, setup: str, place: Path) -> None:
    source = Workshop(site.archive, place.with_name("checkout"))
    try:
        source.folder(site.base).rename(place)
    finally:
        source.close()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", setup], cwd=place, env={**os.environ, **site.task.environment.env}, capture_output=True,
            text=True, timeout=SECONDS, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise BaselineError(f"environment.setup {setup!r} took longer than {SECONDS:.0f} s") from error
    if done.returncode != 0:
        tail = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no output"]
        raise BaselineError(f"environment.setup {setup!r} failed with exit code {done.returncode}: {tail[0][:300]}")


def _open_to_candidates(place: Path) -> None:
    """Everything in it may be read and, in a candidate's own upper layer, changed. Who may reach the folder at all is
    the business of the folders above, which are the user's alone."""
    for folder, folders, names in os.walk(place):
        for name in (*folders, *names):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            if not stat.S_ISLNK(mode):
                os.chmod(path, 0o777 if stat.S_ISDIR(mode) or mode & 0o100 else 0o666)
    os.chmod(place, 0o777)


def _interpreters(place: Path) -> set[str]:
    """Host folders outside that virtual environments up to three levels down take their interpreter from."""
    found = set()
    for pattern in ("pyvenv.cfg", "*/pyvenv.cfg", "*/*/pyvenv.cfg"):
        for path in place.glob(pattern):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                key, _, value = line.partition("=")
                if key.strip() == "home":
                    found |= {str(Path(value.strip()).parent), str(Path(os.path.realpath(value.strip())).parent)}
    return {path for path in found if os.path.isdir(path) and path not in ("/", "/usr", "/usr/local")}

"""A run in one file: a git bundle, which any git reads (`git clone run.bundle`) and this tool opens as an archive."""

from __future__ import annotations

from pathlib import Path

from evolve.errors import RepositoryError, UsageError
from evolve.population import usergit
from evolve.population.archive import Archive


def pack(archive: Archive, run: str, target: Path) -> Path:
    """Write a run's log and all its candidates, with the history below its base, to `target`.

    Raises UsageError for a run there is none of.
    """
    if run not in archive.runs():
        raise UsageError(f"no run {run!r}; there are: {', '.join(archive.runs()) or 'none'}")
    archive.group.flush()
    logs = [archive.log_ref(run, log) for log in archive.tips(run)]
    branches = usergit.run(archive.path, "for-each-ref", "--format=%(refname)", f"refs/heads/evolve/{run}/").stdout.split()
    usergit.run(archive.path, "bundle", "create", "--quiet", str(target.resolve()), *logs, *branches)
    return target


def unpack(bundle: Path, where: Path) -> Archive:
    """An archive of its own in the folder `where` (`where/archive.git`), holding the runs of a bundle.

    An archive already there gets them added. Raises RepositoryError where `bundle` is no git bundle.
    """
    if not bundle.is_file():
        raise RepositoryError(f"{bundle} is no file")
    named = where if where.name.startswith("evolve-") else where / f"evolve-{bundle.stem}"
    archive = Archive.open(named, create=True, task="recorded", durable=False)
    usergit.run(
        archive.path, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head", str(bundle.resolve()), "+refs/*:refs/*"
    )
    archive.store.reopen()
    return archive

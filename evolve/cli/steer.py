"""What the steering verbs share: an event on a log of one's own, which the live run picks up within a second."""

from __future__ import annotations

from evolve.cli.common import open_archive, say
from evolve.errors import RepositoryError, UsageError
from evolve.population import events as ev
from evolve.population.lock import held


def steer(name: str | None, event: ev.Event) -> tuple[str, bool]:
    """Append an event to a run; (run, whether a process is searching it now)."""
    archive = open_archive()
    runs = archive.runs()
    if not runs:
        raise RepositoryError(f"{archive.path} has no run yet; 'evolve run' starts one")
    if name is not None and name not in runs:
        raise UsageError(f"no run {name!r}; there are: {', '.join(runs)}")
    run = name or max(runs, key=lambda r: archive.state(r).last_time)
    writer = archive.writer(run)
    try:
        writer.append(event)
        writer.flush()
    finally:
        writer.close()
    return run, held(archive.home / "locks" / f"{run}.lock")


def tell(what: str, run: str, live: bool) -> None:
    say(
        f"evolve: run {run!r} {what}"
        + ("" if live else "; no process is searching it now, so it counts from the next start on")
    )

"""What the steering verbs share: an event on a log of one's own, which the live run picks up within a second."""

from __future__ import annotations

from typing import Any

from evolve.cli.common import live, open_archive, pick_run, print_json, say
from evolve.population import events as ev


def steer(name: str | None, event: ev.Event) -> tuple[str, bool]:
    """Append an event to a run; (run, whether a process is searching it now)."""
    archive = open_archive()
    run = pick_run(archive, name)
    writer = archive.writer(run)
    try:
        writer.append(event)
        writer.flush()
    finally:
        writer.close()
    return run, live(archive, run)


def tell(what: str, run: str, searched: bool, as_json: bool, **facts: Any) -> None:
    """Confirm on stderr, or as JSON on stdout: the run, whether a process is searching it, and `facts`."""
    if as_json:
        print_json({"run": run, "live": searched, **facts})
        return
    later = "" if searched else "; no process is searching it now, so it counts from the next start on"
    say(f"evolve: run {run!r} {what}{later}")

"""evolve wait"""

from __future__ import annotations

import time

import click

from evolve.cli.common import json_option, live, nearest, open_state, print_json, run_option, say
from evolve.errors import UsageError
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from evolve.tasks.task import duration

WHAT = ("improvement", "idle", "finished")


@click.command("wait")
@run_option
@click.option(
    "--for",
    "what",
    required=True,
    metavar="WHAT",
    help="A number of candidates, improvement, idle (nothing is measured: paused or not searched) or finished.",
)
@click.option("--timeout", metavar="T", help="Give up after this long, such as 90s or 8h (exit code 1).")
@json_option
def command(name: str | None, what: str, timeout: str | None, as_json: bool) -> int:
    """Block until a run has N candidates, has a new champion, or is no longer searched. Spends nothing.

    Exit code 0 when it got there, 1 when the time is over or nobody searches the run, so that it never will.
    """
    if not (what.isdigit() or what in WHAT):
        raise UsageError(f"--for {what!r} must be a number of candidates, or one of these words; {nearest(what, WHAT)}")
    archive, state = open_state(name)
    reached = _until(archive, state, what, duration(timeout, "--timeout") if timeout else None)
    if as_json:
        print_json({"run": state.run, "reached": reached, "evaluations": state.ledger.evaluations,
                    "live": live(archive, state.run), "champions": dict(state.lineage.champions)})  # fmt: skip
    return 0 if reached else 1


def _until(archive: Archive, state: RunState, what: str, limit: float | None) -> bool:
    began, champions = time.monotonic(), dict(state.lineage.champions)
    while True:
        searched = live(archive, state.run)  # before reading, so that a run's last words are not missed
        for recorded in archive.events(state.run, after=state.seen):
            state.apply(recorded)
        if _reached(state, what, champions, searched):
            return True
        if not searched:
            say(f"evolve: run {state.run!r} is not being searched")
            return False
        if limit is not None and time.monotonic() - began > limit:
            say(f"evolve: run {state.run!r} is not there yet: {state.ledger.evaluations} candidates judged")
            return False
        time.sleep(0.3)


def _reached(state: RunState, what: str, champions: dict[str, str], searched: bool) -> bool:
    if what.isdigit():
        return state.ledger.evaluations >= int(what)
    if what == "improvement":
        return state.lineage.champions != champions
    return not searched or (what == "idle" and state.ledger.state == "paused" and not state.pending.candidates)

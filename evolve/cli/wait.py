"""evolve wait"""

from __future__ import annotations

import sys
import time

import click

from evolve.cli.common import open_state, run_option
from evolve.errors import UsageError
from evolve.population.folds import RunState
from evolve.population.lock import held
from evolve.tasks.task import duration


@click.command("wait")
@run_option
@click.option(
    "--for", "what", required=True, metavar="WHAT", help="A number of candidates, 'improvement', 'idle' or 'finished'."
)
@click.option("--timeout", default=None, help="Give up after this long (exit code 1).")
def command(name: str | None, what: str, timeout: str | None) -> int:
    """Block until a run has N candidates, has a new champion, or is no longer searched. Spends nothing."""
    if not (what.isdigit() or what in ("improvement", "idle", "finished")):
        raise UsageError(f"--for {what!r}: a number of candidates, 'improvement', 'idle' or 'finished'")
    archive, state = open_state(name)
    lock = archive.home / "locks" / f"{state.run}.lock"
    began, champions = time.monotonic(), dict(state.lineage.champions)
    limit = duration(timeout, "--timeout") if timeout else None
    while True:
        for recorded in archive.events(state.run, after=state.seen):
            state.apply(recorded)
        if _reached(state, what, champions, held(lock)):
            return 0
        if not held(lock) and what not in ("idle", "finished"):
            click.echo(f"evolve: run {state.run!r} is not being searched", err=True)
            return 1
        if limit is not None and time.monotonic() - began > limit:
            return 1
        sys.stdout.flush()
        time.sleep(0.3)


def _reached(state: RunState, what: str, champions: dict[str, str], live: bool) -> bool:
    if what.isdigit():
        return state.ledger.evaluations >= int(what)
    if what == "improvement":
        return state.lineage.champions != champions
    return not live

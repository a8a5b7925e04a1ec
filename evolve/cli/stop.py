"""evolve stop"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, live, open_archive, pick_run, print_json, run_option, say
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("stop")
@run_option
@click.option("--why", default="", metavar="TEXT", help="Kept in the log.")
@json_option
def command(name: str | None, why: str, as_json: bool) -> None:
    """Let the run finish what it does and end; the same 'evolve run' goes on later."""
    archive = open_archive()
    run = pick_run(archive, name)
    if not live(archive, run):
        if as_json:
            print_json({"run": run, "live": False, "state": "not running"})
        say(f"evolve: run {run!r} is not being searched; there is nothing to stop")
        return
    archive.close()
    run, searched = steer(run, ev.Paused("stopping", why))
    tell("is to finish what it does and end", run, searched, as_json, state="stopping")

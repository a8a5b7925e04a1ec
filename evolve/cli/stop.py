"""evolve stop"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, run_option
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("stop")
@run_option
@click.option("--why", default="", metavar="TEXT", help="Kept in the log.")
@json_option
def command(name: str | None, why: str, as_json: bool) -> None:
    """Let the run finish what it does and end; the same 'evolve run' goes on later."""
    run, live = steer(name, ev.Paused("stopping", why))
    tell("is to finish what it does and end", run, live, as_json, state="stopping")

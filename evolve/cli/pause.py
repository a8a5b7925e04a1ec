"""evolve pause"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, run_option
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("pause")
@run_option
@click.option("--why", default="", metavar="TEXT", help="Kept in the log.")
@json_option
def command(name: str | None, why: str, as_json: bool) -> None:
    """Start nothing new; what is being measured is finished. 'evolve resume' goes on."""
    run, live = steer(name, ev.Paused("paused", why))
    tell("is to pause", run, live, as_json, state="paused")

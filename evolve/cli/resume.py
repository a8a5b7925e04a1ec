"""evolve resume"""

from __future__ import annotations

import click

from evolve.cli.common import run_option, say
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("resume")
@run_option
def command(name: str | None) -> None:
    """Un-pause a run. Where no process searches it, print the command that starts one again."""
    run, live = steer(name, ev.Paused("running"))
    tell("goes on", run, live)
    if not live:
        say(f"evolve: start it again with: evolve run --name {run} (with the task it was started with)")

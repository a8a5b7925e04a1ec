"""evolve note"""

from __future__ import annotations

import click

from evolve.cli.common import run_option
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("note")
@click.argument("text")
@run_option
@click.option("--task", default="", help="Only for this task of the run.")
def command(text: str, name: str | None, task: str) -> None:
    """Say TEXT to every later brief: a directive to whoever writes the next mutation."""
    run, live = steer(name, ev.Directive(text, task))
    tell("has your note", run, live)

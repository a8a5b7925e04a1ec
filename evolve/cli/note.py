"""evolve note"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, only_task, open_state, run_option
from evolve.cli.steer import steer, tell
from evolve.population import events as ev


@click.command("note")
@click.argument("text")
@run_option
@click.option("--task", default="", metavar="TASK", help="Only for this task of the run.")
@json_option
def command(text: str, name: str | None, task: str, as_json: bool) -> None:
    """Say TEXT to every later brief: a directive to whoever writes the next mutation."""
    if task:
        only_task(open_state(name)[1], task)
    run, searched = steer(name, ev.Directive(text, task))
    tell("has your note", run, searched, as_json, note=text)

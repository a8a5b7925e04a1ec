"""evolve resume"""

from __future__ import annotations

import shlex

import click

from evolve.cli.common import json_option, open_state, run_option, say
from evolve.cli.steer import steer, tell
from evolve.population import events as ev
from evolve.population.folds import RunState


@click.command("resume")
@run_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Un-pause a run. Where no process searches it, print the command that starts one again."""
    run, searched = steer(name, ev.Paused("running"))
    again = start_again(open_state(run)[1])
    tell("goes on", run, searched, as_json, state="running", start=None if searched else again)
    if not searched and not as_json:
        say("evolve: start it again with:")
        click.echo(again)


def start_again(state: RunState) -> str:
    """The command that goes on with a run, from what its log says of how it was opened."""
    opened = state.lineage.opened
    assert opened is not None
    words = ["evolve", "run", *(task.bundled for task in opened.tasks.values() if task.bundled)]
    if len(opened.tasks) != 1 or state.run not in opened.tasks:
        words += ["--name", state.run]
    for mutator in filter(None, opened.mutator.split(",")):
        words += ["--mutator", mutator] if opened.mutator != "syntactic" else []
    if opened.selector not in ("", "islands"):
        words += ["--selector", opened.selector]
    return shlex.join(words)

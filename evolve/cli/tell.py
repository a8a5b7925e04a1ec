"""evolve tell"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import json_option, print_json, say


@click.command("tell")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--idea", default="", help="What you changed and why, in a line.")
@click.option("--why", default="", help="A longer explanation, kept with it.")
@click.option("--model", default="", help="Which model wrote it, if one did (for credit).")
@click.option("--money", type=float, default=None, help="What it cost in US dollars, if known.")
@click.option("--give-up", default="", metavar="WHY", help="Hand the brief back without an answer.")
@click.option("--wait", "patience", default="10m", show_default=True, help="How long to wait for the verdict.")
@json_option
def command(
    folder: Path, idea: str, why: str, model: str, money: float | None, give_up: str, patience: str, as_json: bool
) -> int:
    """Hand in the answer in FOLDER (of 'evolve ask') and wait for what becomes of it.

    Only the contents of files that may change are taken. Exit code 0: judged, or on its way; 1: refused or too late.
    """
    from evolve.outside import Answer, tell
    from evolve.tasks.records import to_json
    from evolve.tasks.task import duration

    outcome = tell(folder, Answer(idea, why, model, money, give_up), wait=duration(patience, "--wait"))
    if as_json:
        print_json(to_json(outcome))
    for path in outcome.ignored:
        say(f"evolve: {path} is new and not editable; it was not taken")
    if outcome.state == "born":
        fitness = "" if outcome.fitness is None else f", fitness {outcome.fitness:.6g}"
        say(f"evolve: candidate {outcome.candidate[:12]} {outcome.status or 'not judged yet'}{fitness}")
        if outcome.why:
            say(f"evolve: {outcome.why}")
        return 0
    say(f"evolve: brief {outcome.brief}: {outcome.state}{': ' + outcome.why if outcome.why else ''}")
    return 0 if outcome.state == "waiting" or give_up else 1

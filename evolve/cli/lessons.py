"""evolve lessons"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, open_state, plain, print_json, run_option


@click.command("lessons")
@run_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """What a run learnt from its own verdicts, with the candidates that show it; what was falsified, and until when."""
    _, state = open_state(name)
    rows = [
        {
            "task": item.task,
            "text": item.text,
            "falsified": item.falsified,
            "expires": item.expires or None,
            "evidence": list(item.evidence),
        }
        for item in state.memory.lessons
    ]
    if as_json:
        print_json(rows)
        return
    if not rows:
        click.echo("no lessons: they are kept where the run's policy shows them ('--policy lessons=0.35', docs/search.md)")
    for item in state.memory.lessons:
        numbers = ", ".join(f"#{state.candidates[c].number}" for c in item.evidence if c in state.candidates)
        until = f"; counts until evaluation {item.expires}" if item.expires else ""
        click.echo(plain(f"{item.text} (from {numbers}{until})"))

"""evolve diff"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import colours, open_state, run_option
from evolve.naming import resolve


@click.command("diff")
@click.argument("candidate", default="best")
@click.argument("other", required=False)
@run_option
@click.option("--parent", is_flag=True, help="Against its first parent instead of the task's base.")
@click.option("--no-pager", is_flag=True, help="Print straight to stdout.")
def command(candidate: str, other: str | None, name: str | None, parent: bool, no_pager: bool) -> None:
    """What CANDIDATE changed: against the base, against its parent (--parent), or from CANDIDATE to OTHER."""
    archive, state = open_state(name)
    commit = resolve(candidate, archive, state, Path.cwd())
    if other:
        before, after = commit, resolve(other, archive, state, Path.cwd())
    elif parent:
        known = state.candidates.get(commit)
        before, after = (known.parents[0] if known and known.parents else commit), commit
    else:
        known = state.candidates.get(commit)
        task = known.task if known else next(iter(state.lineage.seeds))
        before, after = state.lineage.seeds[task], commit
    text = archive.store.diff(before, after)
    if not colours():
        click.echo(text, nl=False)
        return
    painted = "\n".join(_paint(line) for line in text.splitlines())
    if no_pager:
        click.echo(painted)
    else:
        click.echo_via_pager(painted + "\n")


def _paint(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return click.style(line, bold=True)
    if line.startswith("@@"):
        return click.style(line, fg="cyan")
    if line.startswith("+"):
        return click.style(line, fg="green")
    if line.startswith("-"):
        return click.style(line, fg="red")
    return line

"""evolve ask"""

from __future__ import annotations

import getpass
import os
from pathlib import Path

import click

from evolve.cli.common import json_option, open_state, print_json, run_option, say


@click.command("ask")
@click.argument("folder", required=False, type=click.Path(path_type=Path), metavar="[FOLDER]")
@run_option
@click.option("--as", "holder", default="", help="Who takes it (default: your user name).")
@click.option(
    "--operator", default="", help="improve, explore, simplify, fix or combine (default: the search chooses)."
)
@click.option("--task", default="", help="Which task of the run.")
@click.option("--lease", default="1h", show_default=True, help="How long it is yours, such as 30m or 8h.")
@click.option("--wait", "patience", default="30s", show_default=True, help="How long to wait for a running search.")
@json_option
def command(
    folder: Path | None,
    name: str | None,
    holder: str,
    operator: str,
    task: str,
    lease: str,
    patience: str,
    as_json: bool,
) -> None:
    """Take a brief to work on outside: a FOLDER with brief.md, brief.json and the program in work/.

    Works on a run that is being searched, and on one that is not. 'evolve tell FOLDER' hands the answer in.
    """
    from evolve.outside import ask
    from evolve.tasks.task import duration

    archive, state = open_state(name)
    target = folder or _fresh(f"brief-{state.run}")
    taken = ask(
        archive,
        state,
        target,
        holder=holder or f"{getpass.getuser()}-{os.getpid()}",
        operator=operator,
        task=task,
        seconds=duration(lease, "--lease"),
        wait=duration(patience, "--wait"),
    )
    if as_json:
        facts = {
            "folder": str(target),
            "brief": taken.brief.number,
            "operator": taken.brief.operator,
            "until": taken.until,
        }
        print_json(facts | {"parents": list(taken.brief.parents), "holder": taken.holder})
    else:
        click.echo(str(target))
        say(
            f"evolve: brief {taken.brief.number} ({taken.brief.operator}); read {target / 'brief.md'}, edit {target / 'work'}"
        )


def _fresh(stem: str) -> Path:
    for number in range(1, 10_000):
        path = Path(f"{stem}-{number}")
        if not path.exists():
            return path
    raise click.UsageError(f"too many folders called {stem}-N here; name one")

"""evolve diff"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from evolve.cli.common import candidate_argument, colours, json_option, open_state, plain, print_json, run_option
from evolve.naming import candidate as find
from evolve.naming import resolve


@click.command("diff")
@candidate_argument(default="best")
@candidate_argument("other", required=False)
@run_option
@click.option("--parent", is_flag=True, help="Against its first parent instead of the task's base.")
@click.option("--no-pager", is_flag=True, help="Print straight to stdout.")
@json_option
def command(
    candidate: str, other: str | None, name: str | None, parent: bool, no_pager: bool, as_json: bool
) -> None:
    """What CANDIDATE changed: against the base, against its parent (--parent), or from CANDIDATE to OTHER.

    Into a file or a pipe it is a patch (binary files are named only); on a terminal it is coloured and paged.
    """
    archive, state = open_state(name)
    here = Path.cwd()
    if other:
        before, after = (archive.import_commit(*_place(resolve(word, archive, state, here), archive.path))
                         for word in (candidate, other))  # fmt: skip
    else:
        known = find(candidate, archive, state, here)
        before = known.parents[0] if parent and known.parents else state.lineage.seeds[known.task]
        after = known.commit
    text = archive.store.diff(before, after)
    if as_json:
        print_json({"from": before, "to": after, "patch": text})
    elif not os.isatty(1):
        sys.stdout.buffer.write(text.encode())  # click.echo would take escape sequences out of it
    else:
        shown = "\n".join(_paint(plain(line, lines=True)) for line in text.split("\n"))
        if no_pager:
            click.echo(shown, nl=False)
        else:
            os.environ.setdefault("LESS", "FRX")
            click.echo_via_pager(shown, color=colours())


def _place(commit: str, archive: Path) -> tuple[Path, str]:
    """Where a commit is to be had from: the archive itself, or the repository here."""
    from evolve.opening import repository_around
    from evolve.population import place

    repository = repository_around(Path.cwd())
    if place.resolve(archive, commit) or repository is None:
        return archive, commit
    return Path(str(repository.git_dir)), commit


def _paint(line: str) -> str:
    if not colours():
        return line
    if line.startswith(("+++", "---", "diff ", "index ")):
        return click.style(line, bold=True)
    for start, colour in (("@@", "cyan"), ("+", "green"), ("-", "red")):
        if line.startswith(start):
            return click.style(line, fg=colour)
    return line

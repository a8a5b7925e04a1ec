"""evolve init"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import say


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite an evolve.toml that is there.")
def command(force: bool) -> None:
    """Look at the repository here and write an evolve.toml to go on from. Asks nothing."""
    from evolve.errors import RepositoryError, UsageError
    from evolve.opening import repository_around
    from evolve.survey import survey

    repository = repository_around(Path.cwd())
    if repository is None:
        raise RepositoryError("no git repository here; 'git init' and commit the code that is to be evolved first")
    root = Path(str(repository.working_dir))
    target = root / "evolve.toml"
    if target.exists() and not force:
        raise UsageError(f"{target} is there already; --force overwrites it")
    text, guesses = survey(root, [str(path) for path in repository.git.ls_files().splitlines()])
    target.write_text(text, encoding="utf-8")
    for guess in guesses:
        say(f"evolve: {guess}")
    click.echo(str(target))
    say("evolve: read it, correct it, then 'evolve check'")

"""evolve init"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import json_option, near, print_json, say


@click.command("init")
@click.option("--force", is_flag=True, help="Overwrite an evolve.toml that is there.")
@json_option
def command(force: bool, as_json: bool) -> None:
    """Look at the repository here and write an evolve.toml to go on from. Asks nothing and runs nothing."""
    from evolve.errors import RepositoryError, UsageError
    from evolve.opening import repository_around
    from evolve.survey import survey

    repository = repository_around(Path.cwd())
    if repository is None:
        raise RepositoryError("no git repository here; 'git init' and commit the code that is to be evolved first")
    root = Path(str(repository.working_dir))
    target = root / "evolve.toml"
    if target.exists() and not force:
        raise UsageError(f"{near(target)} is there already; --force overwrites it")
    found = survey(root, [str(path) for path in repository.git.ls_files("-z").split("\0") if path])
    warnings = list(found.warnings)
    if not repository.head.is_valid():
        warnings.append("nothing is committed yet; commit the code first, since a run starts from a commit")
    elif changed := repository.git.diff("--name-only", "HEAD").splitlines():
        warnings.append(f"{changed[0]} has uncommitted changes; a run starts from HEAD and does not see them")
    target.write_text(found.text, encoding="utf-8")
    if as_json:
        print_json({"file": str(target), "guesses": found.guesses, "warnings": warnings})
        return
    click.echo(near(target))
    for text in found.guesses:
        say(f"evolve: {text}")
    for text in warnings:
        say(f"evolve: warning: {text}")
    say("evolve: read it, correct it, then 'evolve check' and 'evolve run'")

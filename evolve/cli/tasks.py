"""evolve tasks"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, print_json
from evolve.tasks import bundled
from evolve.tasks.task import Task


@click.command("tasks")
@json_option
def command(as_json: bool) -> None:
    """The bundled tasks: what each asks, and its metric."""
    rows = []
    for name in bundled.names():
        folder = bundled.find(name)
        assert folder is not None
        task = Task.load(folder)
        metric = task.objectives[0]
        rows.append(
            {
                "name": name,
                "metric": metric.name,
                "goal": metric.goal,
                "unit": metric.unit,
                "about": _about(folder / "README.md"),
            }
        )
    if as_json:
        print_json(rows)
        return
    for row in rows:
        click.echo(f"{row['name']:24} {row['goal']} {row['metric']:<20} {row['about']}")


def _about(readme: object) -> str:
    """First sentence of a task's README."""
    from pathlib import Path

    path = Path(str(readme))
    if not path.is_file():
        return ""
    for block in path.read_text(encoding="utf-8").split("\n\n"):
        if block.strip() and not block.startswith("#"):
            return " ".join(block.split()).split(". ")[0].rstrip(".")
    return ""

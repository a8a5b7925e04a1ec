"""evolve tasks"""

from __future__ import annotations

from pathlib import Path

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
                "gpus": task.evaluate.gpus,
                "editable": list(task.editable),
                "folder": str(folder),
                "about": about(folder / "README.md"),
            }
        )
    if as_json:
        print_json(rows)
        return
    wide = max(len(str(row["name"])) for row in rows)
    for row in rows:
        gpus = f"  [{row['gpus']} GPU{'s' if row['gpus'] != 1 else ''}]" if row["gpus"] else ""
        click.echo(f"{row['name']:{wide}}  {row['goal']} {row['metric']:<14} {row['about']}{gpus}")


def about(readme: Path) -> str:
    """First sentence of a task's README; empty where there is none."""
    if not readme.is_file():
        return ""
    for block in readme.read_text(encoding="utf-8").split("\n\n"):
        if block.strip() and not block.startswith("#"):
            return " ".join(block.split()).split(". ")[0].rstrip(".")
    return ""

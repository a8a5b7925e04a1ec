"""evolve check"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from evolve.cli.common import json_option, metric_text, print_json


@click.command("check")
@click.argument("tasks", nargs=-1, metavar="[TASK]...")
@click.option("--name", "-n", metavar="RUN", help="Name of the run that the result is stored in (default: the task's).")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a task key.")
@click.option("--unsafe", is_flag=True, help="Without a sandbox where none holds here.")
@json_option
def command(tasks: tuple[str, ...], name: str | None, overrides: tuple[str, ...], unsafe: bool, as_json: bool) -> int:
    """Judge the seed, measure its noise, try a no-op and a broken candidate, and look for holes in the task.

    The result is kept: a run of this name starts from it. Exit code 3 where the task cannot be searched.
    """
    from evolve import api
    from evolve.errors import UsageError
    from evolve.settings import RunSettings

    pairs = dict(text.split("=", 1) for text in overrides if "=" in text)
    if len(pairs) != len(overrides):
        raise UsageError("--set takes KEY=VALUE, such as evaluate.timeout=5s")
    settings = RunSettings(
        tasks=tasks, where=Path.cwd(), name=name, overrides=pairs, workers=1, unsafe=unsafe, control=False
    )
    session = api.open_session(settings)
    reports = asyncio.run(session.check_only())
    rows = []
    for task, report in reports.items():
        metric = session.opened.grounds[task].task.objectives[0]
        rows.append(
            {
                "task": task,
                "metric": metric.name,
                "seed": metric.sign * (report.seed.fitness or 0.0),
                "sigma": dict(report.calibration.sigma),
                "runs": report.calibration.dof + 1,
                "seconds": round(report.seconds, 2),
                "findings": [{"level": f.level, "name": f.name, "text": f.text} for f in report.findings],
            }
        )
        if not as_json:
            click.echo(f"task      {task}")
            click.echo(f"seed      {metric_text(metric, report.seed.fitness, report.seed.low, report.seed.high)}")
            for finding in report.findings:
                click.echo(f"{finding.level:9} {finding.name}: {finding.text}")
    if as_json:
        print_json(rows)
    return 0

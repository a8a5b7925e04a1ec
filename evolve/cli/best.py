"""evolve best"""

from __future__ import annotations

import click

from evolve.cli.common import (
    candidate_row,
    how_to_take,
    json_option,
    metric_text,
    only_task,
    open_state,
    print_json,
    run_option,
    task_of,
)


@click.command("best")
@run_option
@click.option("--task", default=None, help="Which task of the run.")
@click.option("--why", is_flag=True, help="The path from the seed to the champion, each step with its idea and gain.")
@json_option
def command(name: str | None, task: str | None, why: bool, as_json: bool) -> None:
    """The reigning champion and the command that takes it."""
    archive, state = open_state(name)
    task = only_task(state, task)
    champion, metric = state.champion(task), task_of(state, task).objectives[0]
    if champion is None or champion.verdict is None:
        click.echo(f"run {state.run!r} has no champion yet", err=True)
        return
    take = how_to_take(state, archive, task)
    path = state.lineage.path_to(champion.commit)
    if as_json:
        print_json({**candidate_row(state, champion), "take": take, "path": [candidate_row(state, c) for c in path]})
        return
    verdict = champion.verdict
    click.echo(f"best      {metric_text(metric, verdict.fitness, verdict.low, verdict.high)}")
    click.echo(f"commit    {champion.commit}  (candidate #{champion.number}, {len(path) - 1} steps from the seed)")
    for number, line in enumerate(take):
        click.echo(f"{'take it' if number == 0 else '':9} {line}")
    if why:
        click.echo("")
        before: float | None = None
        for step in path:
            fitness = step.fitness
            gain = f"{metric.sign * (fitness - before):+.4g}" if fitness is not None and before is not None else ""
            worth = metric_text(metric, fitness)
            mark = "*" if step.was_champion else " "
            click.echo(f"{mark} #{step.number:<5} {step.commit[:10]} {worth:<28} {gain:>10}  {step.idea[:70]}")
            before = fitness if fitness is not None else before

"""evolve best"""

from __future__ import annotations

from typing import Any

import click

from evolve.cli.common import (
    candidate_row,
    json_option,
    metric_text,
    only_task,
    open_state,
    plain,
    print_json,
    run_option,
    say,
    style,
    task_of,
)
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.folds.lineage import Reign
from evolve.taking import how_to_take, in_git, told


@click.command("best")
@run_option
@click.option("--task", metavar="TASK", help="Which task of the run.")
@click.option("--why", is_flag=True, help="The path from the seed to the champion, each step with its idea and gain.")
@json_option
def command(name: str | None, task: str | None, why: bool, as_json: bool) -> int:
    """The reigning champion and the command that takes it. Exit code 1 where nothing is judged yet."""
    archive, state = open_state(name)
    task = only_task(state, task)
    champion, metric = state.champion(task), task_of(state, task).objectives[0]
    if champion is None or champion.verdict is None:
        say(f"evolve: run {state.run!r} has no champion yet: its seed is not judged")
        return 1
    take = how_to_take(state, archive, task)
    path = steps(state, champion)
    if as_json:
        print_json({**candidate_row(state, champion), "take": take, "path": path})
        return 0
    verdict, seed = champion.verdict, state.candidates[state.lineage.seeds[task]]
    mark = " (self-reported)" if verdict.self_reported else ""
    click.echo(f"best      {style(metric_text(metric, verdict.fitness, verdict.low, verdict.high), fg='green')}{mark}")
    click.echo(f"seed      {metric_text(metric, seed.fitness)}")
    click.echo(f"commit    {champion.commit} (candidate #{champion.number}, {len(path) - 1} step{'s' if len(path) != 2 else ''} from the seed)")
    if not take:
        click.echo("winner    none: nothing was better than the seed beyond the noise")
    for line in told(state, archive, task):
        click.echo(line)
    click.echo(f"in git    {in_git(archive, champion.commit)}")
    if why:
        click.echo("\n* champion once; gain: as the champion gate measured it [at least], else ~ by one screening\n")
        for step in path:
            click.echo(_step(step, metric.sign))
    return 0


def steps(state: RunState, champion: Candidate) -> list[dict[str, Any]]:
    """The path from the seed as rows of `log --json`, each with its gain in fitness over the step before.

    gain, gain_low: of the champion gate where the step passed one, over the champion of that time; otherwise the
    difference of the two verdicts, and gain_low is None.
    """
    reigns: dict[str, Reign] = {reign.candidate: reign for reign in state.lineage.reigns.get(champion.task, [])}
    rows = []
    before: float | None = None
    for step in state.lineage.path_to(champion.commit):
        row, reign = candidate_row(state, step), reigns.get(step.commit)
        row["gain"] = step.fitness - before if step.fitness is not None and before is not None else None
        row["gain_low"] = None
        if reign is not None and reign.gain is not None:
            row["gain"], row["gain_low"] = reign.gain, reign.low
        rows.append(row)
        before = step.fitness if step.fitness is not None else before
    return rows


def _step(row: dict[str, Any], sign: float) -> str:
    worth = "-" if row["fitness"] is None else f"{sign * row['fitness']:.6g}"
    gain = ""
    if row["gain_low"] is not None:
        gain = f"{row['gain']:+.3g}" + ("" if row["gain_low"] == row["gain"] else f" [{row['gain_low']:+.2g}]")
    elif row["gain"] is not None:
        gain = f"~{row['gain']:+.3g}"
    mark = "*" if row["was_champion"] else " "
    commit = style(row["commit"][:10], fg="yellow")
    return f"{mark} #{row['number']:<5} {commit} {worth:>12} {gain:>20}  {plain(row['idea'])[:70]}"

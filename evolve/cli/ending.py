"""What a person reads when a run ends: how it went, how the control did, the plot, and how to take the winner."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from evolve.cli.common import near, print_json, say
from evolve.cli.progress import clock, counts
from evolve.taking import how_to_take, told

if TYPE_CHECKING:
    from evolve.session import Result, Session

_REASONS = {
    "seconds": "the time is up",
    "evaluations": "the evaluations are used up",
    "money": "the money is spent",
    "tokens": "the tokens are used up",
    "gpu_seconds": "the GPU time is used up",
    "until": "as good as was asked for",
    "stopped": "stopped on request; the same command goes on",
    "interrupted": "interrupted; the same command goes on",
    "terminated": "terminated; the same command goes on",
}


def finish(session: Session, result: Result, *, as_json: bool) -> int:
    """Print the outcome (stdout: the facts, or one JSON document) and draw the plot. Returns the exit code."""
    rows = [outcome(session, result, name) for name in session.opened.grounds]
    plot, missing = _plot(session)
    if as_json:
        print_json(
            {
                "run": result.run,
                "reason": result.reason,
                "evaluations": result.evaluations,
                "seconds": round(result.seconds, 3),
                "invalid": dict(session.state.lineage.failures),
                "plot": str(plot) if plot else None,
                "tasks": rows,
            }
        )
        return result.exit_code
    why = _REASONS.get(result.reason, result.reason)
    say(f"evolve: {why}; {result.evaluations} candidates, {clock(result.seconds)}")
    for row in rows:
        _tell(row)
        for line in told(session.state, session.opened.archive, row["task"]):
            click.echo(line)
    if session.state.lineage.failures:
        click.echo(f"invalid   {counts(session.state.lineage.failures)}")
    if plot:
        click.echo(f"plot      {near(plot)}")
    elif missing:
        say("evolve: no plot was drawn: matplotlib is not installed (pip install 'evolve-search[plot]')")
    say(f"evolve: look closer with 'evolve best --why', 'evolve log --graph', 'evolve diff', 'evolve ui'{_where(session)}")
    return result.exit_code


def outcome(session: Session, result: Result, name: str) -> dict[str, Any]:
    """One task's end as plain JSON, in the metric's own direction and unit."""
    task = session.opened.grounds[name].task
    metric = task.objectives[0]
    champion = result.best.get(name)
    seed = session.state.candidates[session.state.lineage.seeds[name]]
    verdict = champion.verdict if champion else None

    def beside(found: tuple[int, float | None] | None) -> dict[str, Any] | None:
        if found is None:
            return None
        return {"evaluations": found[0], "best": metric.sign * found[1] if found[1] is not None else None}

    interval: list[float | None] = [None, None]
    if verdict and verdict.low is not None and verdict.high is not None:
        interval = [*sorted((metric.sign * verdict.low, metric.sign * verdict.high))]
    return {
        "task": name,
        "metric": metric.name,
        "unit": metric.unit,
        "goal": metric.goal,
        "best": metric.sign * verdict.fitness if verdict and verdict.fitness is not None else None,
        "low": interval[0],
        "high": interval[1],
        "seed": metric.sign * seed.fitness if seed.fitness is not None else None,
        "commit": champion.commit if champion else None,
        "improved": bool(champion and champion.commit != seed.commit),
        "control": beside(result.control.get(name)),
        "greedy": beside(result.greedy.get(name)),
        "dear": result.dear.get(name),
        "self_reported": task.self_reported,
        "take": how_to_take(session.state, session.opened.archive, name),
    }  # fmt: skip


def _best(control: dict[str, Any]) -> str:
    return "nothing valid" if control["best"] is None else f"{control['best']:.6g}"


def _greedy(row: dict[str, Any]) -> str:
    """How the greedy control did, or why there was none."""
    if row["greedy"]:
        return f"always editing the best so far reached {_best(row['greedy'])} in {row['greedy']['evaluations']} (key-less edits, no tuner)"
    if row["dear"]:
        return f"no greedy control: an evaluation takes {row['dear']:.3g} s ('--greedy' runs it)"
    return "no greedy control (--no-greedy)"


def _tell(row: dict[str, Any]) -> None:
    click.echo(f"task      {row['task']} ({row['goal']} {row['metric']}{', ' + row['unit'] if row['unit'] else ''})")
    if row["best"] is None:
        click.echo("best      none: the seed has no verdict yet")
    else:
        shown = f"{row['best']:.9g}"
        if row["low"] is not None and row["low"] != row["high"]:
            shown += f" [{row['low']:.6g}, {row['high']:.6g}]"
        mark = ", self-reported by the candidate" if row["self_reported"] else ""
        click.echo(f"best      {shown}; the seed had {row['seed']:.6g}{mark}")
    if row["control"]:
        click.echo(f"control   random search reached {_best(row['control'])} in {row['control']['evaluations']} evaluations beside the run")
        click.echo(f"greedy    {_greedy(row)}")
    else:
        click.echo("control   none (--no-control): nothing says how random search would have done")
    if row["commit"]:
        click.echo(f"commit    {row['commit']}")
    if not row["improved"]:
        click.echo("winner    none: nothing was better than the seed beyond the noise")


def _plot(session: Session) -> tuple[Path | None, bool]:
    """(the picture, whether matplotlib is missing). Nothing is drawn of a run without a scored candidate."""
    from evolve.plot import best_so_far, drawable

    if session.state.lineage.scored == 0:
        return None, False
    if not drawable():
        return None, True
    return best_so_far(session, session.opened.archive.home / f"{session.opened.run}.png"), False


def _where(session: Session) -> str:
    """How to reach an archive that the commands would not find from here, or that has other runs."""
    from evolve.cli.common import pick_run
    from evolve.errors import EvolveError
    from evolve.population.archive import Archive

    run = session.opened.run
    try:
        archive = Archive.open(Path.cwd())
        here = archive.path == session.opened.archive.path and pick_run(archive, None) == run
        archive.close()
    except EvolveError:  # several archives in this folder
        return f", each after 'evolve -C {near(session.opened.archive.home)}'"
    return "" if here else f", each with '--name {run}'"

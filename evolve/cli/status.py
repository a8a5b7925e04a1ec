"""evolve status"""

from __future__ import annotations

import time
from typing import Any

import click

from evolve.cli.common import json_option, metric_text, open_archive, print_json, run_option, task_of
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from evolve.population.lock import held


@click.command("status")
@run_option
@click.option("--watch", is_flag=True, help="Stay and redraw every second.")
@json_option
def command(name: str | None, watch: bool, as_json: bool) -> None:
    """How the runs of this archive stand: evaluations, best, budget, failures, what is under way."""
    archive = open_archive()
    if watch and not as_json:
        _watch(archive, name)
        return
    rows = [row(archive, archive.state(run)) for run in ([name] if name else archive.runs())]
    if as_json:
        print_json(rows)
        return
    for one in rows:
        click.echo("\n".join(lines(one)))


def _watch(archive: Archive, name: str | None) -> None:
    """Redraws from scratch each time, so that a resized or re-attached terminal is right at the next second."""
    from rich.live import Live
    from rich.text import Text

    runs = [name] if name else archive.runs()
    states = {run: archive.state(run) for run in runs}
    with Live(refresh_per_second=2, screen=False) as live:
        while True:
            text = []
            for run, state in states.items():
                for recorded in archive.events(run, after=state.seen):
                    state.apply(recorded)
                text += [*lines(row(archive, state)), ""]
            live.update(Text("\n".join(text)))
            if all(not row(archive, state)["live"] for state in states.values()):
                return
            time.sleep(1)


def row(archive: Archive, state: RunState) -> dict[str, Any]:
    """One run as plain JSON."""
    ledger, lineage = state.ledger, state.lineage
    tasks = {}
    for task in lineage.opened.tasks if lineage.opened else ():
        champion = state.champion(task)
        metric = task_of(state, task).objectives[0]
        verdict = champion.verdict if champion else None
        control = lineage.control.get(task)
        tasks[task] = {
            "best": metric_text(metric, verdict.fitness, verdict.low, verdict.high) if verdict else "not measured yet",
            "fitness": verdict.fitness if verdict else None,
            "commit": champion.commit if champion else None,
            "champions": len(lineage.reigns.get(task, [])),
            "evaluated": lineage.evaluated.get(task, 0),
            "stalled": state.live.stalled.get(task, 0),
            "islands": {
                island.name: {"live": len(island.members), "evaluated": island.evaluated}
                for island in state.live.islands.get(task, {}).values()
            },
            "control": control.best * metric.sign if control and control.best is not None else None,
        }  # fmt: skip
    return {
        "run": state.run,
        "live": held(archive.home / "locks" / f"{state.run}.lock"),
        "state": ledger.state,
        "closed": ledger.closed,
        "candidates": ledger.evaluations,
        "scored": lineage.scored,
        "failures": lineage.failures,
        "refused": lineage.refused,
        "seconds": round(ledger.seconds(), 1),
        "limits": ledger.limits,
        "money": ledger.money,
        "unknown_prices": ledger.unknown,
        "tokens": ledger.tokens,
        "gpu_seconds": ledger.gpu_seconds,
        "evaluator_cpu_seconds": round(ledger.evaluator_cpu, 1),
        "own_errors": ledger.errors,
        "under_way": {"briefs": len(state.pending.briefs), "candidates": len(state.pending.candidates)},
        "tasks": tasks,
    }


def lines(one: dict[str, Any]) -> list[str]:
    """The same for a person."""
    how = "running" if one["live"] else "not running"
    if one["state"] != "running":
        how += f", {one['state']}"
    if one["closed"]:
        how += f", closed: {one['closed']}"
    out = [f"run {one['run']}  ({how})"]
    limits = ", ".join(f"{what} {value:g}" for what, value in one["limits"].items()) or "none"
    out.append(
        f"  candidates  {one['candidates']} judged, {one['scored']} scored; {one['seconds']:.0f} s of wall time; limits: {limits}"
    )
    for task, facts in one["tasks"].items():
        out.append(
            f"  {task:10}  {facts['best']}  ({facts['champions']} promotions, {facts['stalled']} since the last)"
        )
        if facts["control"] is not None:
            out.append(f"  {'control':10}  {facts['control']:.6g} by random search")
    if one["failures"]:
        out.append("  invalid     " + ", ".join(f"{kind} {count}" for kind, count in sorted(one["failures"].items())))
    if one["refused"]:
        out.append("  refused     " + ", ".join(f"{kind} {count}" for kind, count in sorted(one["refused"].items())))
    if one["money"] or one["tokens"] or one["unknown_prices"]:
        unknown = f" and {one['unknown_prices']} answers of unknown price" if one["unknown_prices"] else ""
        out.append(f"  models      {one['money']:.4f} dollars{unknown}, {one['tokens']} tokens")
    if one["own_errors"]:
        out.append(f"  our errors  {one['own_errors']}")
    return out

"""evolve status"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import click

from evolve.cli.common import (
    json_option,
    live,
    metric_text,
    open_archive,
    pick_run,
    print_json,
    run_option,
    say,
    style,
    task_of,
)
from evolve.cli.progress import clock, console, counts
from evolve.forecast import forecast
from evolve.population.archive import Archive
from evolve.population.folds import RunState

REDRAW = 1.0
"""Seconds between two looks of `--watch`."""


@click.command("status")
@run_option
@click.option("--watch", "-w", is_flag=True, help="Stay and redraw every second until nothing is searched any more.")
@json_option
def command(name: str | None, watch: bool, as_json: bool) -> None:
    """How the runs of this archive stand: evaluations, best, budget, failures, what is under way."""
    archive = open_archive()
    runs = [pick_run(archive, name)] if name else archive.runs()
    if not runs:
        say(f"evolve: {archive.path} has no run yet; 'evolve run' starts one")
    if watch and not as_json:
        _watch(archive, runs)
        return
    rows = [row(archive, archive.state(run)) for run in runs]
    if as_json:
        print_json(rows)
        return
    for one in rows:
        click.echo("\n".join(lines(one)))


def _watch(archive: Archive, runs: list[str]) -> None:
    """Redraw the whole screen each time, so that a resized or re-attached terminal is right at the next second."""
    from rich.live import Live
    from rich.text import Text

    states = {run: archive.state(run) for run in runs}
    terminal = console()
    shown: list[str] = []
    try:
        with Live(console=terminal, screen=terminal.is_terminal, auto_refresh=False) as screen:
            while True:
                rows = []
                for run, state in states.items():
                    for recorded in archive.events(run, after=state.seen):
                        state.apply(recorded)
                    rows.append(row(archive, state))
                shown = [line for one in rows for line in [*lines(one), ""]]
                if not any(one["live"] for one in rows):
                    break
                note = f"{time.strftime('%H:%M:%S')}; Ctrl-C leaves, the run goes on"
                text = Text.from_ansi("\n".join([*shown, note]), no_wrap=True, overflow="ellipsis")
                screen.update(text, refresh=True)
                time.sleep(REDRAW)
    except KeyboardInterrupt:
        pass
    click.echo("\n".join(shown))


def row(archive: Archive, state: RunState) -> dict[str, Any]:
    """One run as plain JSON; metrics in their own direction and unit."""
    ledger, lineage = state.ledger, state.lineage
    tasks = {}
    for task in lineage.opened.tasks if lineage.opened else ():
        champion = state.champion(task)
        metric = task_of(state, task).objectives[0]
        verdict = champion.verdict if champion else None
        control, greedy = lineage.control.get(task), lineage.greedy.get(task)
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
            "greedy": greedy.best * metric.sign if greedy and greedy.best is not None else None,
        }  # fmt: skip
    return {
        "run": state.run,
        "live": live(archive, state.run),
        "state": ledger.state,
        "closed": ledger.closed,
        "candidates": ledger.evaluations,
        "scored": lineage.scored,
        "failures": lineage.failures,
        "doubted": dict(Counter(state.candidates[commit].standing.value for commit in lineage.doubts)),
        "refused": lineage.refused,
        "seconds": round(ledger.seconds(), 1),
        "limits": ledger.limits,
        "money": ledger.money,
        "unknown_prices": ledger.unknown,
        "tokens": ledger.tokens,
        "gpu_seconds": ledger.gpu_seconds,
        "evaluator_cpu_seconds": round(ledger.evaluator_cpu, 1),
        "own_errors": ledger.errors,
        "classes": ledger.classes,
        "forecast": _ahead(state),
        "under_way": {"briefs": len(state.pending.briefs), "candidates": len(state.pending.candidates)},
        "tasks": tasks,
    }


def _ahead(state: RunState) -> dict[str, Any] | None:
    """The first limit to be met, seconds of work until then, and each task's best by then as text."""
    found = forecast(state)
    if not found.limit or found.seconds is None:
        return None
    best = {task: metric_text(task_of(state, task).objectives[0], value) for task, value in found.best.items()}
    return {"limit": found.limit, "seconds": round(found.seconds, 1), "evaluations": found.evaluations, "best": best}


def lines(one: dict[str, Any]) -> list[str]:
    """The same for a person."""
    wide = max(11, *(len(task) for task in one["tasks"])) if one["tasks"] else 11

    def item(label: str, text: str) -> str:
        return f"  {label:{wide}} {text}"

    how = "running" if one["live"] else "not running"
    if one["state"] != "running":
        how += f", {one['state']}"
    if one["closed"] and not one["live"]:
        how += f", closed: {one['closed']} used up"
    out = [style(f"run {one['run']}", bold=True) + f" ({how})"]
    out.append(item("candidates", f"{one['candidates']} judged, {one['scored']} scored{_limits(one)}"))
    for task, facts in one["tasks"].items():
        since = f"{facts['stalled']} candidates since" if facts["champions"] else "the seed reigns"
        promoted = f"{facts['champions']} promotion{'s' if facts['champions'] != 1 else ''}"
        out.append(item(task, f"{style(facts['best'], fg='green')} ({promoted}, {since})"))
        if facts["control"] is not None:
            beside = f", {facts['greedy']:.6g} by greedy" if facts["greedy"] is not None else ""
            out.append(item("control", f"{facts['control']:.6g} by random search{beside}"))
        if len(facts["islands"]) > 1:
            islands = (f"{name} {island['evaluated']}" for name, island in facts["islands"].items())
            out.append(item("islands", ", ".join(islands) + " evaluated"))
    if one["failures"]:
        out.append(item("invalid", counts(one["failures"])))
    if one["doubted"]:
        out.append(item("in doubt", counts(one["doubted"])))
    if one["refused"]:
        out.append(item("refused", counts(one["refused"])))
    if one["live"]:
        under = one["under_way"]
        out.append(item("under way", f"{under['briefs']} briefs, {under['candidates']} candidates"))
    if one["money"] or one["tokens"] or one["unknown_prices"]:
        unknown = f" and {one['unknown_prices']} answers of unknown price" if one["unknown_prices"] else ""
        out.append(item("models", f"{one['money']:.4f} dollars{unknown}, {one['tokens']} tokens"))
    if tuned := one["classes"].get("tuning", {}).get("evaluations"):
        out.append(item("tuning", f"{tuned:.0f} of the candidates"))
    if one["live"] and (ahead := one["forecast"]) and ahead["seconds"] > 0:
        best = ", ".join(ahead["best"].values())
        out.append(item("forecast", f"{ahead['limit']} used up in {clock(ahead['seconds'])}{f'; best about {best}' if best else ''}"))
    if one["own_errors"]:
        out.append(item("our errors", str(one["own_errors"])))
    return out


def _limits(one: dict[str, Any]) -> str:
    """What was used of each limit, wall time always."""
    limits = one["limits"]
    parts = [clock(one["seconds"]) + (f" of {clock(limits['seconds'])}" if "seconds" in limits else "")]
    used = {"evaluations": one["candidates"], "money": one["money"], "tokens": one["tokens"], "gpu_seconds": one["gpu_seconds"]}
    names = {"evaluations": "candidates", "money": "dollars", "tokens": "tokens", "gpu_seconds": "GPU seconds"}
    parts += [f"{used[what]:g} of {limits[what]:g} {names[what]}" for what in used if what in limits]
    return "; " + ", ".join(parts) + ("" if limits else ", no limit")

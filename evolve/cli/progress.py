"""What a person sees of a run: while it goes on, and at its end."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from evolve.cli.common import how_to_take, metric_text, print_json, say
from evolve.session import Result, Session
from evolve.tasks.task import Task

EVERY_PLAIN = 10.0
EVERY_LIVE = 0.25


class Progress:
    """Called by the session after what got done; draws a line on a terminal, or says one now and then elsewhere."""

    def __init__(self, quiet: bool = False) -> None:
        self.live = sys.stderr.isatty() and not quiet
        self._next = 0.0
        self._drawn = False

    def opening(self, session: Session) -> None:
        opened = session.opened
        what = ", ".join(opened.grounds)
        verb = "resuming" if opened.resumed else "starting"
        say(f"evolve: {verb} run {opened.run!r} of {what} in {opened.archive.home}")
        for warning in opened.warnings:
            say(f"evolve: warning: {warning}")

    def __call__(self, session: Session) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + (EVERY_LIVE if self.live else EVERY_PLAIN)
        line = status_line(session)
        if self.live:
            width = _width()
            sys.stderr.write("\r" + line[: width - 1].ljust(width - 1))
            sys.stderr.flush()
            self._drawn = True
        else:
            say(line)

    def close(self) -> None:
        if self._drawn:
            sys.stderr.write("\r" + " " * (_width() - 1) + "\r")
            sys.stderr.flush()


def _width() -> int:
    import shutil

    return shutil.get_terminal_size().columns


def status_line(session: Session) -> str:
    state, search = session.state, session.search
    seconds = search.seconds()
    parts = [f"{_clock(seconds)}{_of(state.ledger.limits.get('seconds'))}"]
    count = state.ledger.evaluations
    limit = state.ledger.limits.get("evaluations")
    parts.append(f"{count}{f'/{limit:.0f}' if limit else ''} candidates, {count / max(seconds, 1e-9):.1f}/s")
    for name, ground in session.opened.grounds.items():
        champion = state.champion(name)
        if champion and champion.verdict:
            verdict = champion.verdict
            shown = metric_text(ground.task.objectives[0], verdict.fitness, verdict.low, verdict.high)
            parts.append(("" if len(session.opened.grounds) == 1 else f"{name}: ") + f"best {shown}")
        control = session.controls.get(name)
        if control and control.best is not None:
            parts.append(f"random search {ground.task.objectives[0].sign * control.best:.6g}")
    failed = sum(state.lineage.failures.values())
    if failed:
        parts.append(f"{failed} invalid")
    if state.ledger.state != "running":
        parts.append(state.ledger.state)
    return " | ".join(parts)


def _clock(seconds: float) -> str:
    whole = int(seconds)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )


def _of(limit: float | None) -> str:
    return f"/{_clock(limit)}" if limit else ""


# ---- the end ---------------------------------------------------------------------------------------------------------

_REASONS = {
    "seconds": "the time is up",
    "evaluations": "the evaluations are used up",
    "money": "the money is spent",
    "tokens": "the tokens are used up",
    "gpu_seconds": "the GPU time is used up",
    "stopped": "stopped on request",
    "interrupted": "interrupted; the same command goes on",
    "terminated": "terminated; the same command goes on",
}


def finish(session: Session, result: Result, *, as_json: bool) -> int:
    """Say how it went and how to take the winner; draw the plot. Returns the exit code."""
    rows = [_outcome(session, result, name) for name in session.opened.grounds]
    plot = _plot(session)
    if as_json:
        print_json(
            {
                "run": result.run,
                "reason": result.reason,
                "evaluations": result.evaluations,
                "seconds": round(result.seconds, 3),
                "plot": str(plot) if plot else None,
                "tasks": rows,
            }
        )
        return result.exit_code
    say(
        f"evolve: {_REASONS.get(result.reason, result.reason)} after {result.evaluations} candidates, {_clock(result.seconds)}"
    )
    for row in rows:
        _tell(session, row)
    if plot:
        click.echo(f"plot      {plot}")
    else:
        say("evolve: no plot was drawn: matplotlib is not installed ('pip install evolve-search[plot]')")
    return result.exit_code


def _outcome(session: Session, result: Result, name: str) -> dict[str, Any]:
    task: Task = session.opened.grounds[name].task
    metric = task.objectives[0]
    champion = result.best.get(name)
    seed = session.state.candidates[session.state.lineage.seeds[name]]
    verdict = champion.verdict if champion else None
    control = result.control.get(name)
    sign = metric.sign
    interval: list[float | None] = [None, None]
    if verdict and verdict.low is not None and verdict.high is not None:
        interval = [*sorted((sign * verdict.low, sign * verdict.high))]
    return {
        "task": name,
        "metric": metric.name,
        "unit": metric.unit,
        "goal": metric.goal,
        "best": sign * verdict.fitness if verdict and verdict.fitness is not None else None,
        "low": interval[0],
        "high": interval[1],
        "seed": sign * seed.fitness if seed.fitness is not None else None,
        "commit": champion.commit if champion else None,
        "improved": bool(champion and champion.commit != seed.commit),
        "control": None
        if control is None
        else {"evaluations": control[0], "best": sign * control[1] if control[1] is not None else None},
        "self_reported": task.self_reported,
        "take": how_to_take(session.state, session.opened.archive, name),
    }  # fmt: skip


def _tell(session: Session, row: dict[str, Any]) -> None:
    unit = f" {row['unit']}" if row["unit"] else ""
    interval = "" if row["low"] is None or row["low"] == row["high"] else f" [{row['low']:.6g}, {row['high']:.6g}]"
    mark = " (self-reported)" if row["self_reported"] else ""
    click.echo(f"task      {row['task']}")
    click.echo(f"best      {row['metric']} {row['best']:.9g}{interval}{unit}{mark}; the seed had {row['seed']:.6g}")
    if row["control"]:
        best = "nothing valid" if row["control"]["best"] is None else f"{row['control']['best']:.6g}"
        click.echo(f"control   random search reached {best} in {row['control']['evaluations']} evaluations of its own")
    else:
        click.echo("control   none (--no-control): nothing says how random search would have done")
    click.echo(f"commit    {row['commit']}")
    if not row["improved"]:
        click.echo("winner    none: nothing was better than the seed beyond the noise")
        return
    for number, line in enumerate(row["take"]):
        click.echo(f"{'take it' if number == 0 else '':9} {line}")


def _plot(session: Session) -> Path | None:
    from evolve.plot import best_so_far

    place = Path.cwd() if not session.opened.archive.home.name.startswith("evolve-") else session.opened.archive.home
    if place == Path.cwd() and session.opened.archive.home.name == "evolve":
        place = session.opened.archive.home
    return best_so_far(session, place / f"{session.opened.run}.png")

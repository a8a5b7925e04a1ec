"""What a person sees while a run goes on: a block that redraws itself on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import math
import os
import sys
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evolve.cli.common import metric_text, say
from evolve.forecast import forecast

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from evolve.session import Session

EVERY_PLAIN = 10.0
EVERY_LIVE = 0.25
RATE_OVER = 20.0
"""Seconds over which evaluations a second are counted."""


def console(*, stderr: bool = False) -> Console:
    """A terminal as wide and high as it says at each moment: COLUMNS and LINES, which some shells export, are of when
    the command began."""
    from rich.console import Console

    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    return Console(stderr=stderr, _environ=environment)


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a run at one moment. seconds: wall time; left: seconds to the nearest limit, None if unknown.
    ahead: what the best may be once the first limit is met (evolve/forecast.py)."""

    run: str
    seconds: float
    limit: float | None
    evaluations: int
    most: int | None
    rate: float
    left: float | None
    share: float
    best: Mapping[str, str]
    control: Mapping[str, str]
    failures: Mapping[str, int] = field(default_factory=dict)
    refused: int = 0
    money: float = 0.0
    state: str = "running"
    ahead: Mapping[str, str] = field(default_factory=dict)


class Progress:
    """Called by the session after what got done."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.drawn = sys.stderr.isatty() and not quiet
        self._next = 0.0
        self._seen: deque[tuple[float, int]] = deque()
        self._live: Live | None = None

    def opening(self, session: Session) -> None:
        opened = session.opened
        verb = "resuming" if opened.resumed else "starting"
        say(f"evolve: {verb} run {opened.run!r} of {', '.join(opened.grounds)} in {opened.archive.home}")
        for warning in opened.warnings:
            say(f"evolve: warning: {warning}")
        if self.drawn:
            from rich.live import Live

            self._live = Live(console=console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
            self._live.update("evolve: checking the task: the seed, its noise, a no-op, a broken candidate", refresh=True)

    def __call__(self, session: Session) -> None:
        now = time.monotonic()
        if now < self._next or self.quiet:
            return
        self._next = now + (EVERY_LIVE if self.drawn else EVERY_PLAIN)
        shown = view(session, self._rate(now, session.state.ledger.evaluations))
        if self._live is not None:
            self._live.update(block(shown), refresh=True)
        else:
            say(line(shown))

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _rate(self, now: float, count: int) -> float:
        self._seen.append((now, count))
        while len(self._seen) > 2 and now - self._seen[1][0] >= RATE_OVER:
            self._seen.popleft()
        began, before = self._seen[0]
        return (count - before) / (now - began) if now > began else 0.0


def view(session: Session, rate: float) -> View:
    """The session's run as it stands; `rate` in evaluations a second."""
    state, ledger = session.state, session.state.ledger
    seconds = session.search.seconds()
    best, control = {}, {}
    for name, ground in session.opened.grounds.items():
        metric, champion = ground.task.objectives[0], state.champion(name)
        if champion and champion.verdict:
            best[name] = metric_text(metric, champion.fitness, champion.verdict.low, champion.verdict.high)
        found = [f"{c.label} {metric.sign * c.best:.6g}" for c in session.controls.get(name, ()) if c.best is not None]
        if found:
            control[name] = ", ".join(found)
    most = ledger.limits.get("evaluations")
    limit = ledger.limits.get("seconds")
    shares = [ledger.used(what) / ledger.limits[what] for what in ledger.limits if ledger.limits[what] > 0]
    waits = [(most - ledger.evaluations) / rate] if most and rate > 0 else []
    waits += [limit - seconds] if limit else []
    return View(
        state.run, seconds, limit, ledger.evaluations, int(most) if most else None, rate,
        max(min(waits), 0.0) if waits else None, min(max(shares, default=0.0), 1.0), best, control,
        dict(state.lineage.failures), sum(state.lineage.refused.values()), ledger.money, _doing(session),
        _ahead(session),
    )  # fmt: skip


def _ahead(session: Session) -> dict[str, str]:
    found = forecast(session.state).best
    grounds = session.opened.grounds
    return {name: f"{grounds[name].task.objectives[0].sign * value:.4g}" for name, value in found.items() if name in grounds}


def _doing(session: Session) -> str:
    if session.search.stop_reason == "interrupted":
        return "finishing what is being measured; Ctrl-C again stops at once"
    return "stopping" if session.search.stop_reason else session.state.ledger.state


def line(shown: View) -> str:
    """One line for a log file."""
    count = f"{shown.evaluations}{f'/{shown.most}' if shown.most else ''} candidates"
    parts = [
        f"{clock(shown.seconds)}{f'/{clock(shown.limit)}' if shown.limit else ''}",
        count + (f", {shown.rate:.1f}/s" if shown.rate else ""),
    ]
    for name, text in shown.best.items():
        parts.append(("" if len(shown.best) == 1 else f"{name}: ") + f"best {text}")
        if name in shown.control:
            parts.append(shown.control[name])
        if name in shown.ahead:
            parts.append(f"about {shown.ahead[name]} by the end")
    if shown.failures:
        parts.append(f"invalid: {counts(shown.failures)}")
    if shown.money:
        parts.append(f"{shown.money:.2f} dollars")
    if shown.left is not None:
        parts.append(f"{clock(shown.left)} left")
    if shown.state != "running":
        parts.append(shown.state)
    return " | ".join(parts)


def block(shown: View) -> RenderableType:
    """The same as a block of lines that fits the terminal's width, whatever it is at the moment."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    head = Table.grid(padding=(0, 1))
    left = f", {clock(shown.left)} left" if shown.left is not None else ""
    title = Text(f"{shown.run} {clock(shown.seconds)}{left}", style="bold")
    if shown.state != "running":
        title.append(f" ({shown.state})", style="yellow")
    if shown.limit or shown.most:
        head.add_row(title, ProgressBar(total=1.0, completed=shown.share, width=24))
    else:
        head.add_row(title)
    rows = Table.grid(padding=(0, 1))
    rows.add_column(style="dim", no_wrap=True)
    rows.add_column(overflow="ellipsis", no_wrap=True)
    for name, text in shown.best.items():
        beside = f"  ({shown.control[name]})" if name in shown.control else ""
        beside += f"  about {shown.ahead[name]} by the end" if name in shown.ahead else ""
        rows.add_row("best" if len(shown.best) == 1 else name, Text.assemble((text, "bold green"), beside))
    most = f" of {shown.most}" if shown.most else ""
    rows.add_row("candidates", f"{shown.evaluations}{most}{f', {shown.rate:.1f}/s' if shown.rate else ''}, {shown.refused} refused")
    if shown.failures:
        rows.add_row("invalid", counts(shown.failures))
    if shown.money:
        rows.add_row("spent", f"{shown.money:.2f} dollars")
    rows.add_row("", Text("Ctrl-C stops cleanly; the same command goes on", style="dim"))
    return Group(head, rows)


def counts(kinds: Mapping[str, int]) -> str:
    """`crash 14, incorrect 32`, the most frequent first."""
    return ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items(), key=lambda item: (-item[1], item[0])))


def clock(seconds: float) -> str:
    """`0:07`, `12:34`, `1:02:03`, `3d 04:05:06`."""
    whole = int(seconds) if math.isfinite(seconds) else 0
    days, rest = divmod(whole, 86_400)
    hours, minutes, second = rest // 3600, rest // 60 % 60, rest % 60
    if days:
        return f"{days}d {hours:02d}:{minutes:02d}:{second:02d}"
    return f"{hours}:{minutes:02d}:{second:02d}" if hours else f"{minutes}:{second:02d}"

"""evolve budget"""

from __future__ import annotations

import math

import click

from evolve.cli.common import json_option, open_state, print_json, run_option
from evolve.cli.steer import steer, tell
from evolve.population import events as ev
from evolve.population.folds.ledger import LIMITS
from evolve.tasks.task import duration

NO_LIMIT = -1.0
"""As an event says it."""


def _limit(text: str) -> float:
    """A number from 0, or `none`."""
    if text == "none":
        return NO_LIMIT
    try:
        number = float(text)
    except ValueError:
        number = NO_LIMIT
    if not 0 <= number < math.inf:
        raise click.BadParameter(f"{text!r} is neither a number from 0 nor 'none'")
    return number


@click.command("budget")
@run_option
@click.option("--evals", type=_limit, metavar="N", help="Candidates with a verdict in all; 'none' removes the limit.")
@click.option("--time", "time_limit", metavar="T", help="Wall time in all, such as 8h; 'none' removes the limit.")
@click.option("--money", type=_limit, metavar="USD", help="US dollars in all; 'none' removes the limit.")
@click.option("--tokens", type=_limit, metavar="N", help="Tokens in all; 'none' removes the limit.")
@click.option("--gpu-time", metavar="T", help="GPU time in all; 'none' removes the limit.")
@json_option
def command(
    name: str | None, evals: float | None, time_limit: str | None, money: float | None, tokens: float | None,
    gpu_time: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Show what is spent and left, or change limits (live runs follow within a second)."""
    wanted = {
        "evaluations": evals,
        "seconds": _seconds(time_limit),
        "money": money,
        "tokens": tokens,
        "gpu_seconds": _seconds(gpu_time),
    }
    changes = {what: value for what, value in wanted.items() if value is not None}
    if changes:
        run, searched = steer(name, ev.BudgetChanged(by="user", **changes))
        if not as_json:
            tell("has new limits", run, searched, as_json)
    _, state = open_state(name)
    rows = {what: {"used": state.ledger.used(what), "limit": state.ledger.limits.get(what)} for what in LIMITS}
    if as_json:
        print_json(rows)
        return
    for what, row in rows.items():
        limit = "no limit" if row["limit"] is None else f"of {row['limit']:g}"
        click.echo(f"{what:12} {row['used']:.6g} {limit}")


def _seconds(text: str | None) -> float | None:
    if text is None:
        return None
    return NO_LIMIT if text == "none" else duration(text, "--time")

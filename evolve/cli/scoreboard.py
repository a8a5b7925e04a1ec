"""evolve scoreboard"""

from __future__ import annotations

import click

from evolve.cli.common import json_option, open_state, print_json, run_option
from evolve.scoreboard import Scoreboard, scoreboard
from evolve.tasks.records import to_json


@click.command("scoreboard")
@run_option
@json_option
def command(name: str | None, as_json: bool) -> None:
    """Every task of a run with its champion, and the suite's mean: a task that is not scored counts 0 in it.

    For kernels, headroom (baseline over speed of light) stands beside each score, and the GPU is named.
    """
    _, state = open_state(name)
    found = scoreboard(state)
    if as_json:
        print_json(to_json(found))
        return
    click.echo("\n".join(lines(found)))


def lines(found: Scoreboard) -> list[str]:
    """The same for a person."""
    names = sorted({name for line in found.lines for name in line.metrics} - {found.metric})
    head = ["task", found.metric, "95%", "seed", *names, "judged", "champions"]
    rows = [head]
    for line in found.lines:
        interval = f"{line.low:.3g}..{line.high:.3g}" if line.low is not None and line.high is not None else "-"
        rows.append(
            [line.task, _number(line.value), interval, _number(line.seed), *(_number(line.metrics.get(n)) for n in names),
             str(line.evaluated), str(line.champions)]
        )  # fmt: skip
    total = [f"mean of {len(found.lines)}", _number(found.mean), "", _number(found.seed_mean)]
    rows.append([*total, *(_number(found.beside.get(n)) for n in names), "", ""])
    wide = [max(len(row[i]) for row in rows) for i in range(len(head))]
    out = ["  ".join(cell.ljust(w) for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows]
    return [*out, f"{found.scored} of {len(found.lines)} tasks scored; {found.note}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"

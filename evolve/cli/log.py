"""evolve log"""

from __future__ import annotations

import click

from evolve.cli.common import (
    candidate_row,
    json_option,
    metric_text,
    open_state,
    plain,
    print_json,
    run_option,
    style,
    task_of,
)
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.tasks.task import Metric

LATEST = 5
"""Newest candidates that the graph shows whether or not they led anywhere."""


@click.command("log")
@run_option
@click.option("--graph", is_flag=True, help="The lineage as a graph: champions, the winning path, the latest.")
@click.option("--limit", "-l", type=click.IntRange(1), metavar="N", help="Only the last N.")
@json_option
def command(name: str | None, graph: bool, limit: int | None, as_json: bool) -> None:
    """One line for each candidate with a verdict, in the order of their verdicts. --json: JSON Lines.

    Marks: * the champion, + once champion. In the graph: @ the champion, o on the path to it, x elsewhere.
    """
    _, state = open_state(name)
    rows = [state.candidates[commit] for commit in state.lineage.verdict_order]
    rows = rows[-limit:] if limit else rows
    if as_json:
        for candidate in rows:
            print_json(candidate_row(state, candidate), indent=None)
        return
    metrics = {task: task_of(state, task).objectives[0] for task in state.lineage.seeds}
    shown = _graph(state, rows, metrics) if graph else (_line(state, candidate, metrics) for candidate in rows)
    for text in shown:
        click.echo(text)


def _line(state: RunState, candidate: Candidate, metrics: dict[str, Metric], mark: str | None = None) -> str:
    verdict = candidate.verdict
    reigns = state.lineage.champions.get(candidate.task) == candidate.commit
    if mark is None:
        mark = "* " if reigns else "+ " if candidate.was_champion else "  "
    if verdict is None:
        worth = "not measured since the task was scored anew"
    elif verdict.fitness is not None:
        worth = metric_text(metrics[candidate.task], verdict.fitness, verdict.low, verdict.high)
    else:
        worth = f"{verdict.status.value}: {plain(verdict.reason)}"
    worth = f"{worth[:69]}~" if len(worth) > 70 else worth
    doubted = candidate.commit in state.lineage.doubts
    if doubted and candidate.fitness is not None:
        worth = f"{candidate.standing.value} {worth}"
    colour = "green" if reigns else "red" if candidate.fitness is None else "yellow" if doubted else None
    task = f"{candidate.task} " if len(metrics) > 1 else ""
    merged = "".join(
        f" (with #{state.candidates[p].number})" for p in candidate.parents[1:] if p in state.candidates
    )
    number, commit = f"#{candidate.number:<5}", style(candidate.commit[:10], fg="yellow")
    return f"{mark}{number} {commit} {task}{style(f'{worth:<34}', fg=colour)} {plain(candidate.idea)[:60]}{merged}"


def _graph(state: RunState, rows: list[Candidate], metrics: dict[str, Metric]) -> list[str]:
    """A smartlog: newest first, a column a lineage; candidates that led nowhere are folded into counts."""
    champions = state.lineage.champions
    path = {c.commit for commit in champions.values() for c in state.lineage.path_to(commit)}
    kept = {c.commit for c in rows if c.was_champion or c.commit in path or c.pinned}
    kept |= {c.commit for c in rows[-LATEST:]}
    columns = [commit for commit in champions.values() if commit in kept]
    begun: set[str] = set()
    out: list[str] = []
    hidden = 0
    for candidate in reversed(rows):
        if candidate.commit not in kept:
            hidden += 1
            continue
        if hidden:
            out.append("  ".join("|" if column in begun else " " for column in columns) + f"  : {hidden} more")
            hidden = 0
        if candidate.commit not in columns:
            columns.append(candidate.commit)
        at = columns.index(candidate.commit)
        begun.add(candidate.commit)
        sign = "@" if champions.get(candidate.task) == candidate.commit else "o" if candidate.commit in path else "x"
        cells = "  ".join(sign if i == at else "|" if c in begun else " " for i, c in enumerate(columns))
        out.append(_line(state, candidate, metrics, mark=f"{cells}  "))
        parent = _shown_ancestor(state, candidate, kept)
        if parent is None:
            columns.pop(at)
        elif parent in columns:
            left, right = sorted((at, columns.index(parent)))
            out.append(_join([column in begun for column in columns], left, right))
            columns[left] = parent
            columns.pop(right)
            begun.add(parent)
        else:
            columns[at] = parent
            begun.add(parent)
    if hidden:
        out.append(f"   : {hidden} more")
    return out


def _join(begun: list[bool], left: int, right: int) -> str:
    """The line that leads column `right` into column `left`; columns are three characters apart, drawn once begun."""
    cells = list("  ".join("|" if drawn else " " for drawn in begun))
    for position in range(3 * left + 1, 3 * right - 1):
        if cells[position] == " ":
            cells[position] = "_"
    cells[3 * right - 1], cells[3 * right] = "/", " "
    return "".join(cells).rstrip()


def _shown_ancestor(state: RunState, candidate: Candidate, kept: set[str]) -> str | None:
    parents = candidate.parents
    while parents and parents[0] in state.candidates:
        if parents[0] in kept:
            return parents[0]
        parents = state.candidates[parents[0]].parents
    return None

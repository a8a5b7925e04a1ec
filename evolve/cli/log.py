"""evolve log"""

from __future__ import annotations

import json

import click

from evolve.cli.common import candidate_row, json_option, metric_text, open_state, run_option, task_of
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState


@click.command("log")
@run_option
@click.option("--graph", is_flag=True, help="The lineage as a graph, winning path marked.")
@click.option("--limit", "-l", type=int, default=None, help="Only the last N.")
@json_option
def command(name: str | None, graph: bool, limit: int | None, as_json: bool) -> None:
    """One line for each candidate with a verdict, in the order of their verdicts. --json: JSON Lines."""
    _, state = open_state(name)
    rows = [state.candidates[commit] for commit in state.lineage.verdict_order]
    rows = rows[-limit:] if limit else rows
    if graph:
        for line in _graph(state, rows):
            click.echo(line)
        return
    for candidate in rows:
        if as_json:
            click.echo(json.dumps(candidate_row(state, candidate), ensure_ascii=False))
        else:
            click.echo(_line(state, candidate))


def _line(state: RunState, candidate: Candidate) -> str:
    verdict = candidate.verdict
    assert verdict is not None
    metric = task_of(state, candidate.task).objectives[0]
    mark = (
        "*"
        if state.lineage.champions.get(candidate.task) == candidate.commit
        else "+"
        if candidate.was_champion
        else " "
    )
    if verdict.fitness is not None:
        worth = metric_text(metric, verdict.fitness, verdict.low, verdict.high)
    else:
        worth = f"{verdict.status.value}: {verdict.reason}"
    return f"{mark} #{candidate.number:<5} {candidate.commit[:10]} {worth[:70]:<44} {candidate.idea[:60]}"


def _graph(state: RunState, rows: list[Candidate]) -> list[str]:
    """A smartlog: newest first, one column a lineage; candidates without scored descendants are folded into counts."""
    path = {c.commit for task in state.lineage.champions for c in state.lineage.path_to(state.lineage.champions[task])}
    kept = {c.commit for c in rows if c.was_champion or c.commit in path or c.pinned}
    kept |= {c.commit for c in rows[-5:]}
    shown = [c for c in rows if c.commit in kept]
    columns: list[str] = []
    out = []
    hidden = 0
    for candidate in reversed(rows):
        if candidate.commit not in kept:
            hidden += 1
            continue
        if hidden:
            out.append("  ".join("|" for _ in columns) + f"   : {hidden} more")
            hidden = 0
        if candidate.commit not in columns:
            columns.append(candidate.commit)
        at = columns.index(candidate.commit)
        sign = (
            "@"
            if state.lineage.champions.get(candidate.task) == candidate.commit
            else "o"
            if candidate.commit in path
            else "x"
        )
        cells = [sign if i == at else "|" for i in range(len(columns))]
        out.append("  ".join(cells) + " " + _line(state, candidate)[1:])
        parent = _shown_ancestor(state, candidate, kept)
        if parent is None or parent in columns:
            columns.pop(at)
        else:
            columns[at] = parent
    if hidden:
        out.append(f"   : {hidden} more")
    return out if shown else []


def _shown_ancestor(state: RunState, candidate: Candidate, kept: set[str]) -> str | None:
    parents = candidate.parents
    while parents and parents[0] in state.candidates:
        if parents[0] in kept:
            return parents[0]
        parents = state.candidates[parents[0]].parents
    return None

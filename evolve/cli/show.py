"""evolve show"""

from __future__ import annotations

from pathlib import Path

import click

from evolve.cli.common import candidate_row, json_option, metric_text, open_state, print_json, run_option, task_of
from evolve.errors import UsageError
from evolve.naming import resolve
from evolve.population import events as ev
from evolve.tasks.records import to_json


@click.command("show")
@click.argument("candidate", default="best")
@run_option
@json_option
def command(candidate: str, name: str | None, as_json: bool) -> None:
    """Verdict, metrics, evidence, descent and logs of CANDIDATE, and the line that shows it in plain git."""
    archive, state = open_state(name)
    commit = resolve(candidate, archive, state, Path.cwd())
    known = state.candidates.get(commit)
    if known is None:
        raise UsageError(f"{candidate!r} ({commit[:12]}) is no candidate of run {state.run!r}; 'evolve log' lists them")
    events = [archive.recorded(oid) for oid in state.lineage.measured.get(commit, ())]
    evidence = [e.event.evidence for e in events if isinstance(e.event, ev.Measured)]
    if as_json:
        print_json({**candidate_row(state, known), "evidence": [to_json(item) for item in evidence]})
        return
    verdict, metric = known.verdict, task_of(state, known.task).objectives[0]
    click.echo(f"candidate  #{known.number} {commit}")
    click.echo(
        f"idea       {known.idea}  ({known.operator}{' by ' + known.model if known.model else ''}, brief {known.brief})"
    )
    if verdict is None:
        click.echo("verdict    none yet")
    elif verdict.fitness is None:
        click.echo(f"verdict    {verdict.status.value} at {verdict.stage}: {verdict.reason}")
    else:
        mark = ", self-reported" if verdict.self_reported else ""
        click.echo(
            f"verdict    {metric_text(metric, verdict.fitness, verdict.low, verdict.high)} ({known.standing.value}{mark})"
        )
        for label, estimate in verdict.metrics.items():
            click.echo(
                f"metric     {label} = {estimate.mean:.9g} [{estimate.low:.6g}, {estimate.high:.6g}], n = {estimate.n}"
            )
    for item in evidence:
        values = [
            f"{s.metrics.get(metric.name):.9g}"
            for s in item.samples
            if s.tree == known.tree and metric.name in s.metrics
        ]
        failed = item.failures.get(known.tree)
        said = failed.message if failed else " ".join(values)
        click.echo(f"evidence   {item.stage} ({item.sandbox or 'in process'}, {item.cost.wall:.2f} s): {said[:200]}")
    parents = ", ".join(f"#{state.candidates[p].number} {p[:10]}" for p in known.parents if p in state.candidates)
    click.echo(f"parents    {parents or 'none (seed)'}; {known.children} children; island {known.island}")
    for recorded in events:
        for artifact in recorded.artifacts:
            text = archive.artifact(recorded.oid, artifact)
            if text:
                click.echo(f"log        {artifact}:")
                click.echo("\n".join("    " + line for line in text.decode("utf-8", "replace").splitlines()[:20]))
    click.echo(f"in git     git --git-dir {archive.path} show {commit}")

"""evolve show"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from evolve.cli.common import (
    candidate_argument,
    candidate_row,
    json_option,
    metric_text,
    open_state,
    plain,
    print_json,
    run_option,
    task_of,
)
from evolve.naming import candidate as find
from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.standing import doubt_text
from evolve.taking import in_git
from evolve.tasks.evidence import Evidence
from evolve.tasks.records import to_json
from evolve.tasks.task import Metric


@click.command("show")
@candidate_argument(default="best")
@run_option
@click.option("--lines", type=click.IntRange(0), default=20, show_default=True, metavar="N",
              help="Lines of each log; 0: all.")  # fmt: skip
@json_option
def command(candidate: str, name: str | None, lines: int, as_json: bool) -> None:
    """Verdict, metrics, evidence, descent and logs of CANDIDATE, and the line that shows it in plain git.

    CANDIDATE is named as in git (HEAD, a branch, an id, ~n), or best, or #12.
    """
    archive, state = open_state(name)
    known = find(candidate, archive, state, Path.cwd())
    events = [archive.recorded(oid) for oid in state.lineage.measured.get(known.commit, ())]
    evidence = [e.event.evidence for e in events if isinstance(e.event, ev.Measured)]
    git = in_git(archive, known.commit)
    if as_json:
        print_json({**candidate_row(state, known), "evidence": [to_json(item) for item in evidence], "git": git})
        return
    metric = task_of(state, known.task).objectives[0]
    for text in [*_facts(state, known, metric), *_evidence(known, evidence, metric)]:
        click.echo(plain(text))
    for recorded in events:
        for artifact in recorded.artifacts:
            data = archive.artifact(recorded.oid, artifact)
            if data:
                click.echo(f"log        {plain(artifact)}:")
                said = plain(data.decode("utf-8", "replace"), lines=True).splitlines()
                for line in said[: lines or None]:
                    click.echo(f"    {line}")
                if lines and len(said) > lines:
                    click.echo(f"    ... {len(said) - lines} more lines (--lines 0)")
    click.echo(f"in git     {git}")


def _facts(state: RunState, known: Candidate, metric: Metric) -> Iterator[str]:
    verdict = known.verdict
    by = f" by {known.model}" if known.model else ""
    yield f"candidate  #{known.number} {known.commit} of run {state.run}, task {known.task}"
    yield f"idea       {known.idea} ({known.operator}{by}, brief {known.brief})"
    if verdict is None:
        yield "verdict    none yet"
    elif verdict.fitness is None:
        yield f"verdict    {verdict.status.value} at {verdict.stage}: {verdict.reason}"
    else:
        reigns = state.lineage.champions.get(known.task) == known.commit
        words = [known.standing.value]
        words += ["champion"] if reigns else ["once champion"] if known.was_champion else []
        words += ["self-reported"] if verdict.self_reported else []
        yield f"verdict    {metric_text(metric, verdict.fitness, verdict.low, verdict.high)} ({', '.join(words)})"
    if doubt := doubt_text(state, known):
        yield f"standing   {known.standing.value}: {doubt}"
    for label, estimate in verdict.metrics.items() if verdict else ():
        yield f"metric     {label} = {estimate.mean:.9g} [{estimate.low:.6g}, {estimate.high:.6g}], n = {estimate.n}"
    named = ", ".join(f"#{state.candidates[p].number} {p[:10]}" for p in known.parents if p in state.candidates)
    yield f"parents    {named or 'none: a start'}; {known.depth} steps from it; {known.children} children; island {known.island}"


def _evidence(known: Candidate, evidence: list[Evidence], metric: Metric) -> Iterator[str]:
    """One line a job: the stage, where it ran, the samples of the objective or the failure."""
    for item in evidence:
        failed = item.failures.get(known.tree)
        values = " ".join(f"{s.metrics[metric.name]:.9g}" for s in item.of(known.tree) if metric.name in s.metrics)
        said = f"{failed.kind.value}: {failed.message}" if failed else values or "no sample"
        yield f"evidence   {item.stage} ({item.sandbox or 'in process'}, {item.cost.wall:.2f} s): {said[:200]}"
        for check in item.checks:
            if check.tree in ("", known.tree) and check.outcome.value != "passed":
                yield f"check      {check.name}: {check.outcome.value}: {check.detail[:200]}"

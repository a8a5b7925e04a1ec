"""evolve eval"""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from evolve.cli.common import metric_text, open_state, print_json, run_option, say


@click.command("eval")
@click.argument("commit", default="HEAD")
@run_option
@click.option("--task", default=None, help="Which task of the run.")
@click.option(
    "--good",
    default=None,
    metavar="COND",
    help="What counts as good, such as 'val_bpb<=0.98' (default: no worse than the base beyond noise).",
)
@click.option("--json", "as_json", is_flag=True)
def command(commit: str, name: str | None, task: str | None, good: str | None, as_json: bool) -> int:
    """Judge COMMIT by a run's task. Exit code 0 good, 1 bad, 125 not judged, 128 on our own failure.

    Made for 'git bisect run evolve eval HEAD'. Nothing is recorded; a verdict already known is reused.
    """
    from evolve.errors import EvolveError

    try:
        return asyncio.run(_judge(commit, name, task, good, as_json))
    except EvolveError as error:
        say(f"evolve: {error}")
        return 128


async def _judge(commit: str, name: str | None, task: str | None, good: str | None, as_json: bool) -> int:
    from evolve.evaluators.evaluator import Job
    from evolve.evaluators.executors import LocalExecutor
    from evolve.naming import resolve
    from evolve.opening import repository_around, site_of
    from evolve.tasks.task import Constraint
    from evolve.tasks.verdict import Status, judge

    archive, state = open_state(name)
    task_name = task or next(iter(state.lineage.seeds))
    definition, site, stages = site_of(archive, state, task_name)
    condition = Constraint.parse(good, "--good") if good else None
    if condition is not None:
        definition.metric(condition.metric)
    oid = resolve(commit, archive, state, Path.cwd())
    if not archive.has(oid):
        repository = repository_around(Path.cwd())
        assert repository is not None
        archive.import_commit(str(repository.git_dir), oid)
    known = state.candidates.get(oid)
    calibration = state.lineage.calibration(task_name)
    if known and known.verdict:
        verdict = known.verdict
    else:
        tree = archive.store.tree_of(oid)
        executor = LocalExecutor({task_name: site}, 1)
        evidence = []
        try:
            for stage in stages:
                job = Job(f"eval/{stage.name}", task_name, (tree,), stage.name, max(stage.blocks, 1))
                evidence.append(await (await executor.start(job)).result())
                if tree in evidence[-1].failures:
                    break
        finally:
            await executor.close()
        verdict = judge(evidence, tree, definition, calibration)
    if as_json:
        print_json(
            {"commit": oid, "status": verdict.status.value, "fitness": verdict.fitness, "reason": verdict.reason}
        )
    if verdict.status is not Status.SCORED or verdict.fitness is None:
        say(f"evolve: {oid[:12]} {verdict.status.value}: {verdict.reason}")
        return 125
    metric = definition.objectives[0]
    say(f"evolve: {oid[:12]} {metric_text(metric, verdict.fitness, verdict.low, verdict.high)}")
    if condition is not None:
        return 0 if condition.holds(verdict.metrics[condition.metric].mean) else 1
    base = state.candidates[state.lineage.seeds[task_name]].verdict
    if base is None or base.fitness is None:
        return 125
    sigma = calibration.sigma.get(metric.name, 0.0)
    return 0 if verdict.fitness >= base.fitness - 3 * sigma else 1

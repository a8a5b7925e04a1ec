"""evolve eval"""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path
from typing import Any

import click

from evolve.cli.common import (
    candidate_argument,
    json_option,
    metric_text,
    only_task,
    open_state,
    print_json,
    run_option,
    say,
)
from evolve.errors import EvolveError

GOOD, BAD, NOT_JUDGED, ABORT = 0, 1, 125, 128
"""Exit codes as `git bisect run` reads them."""


class ForBisect(click.Command):
    """Whatever goes wrong on our side ends with 128: anything less would be taken for a verdict on the commit."""

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        try:
            return super().make_context(info_name, args, parent, **extra)
        except click.ClickException as error:
            error.show()
            raise click.exceptions.Exit(ABORT) from error

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except EvolveError as error:
            say(f"evolve: {error}")
        except Exception:  # noqa: BLE001 - told in full, and no verdict
            traceback.print_exc()
        return ABORT


@click.command("eval", cls=ForBisect)
@candidate_argument("commit", default="HEAD")
@run_option
@click.option("--task", metavar="TASK", help="Which task of the run.")
@click.option("--good", metavar="COND",
              help="What counts as good, such as 'val_bpb<=0.98' (default: no worse than the base beyond noise).")  # fmt: skip
@click.option("--afresh", is_flag=True, help="Measure again where a verdict is known.")
@json_option
def command(commit: str, name: str | None, task: str | None, good: str | None, afresh: bool, as_json: bool) -> int:
    """Judge COMMIT by a run's task. Exit code 0 good, 1 bad, 125 not judged, 128 on our own failure.

    Made for 'git bisect run evolve eval HEAD'. Nothing is recorded. A commit whose tree has a verdict in the run is not
    measured again. Only COMMIT's editable files count; everything else is taken from the run's base.
    """
    return asyncio.run(_judge(commit, name, task, good, afresh, as_json))


async def _judge(commit: str, name: str | None, task: str | None, good: str | None, afresh: bool, as_json: bool) -> int:
    from evolve.naming import resolve
    from evolve.opening import repository_around, site_of
    from evolve.tasks.task import Constraint
    from evolve.tasks.verdict import Status

    archive, state = open_state(name)
    task_name = only_task(state, task)
    definition, site, stages = site_of(archive, state, task_name)
    condition = Constraint.parse(good, "--good") if good else None
    if condition is not None:
        definition.metric(condition.metric)
    oid = resolve(commit, archive, state, Path.cwd())
    if not archive.has(oid):
        repository = repository_around(Path.cwd())
        assert repository is not None
        archive.import_commit(str(repository.git_dir), oid)
    calibration = state.lineage.calibration(task_name)
    tree = archive.store.tree_of(oid)
    known = state.candidates.get(state.lineage.known_tree(task_name, tree) or "")
    if known and known.verdict and not afresh:
        verdict = known.verdict
    else:
        verdict = await _measure(task_name, definition, site, stages, tree, calibration)
    metric = definition.objectives[0]
    base = state.candidates[state.lineage.seeds[task_name]].verdict
    code = NOT_JUDGED
    if verdict.status is Status.SCORED and verdict.fitness is not None:
        if condition is not None:
            code = GOOD if condition.holds(verdict.metrics[condition.metric].mean) else BAD
        elif base is not None and base.fitness is not None:
            sigma = calibration.sigma.get(metric.name, 0.0)
            code = GOOD if verdict.fitness >= base.fitness - 3 * sigma else BAD
    said = metric_text(metric, verdict.fitness, verdict.low, verdict.high)
    if verdict.fitness is None:
        said = f"{verdict.status.value} at {verdict.stage}: {verdict.reason}"
    word = {GOOD: "good", BAD: "bad", NOT_JUDGED: "not judged"}[code]
    say(f"evolve: {oid[:12]} {word}: {said}")
    if as_json:
        metrics = {label: estimate.mean for label, estimate in verdict.metrics.items()}
        print_json({"commit": oid, "word": word, "status": verdict.status.value, "fitness": verdict.fitness,
                    "low": verdict.low, "high": verdict.high, "metrics": metrics, "reason": verdict.reason})  # fmt: skip
    return code


async def _measure(task: str, definition: Any, site: Any, stages: Any, tree: str, calibration: Any) -> Any:
    """The verdict of a tree, measured stage by stage on this machine."""
    from evolve.evaluators.evaluator import Job
    from evolve.evaluators.executors import LocalExecutor
    from evolve.tasks.verdict import judge

    executor = LocalExecutor({task: site}, 1)
    evidence = []
    try:
        for stage in stages:
            job = Job(f"eval/{stage.name}", task, (tree,), stage.name, max(stage.blocks, 1))
            evidence.append(await (await executor.start(job)).result())
            if tree in evidence[-1].failures:
                break
    finally:
        await executor.close()
    return judge(evidence, tree, definition, calibration)

"""What the commands share: finding an archive and a run, and printing numbers the same way everywhere."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from evolve.errors import RepositoryError, UsageError
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.tasks.task import Metric, Task

F = TypeVar("F", bound=Callable[..., Any])


def run_option(command: F) -> F:
    """--name: which run; the latest one where it is left out."""
    return click.option("--name", "-n", default=None, metavar="RUN", help="Name of the run (default: the latest).")(
        command
    )


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)


def open_archive(where: Path | None = None) -> Archive:
    return Archive.open(where or Path.cwd())


def open_state(name: str | None, where: Path | None = None) -> tuple[Archive, RunState]:
    """The archive here and the state of the named run, or of the run with the latest event.

    Raises RepositoryError where there is no archive or no run, UsageError naming the runs there are.
    """
    archive = open_archive(where)
    runs = archive.runs()
    if not runs:
        raise RepositoryError(f"{archive.path} has no run yet; 'evolve run' starts one")
    if name is not None and name not in runs:
        raise UsageError(f"no run {name!r}; there are: {', '.join(runs)}")
    states = [archive.state(run) for run in ([name] if name else runs)]
    return archive, max(states, key=lambda state: state.last_time)


def task_of(state: RunState, task: str) -> Task:
    """The task as the run stored it. Raises UsageError for one the run does not have."""
    opened = state.lineage.opened
    if opened is None or task not in opened.tasks:
        raise UsageError(f"run {state.run!r} has no task {task!r}")
    return Task.parse(opened.tasks[task].source, where=f"task {task} of run {state.run}")


def only_task(state: RunState, task: str | None = None) -> str:
    tasks = list(state.lineage.opened.tasks) if state.lineage.opened else []
    if task:
        if task not in tasks:
            raise UsageError(f"run {state.run!r} has no task {task!r}; it has: {', '.join(tasks)}")
        return task
    return tasks[0]


def metric_text(metric: Metric, fitness: float | None, low: float | None = None, high: float | None = None) -> str:
    """`val_bpb 0.9834 [0.9821, 0.9847] bits/byte`, from fitness (more is better) back to the metric's own direction."""
    if fitness is None:
        return "-"
    text = f"{metric.name} {metric.sign * fitness:.6g}"
    if low is not None and high is not None and low != high:
        a, b = sorted((metric.sign * low, metric.sign * high))
        text += f" [{a:.6g}, {b:.6g}]"
    return f"{text} {metric.unit}".rstrip()


def candidate_row(state: RunState, candidate: Candidate) -> dict[str, Any]:
    """One candidate as plain JSON: what `log --json` prints a line."""
    verdict = candidate.verdict
    return {
        "number": candidate.number,
        "commit": candidate.commit,
        "task": candidate.task,
        "parents": list(candidate.parents),
        "status": verdict.status.value if verdict else "unjudged",
        "fitness": candidate.fitness,
        "low": verdict.low if verdict else None,
        "high": verdict.high if verdict else None,
        "metrics": {k: v.mean for k, v in verdict.metrics.items()} if verdict else {},
        "reason": verdict.reason if verdict else "",
        "kind": verdict.kind if verdict else "",
        "operator": candidate.operator,
        "model": candidate.model,
        "idea": candidate.idea,
        "island": candidate.island,
        "standing": candidate.standing.value,
        "champion": state.lineage.champions.get(candidate.task) == candidate.commit,
        "was_champion": candidate.was_champion,
        "brief": candidate.brief,
        "children": candidate.children,
        "depth": candidate.depth,
        "born": round(candidate.born, 3),
        "self_reported": bool(verdict and verdict.self_reported),
    }


def say(text: str) -> None:
    """Talk goes to stderr."""
    click.echo(text, err=True)


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def colours() -> bool:
    """Whether stdout may be coloured: a terminal, and NO_COLOR is not set."""
    import os

    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def how_to_take(state: RunState, archive: Archive, task: str, prefix: str = "refs/heads/evolve") -> list[str]:
    """Commands that take the winner: a cherry-pick for the user's own repository, the files for a bundled task."""
    opened = state.lineage.opened
    assert opened is not None
    branch = f"evolve/{state.run}/winner" if len(opened.tasks) == 1 else f"evolve/{state.run}/{task}/winner"
    inside = archive.path.parent.parent.name == ".git" or archive.path.parent.name == "evolve"
    if not opened.tasks[task].bundled:
        return [f"git cherry-pick {branch}"]
    champion = state.champion(task)
    seed = state.candidates[state.lineage.seeds[task]]
    if champion is None:
        return []
    ours = archive.store.files(champion.tree)
    changed = [path for path, text in ours.items() if archive.store.file(seed.tree, path) != text] or sorted(ours)[:1]
    git = "git" if inside else f"git --git-dir {_near(archive.path)}"
    where = branch if inside else champion.commit
    return [f"{git} show {where}:{path} > {Path(path).name}" for path in changed]


def _near(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)

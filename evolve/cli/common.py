"""What the commands share: finding an archive and a run, and printing numbers the same way everywhere."""

from __future__ import annotations

import difflib
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from evolve.errors import EvolveError, RepositoryError, UsageError
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.population.lock import held
from evolve.standing import doubt_text
from evolve.tasks.task import Metric, Task

F = TypeVar("F", bound=Callable[..., Any])


def run_option(command: F) -> F:
    """--name: which run; the latest one where it is left out."""
    return click.option(
        "--name", "-n", metavar="RUN", shell_complete=_complete_runs, help="Name of the run (default: the latest)."
    )(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout.")(command)


def candidate_argument(name: str = "candidate", **settings: Any) -> Callable[[F], F]:
    """A candidate as `evolve.naming` reads it; completes numbers, `best` and the branches of the run."""
    return click.argument(name, shell_complete=_complete_candidates, **settings)


def open_archive(where: Path | None = None) -> Archive:
    return Archive.open(where or Path.cwd())


def pick_run(archive: Archive, name: str | None) -> str:
    """`name` where there is such a run, or the run with the latest event.

    Raises RepositoryError where the archive has no run, UsageError naming the nearest or all.
    """
    runs = archive.runs()
    if not runs:
        raise RepositoryError(f"{archive.path} has no run yet; 'evolve run' starts one")
    if name is None:
        return max(runs, key=lambda run: max(archive.recorded(tip).time for tip in archive.tips(run).values()))
    if name not in runs:
        raise UsageError(f"no run {name!r}; {nearest(name, runs)}")
    return name


def open_state(name: str | None, where: Path | None = None) -> tuple[Archive, RunState]:
    """The archive here and the state of the named run, or of the run with the latest event. Raises as `pick_run`."""
    archive = open_archive(where)
    return archive, archive.state(pick_run(archive, name))


def nearest(word: str, known: Sequence[str]) -> str:
    """The end of an error's sentence: the nearest known word, or all of them."""
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known) or 'none'}"


def live(archive: Archive, run: str) -> bool:
    """Whether a process is searching the run now."""
    return held(archive.home / "locks" / f"{run}.lock")


def pairs(texts: Sequence[str], option: str = "--set", example: str = "evaluate.timeout=5s") -> dict[str, str]:
    """`--set KEY=VALUE` options and the like. Raises UsageError for one without a `=`."""
    found = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"{option} {text!r} must be KEY=VALUE, such as {example}")
        found[key.strip()] = value.strip()
    return found


def _complete_runs(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        return [run for run in open_archive().runs() if run.startswith(incomplete)]
    except EvolveError:  # no archive here: nothing to offer
        return []


def _complete_candidates(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    try:
        archive = open_archive()
        run = pick_run(archive, context.params.get("name"))
        names = [ref.removeprefix("refs/heads/") for ref in archive.refs.under(f"refs/heads/evolve/{run}/")]
    except EvolveError:
        return []
    return [word for word in ("best", *names, "HEAD") if word.startswith(incomplete)]


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
        "doubt": doubt_text(state, candidate),
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


def print_json(value: Any, indent: int | None = 2) -> None:
    """One JSON document on stdout, in ASCII, so that no text of a candidate's can steer a terminal."""
    click.echo(json.dumps(value, indent=indent, default=str))


_SPACES = {ord(c): " " for c in "\t\n\r\v\f"}


def plain(text: str, *, lines: bool = False) -> str:
    """Text of a candidate's, fit for a terminal: control, format and bidirectional characters shown as escapes.

    lines: keep line ends and tabs; otherwise they become spaces.
    """
    text = text.expandtabs(8) if lines else text.translate(_SPACES)
    return "".join(c if c.isprintable() or (lines and c == "\n") else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def style(text: str, **how: Any) -> str:
    """Coloured where stdout may be."""
    return click.style(text, **how) if colours() else text


def near(path: Path) -> str:
    """Relative to the working directory where it is below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def colours() -> bool:
    """Whether stdout may be coloured: a terminal, and NO_COLOR is not set."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR")

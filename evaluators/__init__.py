"""How a tree becomes evidence: stages, sandbox, referee, executors. Imports `evolve.tasks` only, never the population."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from evolve.evaluators.machine import hardware_class, machine, machine_fingerprint
from evolve.tasks.errors import TaskError

if TYPE_CHECKING:
    from evolve.evaluators.evaluator import Evaluator, Site
    from evolve.tasks.evidence import Evidence
    from evolve.tasks.task import Task


def load(site: Site) -> Evaluator:
    """The evaluator a task names: "command", "script", or one registered under `evolve.evaluators`.

    Raises TaskError naming the known ones.
    """
    name = site.task.evaluate.evaluator
    if name == "command":
        from evolve.evaluators.command import CommandEvaluator

        return CommandEvaluator(site)
    if name == "script":
        from evolve.evaluators.script import ScriptEvaluator

        return ScriptEvaluator(site)
    others = {point.name: point for point in entry_points(group="evolve.evaluators")}
    if name in others:
        made: Evaluator = others[name].load()(site)
        return made
    raise TaskError(f"unknown evaluator {name!r}; known: {', '.join(['command', 'script', *others])}")


def members(task: Task) -> list[tuple[str, Mapping[str, str]]]:
    """The problems that a task stands for (`evolve run TASK --all`): names, and what to override for each.

    An evaluator that knows many problems has a static method `members(task)`. Raises TaskError where it has none.
    """
    name = task.evaluate.evaluator
    point = next((point for point in entry_points(group="evolve.evaluators") if point.name == name), None)
    found: Any = getattr(point.load(), "members", None) if point else None
    if found is None:
        raise TaskError(f"task {task.name!r} is one problem: --all is for tasks whose evaluator knows many, such as sol_execbench")
    rows: list[tuple[str, Mapping[str, str]]] = found(task)
    return rows


def seed(task: Task) -> Mapping[str, str]:
    """Files (path -> text) that a bundled task's seed has beside its own: an evaluator may make them from the task's settings.

    Such an evaluator has a static method of this name and signature.
    """
    name = task.evaluate.evaluator
    point = next((point for point in entry_points(group="evolve.evaluators") if point.name == name), None)
    found: Any = getattr(point.load(), "seed", None) if point else None
    files: Mapping[str, str] = found(task) if found is not None else {}
    return files


def reread(task: Task, evidence: Evidence, kept: Mapping[str, str]) -> Evidence:
    """Evidence as the present rules of its evaluator make it out of what was kept beside it (name -> text).

    For an evaluator that judges many calls before it reports a sample: it has a static method of this name and signature.
    Others' evidence is as it was.
    """
    name = task.evaluate.evaluator
    point = next((point for point in entry_points(group="evolve.evaluators") if point.name == name), None)
    found: Any = getattr(point.load(), "reread", None) if point and kept else None
    if found is None:
        return evidence
    again: Evidence = found(task, evidence, kept)
    return again


__all__ = ["hardware_class", "load", "machine", "machine_fingerprint", "members", "reread", "seed"]

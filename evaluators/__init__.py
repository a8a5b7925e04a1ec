"""How a tree becomes evidence: stages, sandbox, referee, executors. Imports `evolve.tasks` only, never the population."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from evolve.evaluators.machine import hardware_class, machine, machine_fingerprint
from evolve.tasks.errors import TaskError

if TYPE_CHECKING:
    from evolve.evaluators.evaluator import Evaluator, Site


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


__all__ = ["hardware_class", "load", "machine", "machine_fingerprint"]

"""Evolve: evolutionary program search over git branches.

    from evolve import Task, Archive, evolve

Nouns: a *Task* asks, a *Mutator* proposes, an *Evaluator* measures, a *Selector* chooses, the *Archive* remembers.
The names below are loaded when first used, so that `import evolve` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_EXPORTS = {
    "Task": "evolve.tasks.task",
    "Archive": "evolve.population.archive",
    "Mutator": "evolve.mutators",
    "Brief": "evolve.population.brief",
    "Proposal": "evolve.population.brief",
    "Evidence": "evolve.tasks.evidence",
    "Sample": "evolve.tasks.evidence",
    "Verdict": "evolve.tasks.verdict",
    "Evaluator": "evolve.evaluators.evaluator",
    "Selector": "evolve.population.selection",
    "evolve": "evolve.api",
}

if TYPE_CHECKING:
    from evolve.api import evolve as evolve
    from evolve.evaluators.evaluator import Evaluator as Evaluator
    from evolve.mutators import Mutator as Mutator
    from evolve.population.archive import Archive as Archive
    from evolve.population.brief import Brief as Brief
    from evolve.population.brief import Proposal as Proposal
    from evolve.population.selection import Selector as Selector
    from evolve.tasks.evidence import Evidence as Evidence
    from evolve.tasks.evidence import Sample as Sample
    from evolve.tasks.task import Task as Task
    from evolve.tasks.verdict import Verdict as Verdict

__all__ = [*_EXPORTS, "__version__"]  # noqa: PLE0604 - strings, from the table above


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(_EXPORTS[name]), name)
    raise AttributeError(f"module 'evolve' has no attribute {name!r}")

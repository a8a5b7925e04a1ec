"""Mutators that are made from a word on the command line.

model:WORD[,WORD]   models (evolve.models.settings), the cheapest first; `model` alone takes EVOLVE_MODEL
tool:WORD[,WORD]    the same, editing through the text-editor tool
agent:PROFILE       a coding agent (evolve.mutators.agent); agent:PROFILE=MODEL names its model
tune, outside       without settings
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from evolve.errors import UsageError
from evolve.mutators import Mutator

if TYPE_CHECKING:
    from evolve.models import Model

NAMES = ("tune", "outside", "model[:MODEL,...]", "tool:MODEL[,...]", "agent:PROFILE[=MODEL]")


def make(word: str, *, offline: bool = False) -> Mutator | None:
    """The mutator, or None for a word that is none of these. Raises UsageError for one that is and cannot be made.

    offline: for a replay; its models reach no service and need no key.
    """
    kind, _, rest = word.partition(":")
    if word == "tune":
        from evolve.mutators.tune import Tune

        return Tune()
    if word == "outside":
        from evolve.mutators.outside import Outside

        return Outside()
    if kind in ("model", "tool"):
        return _model(kind, rest or os.environ.get("EVOLVE_MODEL", ""), offline)
    if kind == "agent":
        from evolve.mutators.agent import named

        return named(rest)
    return None


def _model(kind: str, words: str, offline: bool) -> Mutator:
    from evolve.gates import Smoke
    from evolve.models.scripted import Offline
    from evolve.models.settings import load
    from evolve.mutators.model import ModelMutator

    if not words:
        raise UsageError("mutator 'model' needs a model: --mutator model:NAME, or EVOLVE_MODEL=NAME (docs/models.md)")
    found = [load(word.strip(), offline=offline) for word in words.split(",")]
    models: dict[str, Model] = {model.name: Offline(model) if offline else model for model in found}
    return ModelMutator(models, tool=kind == "tool", gate=Smoke.own())

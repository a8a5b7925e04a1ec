"""A candidate as the search sees it: one commit with everything the log says of it. Built by a fold, never written."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from evolve.tasks.verdict import Verdict


class Standing(enum.Enum):
    """A candidate's state in the search. Only ACTIVE and RELEASED candidates may be parents or champions."""

    ACTIVE = "active"
    SUSPENDED = "suspended"
    QUARANTINED = "quarantined"
    RELEASED = "released"


@dataclass(slots=True)
class Candidate:
    """One commit of one task.

    commit, tree, parents: hex ids; `parents` in git's order.
    number:   order of birth within the run, the seed of each task first (0).
    brief:    number of the brief that ordered it; 0 for a seed or an import.
    verdict:  the latest verdict in the current epoch, None while unjudged.
    children: how many candidates have it as a parent.
    depth:    longest number of first-parent steps from the seed.
    judged:   whether it had a verdict at some time, perhaps in an earlier epoch.
    born:     seconds since the epoch (wall clock, informative).
    """

    commit: str
    tree: str
    parents: tuple[str, ...]
    task: str
    number: int
    brief: int = 0
    operator: str = ""
    model: str = ""
    idea: str = ""
    island: str = "main"
    inspired_by: tuple[str, ...] = ()
    verdict: Verdict | None = None
    standing: Standing = Standing.ACTIVE
    pinned: bool = False
    children: int = 0
    depth: int = 0
    born: float = 0.0
    was_champion: bool = False
    judged: bool = False
    signature: object = field(default=None, repr=False)

    @property
    def fitness(self) -> float | None:
        return self.verdict.fitness if self.verdict else None

    @property
    def eligible(self) -> bool:
        """May be a parent or a champion."""
        return self.fitness is not None and self.standing in (Standing.ACTIVE, Standing.RELEASED)

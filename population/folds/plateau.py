"""The plateau ladder: where each task stands on it, and the orders that its steps have left open."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolve.population import events as ev
from evolve.population.folds.lineage import Lineage

FAMILY_BRIEFS = 3
"""Briefs that a new family gets to show what it is worth."""


@dataclass(slots=True)
class Order:
    """Briefs that a step of the ladder wants. kind: "resample", "tactic", "family", "lineage" or "restart".

    left: how many more; made: how many so far. island: the one their children join. hint: for the mutator.
    """

    id: str
    kind: str
    left: int
    island: str = ""
    made: int = 0
    hint: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Plateaus:
    """rung: task -> the ladder's next step. since: task -> evaluations at its last promotion or step. count: task -> steps
    so far. orders: task -> those open, oldest first. families: task -> families so far. handed: mutator -> the model that
    its population was handed to."""

    lineage: Lineage
    rung: dict[str, int] = field(default_factory=dict)
    since: dict[str, int] = field(default_factory=dict)
    count: dict[str, int] = field(default_factory=dict)
    orders: dict[str, list[Order]] = field(default_factory=dict)
    families: dict[str, int] = field(default_factory=dict)
    handed: dict[str, str] = field(default_factory=dict)

    def waited(self, task: str) -> int:
        """Evaluations since the last promotion or step of the ladder."""
        return self.lineage.evaluated.get(task, 0) - self.since.get(task, 0)

    # ---- events --------------------------------------------------------------------------------------------------

    def on_plateau(self, event: ev.Plateau, recorded: ev.Recorded) -> None:
        self.count[event.task] = self.count.get(event.task, 0) + 1
        self.since[event.task] = self.lineage.evaluated.get(event.task, 0)
        self.rung[event.task] = event.number + 1
        if event.orders > 0:
            order = Order(f"p{self.count[event.task]}", event.rung, event.orders, event.island, hint=event.hint)
            self.orders.setdefault(event.task, []).append(order)

    def on_tactic(self, event: ev.Tactic, recorded: ev.Recorded) -> None:
        number = self.families[event.task] = self.families.get(event.task, 0) + 1
        hint = {"family": f"{event.family}: {event.text}"}
        order = Order(f"f{number}", "family", FAMILY_BRIEFS, f"f{number}", hint=hint)
        self.orders.setdefault(event.task, []).append(order)

    def on_asked(self, event: ev.Asked, recorded: ev.Recorded) -> None:
        wanted, orders = event.brief.hint.get("order"), self.orders.get(event.brief.task, [])
        for order in orders:
            if order.id == wanted:
                order.left -= 1
                order.made += 1
        self.orders[event.brief.task] = [order for order in orders if order.left > 0]

    def on_promoted(self, event: ev.Promoted, recorded: ev.Recorded) -> None:
        self.rung[event.task] = 0
        self.since[event.task] = self.lineage.evaluated.get(event.task, 0)
        open_ones = self.orders.get(event.task, [])
        self.orders[event.task] = [order for order in open_ones if order.kind not in ("resample", "tactic", "restart")]

    def on_handed_over(self, event: ev.HandedOver, recorded: ev.Recorded) -> None:
        self.handed[event.mutator] = event.model

"""The plateau ladder: what is done where nothing was gained for a while, one step at a time, each step an event.

tune      a study of the champion's numbers, others than before (evolve/studies.py)
resample  the brief that broke through, again: a breakthrough is a draw
tactic    a model reads the task, the best program and the tactics tried, and names new families
lineage   a new island that starts from the seed and gets every other brief for a while
restart   the same with every brief; of the old islands only the champion's goes on

A promotion puts the ladder back to its first step. A step that no mutator of the run can serve is left out.
"""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import TYPE_CHECKING

from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds.plateau import Order
from evolve.population.selection import Choice, Population

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evolve.search import Ground, Search

RUNGS = ("tune", "resample", "tactic", "lineage", "restart")

LEAST = 5
"""Fewest evaluations without a gain that are a plateau."""

GAPS = 3
"""Mean gaps between promotions that are a plateau: a search of many small gains is on none between two of them."""

FRESH = 3
"""Briefs of a new lineage that start from the seed; then its own members are chosen from."""


class Ladder:
    def __init__(self, search: Search) -> None:
        self.search = search

    # ---- climbing ------------------------------------------------------------------------------------------------

    def look(self, ground: Ground) -> None:
        """After a verdict: take the next step where one is due, and hand over to the strong model where that is."""
        self._hand_over(ground)
        policy, plateaus, task = self.search.policy, self.search.state.plateaus, ground.task.name
        if not policy.ladder or plateaus.waited(task) < self.patience(task) or self.search.asker.evaluations_left() < 1:
            return
        at = plateaus.rung.get(task, 0)
        for step in range(len(RUNGS)):
            if self._take(ground, (at + step) % len(RUNGS)):
                return

    def patience(self, task: str) -> int:
        """Evaluations without a gain that call for the next step: a share of all that the budget will pay for, and several
        times as many as there were from one promotion to the next so far."""
        done = self.search.state.lineage.evaluated.get(task, 0)
        reigns = self.search.state.lineage.reigns.get(task, ())
        pace = GAPS * reigns[-1].evaluated / len(reigns) if reigns else 0
        left = self.search.asker.evaluations_left()
        total = done + (left / len(self.search.grounds) if math.isfinite(left) else done)
        return max(LEAST, self.search.policy.opening, int(self.search.policy.patience * total), int(pace))

    def _take(self, ground: Ground, number: int) -> bool:
        rung, task, policy = RUNGS[number], ground.task.name, self.search.policy
        state = self.search.state
        count = state.plateaus.count.get(task, 0) + 1
        patience, waited = self.patience(task), state.plateaus.waited(task)
        made = ev.Plateau(task, rung, number, waited)
        if rung == "tune":
            champion = state.champion(task)
            if champion is None or not self.search.tuner.open(ground, champion, "a plateau", again=True):
                return False
        elif rung == "resample":
            if not (policy.resample and self._answered("resample") and self._breakthrough(task)):
                return False
            made = replace(made, orders=policy.resample)
        elif rung == "tactic":
            if not (policy.tactics and self._answered("tactic")):
                return False
            made = replace(made, orders=1)
        elif not policy.lineages:
            return False
        else:
            orders = max(2 * FRESH, patience // 2) if rung == "lineage" else max(2 * FRESH, patience)
            made = replace(made, orders=orders, island=f"l{count}")
        self.search.append(made)
        return True

    def _answered(self, operator: str) -> bool:
        return any(operator in operators for operators in self.search.operators.values())

    def _breakthrough(self, task: str) -> Candidate | None:
        """The champion whose promotion gained most, of those that a model made."""
        state = self.search.state
        reigns = [r for r in state.lineage.reigns.get(task, ()) if state.candidates[r.candidate].brief]
        made = [r for r in reigns if not state.candidates[r.candidate].operator.startswith("tune")]
        best = max(made, key=lambda r: (r.gain or 0.0, r.evaluated), default=None)
        return state.candidates[best.candidate] if best else None

    # ---- the orders it leaves ------------------------------------------------------------------------------------

    def choice(self, task: str, operators: Sequence[str], rng: random.Random) -> Choice | None:
        """What an open order wants of a mutator with these operators; None where none does."""
        draw = rng.random()
        for order in self.search.state.plateaus.orders.get(task, ()):
            found = self._serve(task, order, operators, draw, rng)
            if found is not None:
                return replace(found, hint={**order.hint, **found.hint, "order": order.id})
        return None

    def _serve(self, task: str, order: Order, operators: Sequence[str], draw: float, rng: random.Random) -> Choice | None:
        state = self.search.state
        champion = state.champion(task) or state.candidates[state.lineage.seeds[task]]
        if order.kind == "resample" and "resample" in operators:
            again = self._breakthrough(task)
            if again is None or again.parents[0] not in state.candidates:
                return None
            hint = {"operator": again.operator.split("/")[0], "candidate": again.commit}
            return Choice("resample", again.parents[:1], again.island, hint=hint)
        if order.kind == "tactic" and "tactic" in operators:
            known = [f"{tactic.family}: {tactic.text}" for tactic in state.memory.tactics if tactic.task == task]
            return Choice("tactic", (champion.commit,), champion.island, hint={"tactics": known[-10:]})
        if order.kind == "family" and "explore" in operators:
            return Choice("explore", (champion.commit,), order.island)
        if order.kind == "restart" or (order.kind == "lineage" and draw < 0.5):
            return self._lineage(task, order, operators, rng)
        return None

    def _lineage(self, task: str, order: Order, operators: Sequence[str], rng: random.Random) -> Choice | None:
        """Like the opening: from the seed at first, then the selector among the lineage's own members."""
        usable = [op for op in operators if op not in ("resample", "tactic", "fix", "port", "tune")]
        if not usable:
            return None
        population = self.search.asker.population(task)
        members = population.live.get(order.island, ())
        if order.made < FRESH or not members:
            operator = "explore" if "explore" in usable and order.made else _first(usable)
            return Choice(operator, (population.seed.commit,), order.island)
        alone: Population = replace(population, live={order.island: members})
        chosen = self.search.selector.choose(alone, usable, rng)
        return replace(chosen, island=order.island)

    # ---- from the cheap model to the strong one -------------------------------------------------------------------

    def _hand_over(self, ground: Ground) -> None:
        """Once for each mutator with several models: after a share of the budget, or at a plateau beyond re-sampling."""
        policy, state = self.search.policy, self.search.state
        if not policy.handover or policy.bandit:
            return
        spent, rung = 1.0 - self.search.asker.share_left(), state.plateaus.rung.get(ground.task.name, 0)
        if spent < policy.handover and rung <= RUNGS.index("resample") + 1:
            return
        why = f"{policy.handover:.0%} of the budget is spent" if spent >= policy.handover else "a plateau"
        for mutator, models in self.search.models.items():
            if len(models) > 1 and mutator not in state.plateaus.handed:
                self.search.append(ev.HandedOver(mutator, models[-1], why))


def _first(operators: Sequence[str]) -> str:
    return "improve" if "improve" in operators else operators[0]

"""What is asked for next: which task, what a selector may see, and the brief that its choice becomes.

A study of the numeric tuner comes first, then what the plateau ladder ordered, then now and then a repair or an idea of
another task, then the selector. Everything here is a function of the folded log.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from evolve import returning
from evolve.mutators.outside import OUTSIDE
from evolve.population.brief import Brief
from evolve.population.candidate import Candidate, Standing
from evolve.population.embedding import EmbeddedNovelty
from evolve.population.novelty import Novelty
from evolve.population.publish import check_island
from evolve.population.selection import Choice, Population, bandit
from evolve.streams import stream, stream_seed
from evolve.tasks.verdict import Status

if TYPE_CHECKING:
    from evolve.search import Search

SPECIAL = ("resample", "tactic", "fix", "port", "tune")
"""Operators that are ordered for a reason of their own, never by a selector."""

PAIRED = ("crossover", "combine")
"""Operators that need a second parent."""

LATELY = 50
"""Verdicts back to which a failed candidate may be mended."""


class Asker:
    def __init__(self, search: Search) -> None:
        self.search = search
        self._novelty: dict[str, tuple[object, Mapping[str, float]]] = {}

    # ---- whose turn ----------------------------------------------------------------------------------------------

    def wants(self, mutator: str) -> bool:
        """Whether a brief for this mutator is due: somebody outside waits, a study has a trial, or it is its turn among
        those that answer at once (they share the evaluation slots)."""
        search = self.search
        if mutator == OUTSIDE:
            return bool(search.state.pending.wanted)
        operators = search.operators.get(mutator, ())
        if set(operators) == {"tune"}:
            return bool(self._study_tasks())
        return mutator not in search.immediate or mutator == self._turn()

    def _study_tasks(self) -> list[str]:
        return [name for name in sorted(self.search.grounds) if self.search.tuner.due(name)]

    def _turn(self) -> str:
        """Of the mutators that answer at once: a tuner with a trial due, else each in turn."""
        search = self.search
        tuners = [name for name in search.immediate if set(search.operators[name]) == {"tune"}]
        if tuners and self._study_tasks():
            return tuners[0]
        others = [name for name in search.immediate if name not in tuners]
        return others[search.state.pending.next_brief % len(others)] if others else ""

    # ---- the brief -----------------------------------------------------------------------------------------------

    def brief(self, mutator: str) -> Brief:
        """The next order for `mutator`."""
        search, state = self.search, self.search.state
        number = state.pending.next_brief
        rng = stream(search.seed, "ask", number)
        wanted = next(iter(state.pending.wanted.values()), None) if mutator == OUTSIDE else None
        operators = search.operators[mutator]
        if set(operators) == {"tune"}:
            task = self._study_tasks()[0]
            return self._made(number, mutator, task, search.tuner.order(task))
        task = wanted.task if wanted and wanted.task in search.grounds else self._next_task(rng)
        if wanted and wanted.operator:
            choice = self._chosen(task, (wanted.operator,), rng)
        else:
            choice = self._choice(number, task, operators, rng)
        hint: dict[str, object] = dict(choice.hint)
        if wanted:
            hint["request"] = wanted.request
        if model := self._model(mutator, task, choice.operator):
            hint["model"] = model
        return self._made(number, mutator, task, replace(choice, hint=hint))

    def _choice(self, number: int, task: str, operators: Sequence[str], rng: random.Random) -> Choice:
        search = self.search
        ordered = search.ladder.choice(task, operators, stream(search.seed, "order", number))
        special = ordered or self._special(task, operators, stream(search.seed, "special", number))
        if special:
            return special
        usual = [operator for operator in operators if operator not in SPECIAL] or list(operators)
        if search.policy.bandit and len(usual) > 1:
            arms = search.state.credit.arms.get(task, {})
            usual = [bandit.pick("operator", usual, arms)]
        return self._chosen(task, usual, rng)

    def _chosen(self, task: str, operators: Sequence[str], rng: random.Random) -> Choice:
        """The selector's choice; one of two parents gets a second where the selector, offered nothing else, gave one."""
        population = self.population(task)
        choice = self.search.selector.choose(population, operators, rng)
        if choice.operator in PAIRED and len(choice.parents) == 1:
            others = [c.commit for group in population.live.values() for c in group if c.commit != choice.parents[0]]
            if others:
                return replace(choice, parents=(choice.parents[0], others[int(rng.random() * len(others))]))
            plain = [operator for operator in self._all_operators() if operator not in (*PAIRED, *SPECIAL)]
            return replace(choice, operator="improve" if "improve" in plain else (plain or ["improve"])[0])
        return choice

    def _all_operators(self) -> list[str]:
        return [operator for operators in self.search.operators.values() for operator in operators]

    def _special(self, task: str, operators: Sequence[str], rng: random.Random) -> Choice | None:
        """Now and then: mend the latest failed candidate that nobody tried to mend, or port what helped another task."""
        state, policy = self.search.state, self.search.policy
        draw = rng.random()
        if "fix" in operators and draw < policy.fix:
            for commit in reversed(state.lineage.verdict_order[-LATELY:]):
                failed = state.candidates[commit]
                broken = failed.verdict is not None and failed.verdict.status is Status.INVALID
                mended = failed.children > 0 or failed.operator.startswith("fix")
                if failed.task == task and broken and not mended and failed.standing is Standing.ACTIVE:
                    return Choice("fix", (commit,), failed.island)
        if "port" in operators and policy.fix <= draw < policy.fix + policy.port:
            others = (name for name in sorted(self.search.grounds) if name != task)
            gains = [r for name in others for r in state.lineage.reigns.get(name, ()) if state.candidates[r.candidate].eligible]
            if gains:
                source = max(gains, key=lambda reign: (reign.gain or 0.0, reign.candidate))
                champion = state.champion(task) or state.candidates[state.lineage.seeds[task]]
                return Choice("port", (champion.commit,), champion.island, hint={"candidate": source.candidate})
        return None

    def _model(self, mutator: str, task: str, operator: str) -> str:
        """Which of a mutator's models: by the bandit, else the cheapest until the handover; a tactic is the strongest's."""
        state, models = self.search.state, self.search.models.get(mutator, ())
        if len(models) < 2 or operator == "tactic":
            return models[-1] if len(models) > 1 else ""
        if self.search.policy.bandit:
            return bandit.pick("model", models, state.credit.arms.get(task, {}))
        return state.plateaus.handed.get(mutator, models[0])

    def _made(self, number: int, mutator: str, task: str, choice: Choice) -> Brief:
        state = self.search.state
        reads = mutator in self.search.readers
        draw = stream(self.search.seed, "lessons", number).random()
        learnt = reads and draw < self.search.policy.lessons
        hint = dict(choice.hint)
        if reads and self.search.policy.returning and (gone := returning.lines(self.search, task, choice.parents[0])):
            hint["returning"] = gone
        if not reads and not self.search.policy.levels:
            hint["levels"] = False
        return Brief(
            number=number,
            task=task,
            operator=choice.operator,
            parents=choice.parents,
            seed=stream_seed(self.search.seed, "mutate", number),
            mutator=mutator,
            island=check_island(choice.island),
            inspirations=choice.inspirations,
            lessons=self.search.lessons.shown(task, choice.parents[0]) if learnt else (),
            directives=state.memory.words_for(task),
            saw=dict(state.seen),
            hint=hint,
        )

    def _next_task(self, rng: random.Random) -> str:
        """With several tasks: the one whose champion gained most lately for what it cost, never starving any."""
        state, names = self.search.state, sorted(self.search.grounds)
        if len(names) == 1:
            return names[0]
        counts = [state.lineage.evaluated.get(name, 0) for name in names]
        fewest = min(counts)
        fresh = [name for name, count in zip(names, counts, strict=True) if count <= fewest + 2]
        if rng.random() < 0.5 or fewest < 4:
            return fresh[int(rng.random() * len(fresh))]
        gains = [max((i.gain for i in state.live.islands.get(n, {}).values()), default=0.0) + 1e-3 for n in names]
        point = rng.random() * sum(gains)
        for name, gain in zip(names, gains, strict=True):
            point -= gain
            if point < 0:
                return name
        return names[-1]

    # ---- what a selector sees ------------------------------------------------------------------------------------

    def population(self, task: str) -> Population:
        """What a selector may see now: a pure function of the folded log."""
        state = self.search.state
        islands = state.live.islands.get(task, {})
        live = {name: state.live.members(task, name) for name in sorted(islands) if islands[name].members}
        champion = state.champion(task)
        seed = state.candidates[state.lineage.seeds[task]]
        return Population(
            task=task,
            live=live,
            champion=champion or seed,
            seed=seed,
            asked=state.pending.next_brief - 1,
            evaluated=state.lineage.evaluated.get(task, 0),
            left=self.share_left(),
            island_gain={name: island.gain for name, island in islands.items()},
            novelty=self._novelty_of(task, live),
            stalled=state.live.stalled.get(task, 0),
            exact=state.lineage.calibration(task).deterministic(self.search.grounds[task].task.objectives[0].name),
            directives=state.memory.words_for(task),
            sketches=state.live.sketches,
            goals={metric.name: metric.sign for metric in self.search.grounds[task].task.evaluate.metrics},
        )

    def share_left(self) -> float:
        """Share of the budget left, from the log alone, so that a replay sees the same. Evaluations where they are
        limited (two runs of one seed then agree), else whichever limit is nearest."""
        ledger = self.search.state.ledger
        if limit := ledger.limits.get("evaluations"):
            return max(ledger.left("evaluations"), 0.0) / limit
        return ledger.share_left()

    def evaluations_left(self) -> float:
        """How many evaluations what is left pays for, at their cost so far; infinite where nothing limits them."""
        ledger = self.search.state.ledger
        done = max(ledger.evaluations, 1)
        left = [ledger.left("evaluations")]
        for what in ("seconds", "gpu_seconds"):
            if what in ledger.limits:
                left.append(ledger.left(what) / max(ledger.used(what) / done, 1e-9))
        return max(min(left), 0.0)

    def _novelty_of(self, task: str, live: Mapping[str, Sequence[Candidate]]) -> Mapping[str, float]:
        """Novelty of the live members, computed when a selector first asks for one and kept until membership changes."""
        if not self.search.policy.novelty:
            return {}
        members = tuple(dict.fromkeys(c.commit for group in live.values() for c in group))
        known = self._novelty.get(task)
        if known and known[0] == members:
            return known[1]
        if self.search.embedder is not None:
            ground = self.search.grounds[task].task
            files = ((commit, self.search.files_of(ground, self.search.state.candidates[commit])) for commit in members)
            texts = {commit: "\n".join(f[p].decode("utf-8", "replace") for p in sorted(f)) for commit, f in files}
            self._novelty[task] = (members, EmbeddedNovelty(self.search.embedder, texts))
            return self._novelty[task][1]
        sketches = {commit: self.search.state.live.sketches.get(commit, "") for commit in members}
        found = Novelty(sketches)
        self._novelty[task] = (members, found)
        return found

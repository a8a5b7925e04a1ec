"""When the numbers of a program are handed to the numeric tuner, and for how long.

A study is opened for an island's new best whose structure (the program without its numbers) had none yet, and at a
plateau for the champion. Where the task says how, it is one polish with gradients, of every new best. Else it is a near one,
of the program's separate real numbers. Tables of numbers are left to other mutators: a few of many coordinates gain little for
what their study costs (docs/search.md). Where nobody but the tuner writes programs, studies are wide ones of whatever numbers
there are. A study ends by the tuner's own rule
(`evolve.mutators.tune.finished`). Its trials are candidates like any others, charged as class "tuning"; none is opened while
tuning has taken more than the policy's share of all evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from evolve.mutators import numeric, polish
from evolve.mutators import tune as tuning
from evolve.mutators.outside import OUTSIDE
from evolve.population import events as ev
from evolve.population.candidate import Candidate
from evolve.population.folds.studies import Study
from evolve.population.selection import Choice

if TYPE_CHECKING:
    from evolve.search import Ground, Search

FEWEST_KNOBS = 2
"""A study of one number is not worth its opening."""

CHEAP = 40
"""Evaluations are cheap where what is left pays for this many whole studies: a study may then last longer."""

LONGEST = 6
"""How much longer, in units of `tune.TRIALS`."""

REACH = 3.0
"""Where the lineage says how far its numbers were moved with gain, a knob's range is this many such steps wide each way."""

AGAIN = 0.1
"""The step where a structure was tuned already and the lineage says nothing."""

REGION = 0.3
"""Radius of a near study's first trust region, in natural steps of the numbers, where the lineage says nothing."""

LEAST, MOST = 0.02, 1.0
"""Bounds of that radius."""


_Plan = tuple[list[dict[str, object]], int, int, float]
"""Knobs, most trials, quasi-random ones, radius."""


class Tuner:
    def __init__(self, search: Search) -> None:
        self.search = search

    def _answered(self) -> bool:
        """Whether a mutator of this run answers studies, and the policy allows them (or there is nobody else)."""
        here = any(set(ops) == {"tune"} for ops in self.search.operators.values())
        return here and (self.search.policy.tune > 0 or self._alone())

    def _alone(self) -> bool:
        """Whether nobody but tuners writes programs in this run."""
        names = [name for name in self.search.operators if name != OUTSIDE]
        return bool(names) and all(set(self.search.operators[name]) == {"tune"} for name in names)

    # ---- opening and closing -------------------------------------------------------------------------------------

    def look(self, ground: Ground, commit: str) -> None:
        """After a verdict on, or a refusal for, a candidate: close a study that is over, open one that is called for."""
        task, state = ground.task.name, self.search.state
        if task in state.studies.open:
            self._close_if_over(ground, state.studies.open[task])
        if self._alone():
            champion = state.champion(task)
            if champion is not None and task not in state.studies.open:
                self.open(ground, champion, "there is no other mutator", again=True)
            return
        candidate = state.candidates.get(commit)
        if candidate is None or not candidate.eligible or not self._answered() or task in state.studies.open:
            return
        home = state.live.island(task, candidate.island)
        if home.best_commit == commit and state.lineage.evaluated.get(task, 0) > self.search.policy.opening:
            self.open(ground, candidate, "an island's best of a new structure", again=False)

    def open(self, ground: Ground, candidate: Candidate, why: str, *, again: bool) -> bool:
        """Open a study of a candidate's numbers; False where it is not worth it. again: though its structure had one."""
        task, state = ground.task.name, self.search.state
        if not self._answered() or task in state.studies.open or candidate.fitness is None:
            return False
        left = self.search.asker.evaluations_left()
        if left < (1 if self._alone() or polish.hook_of(ground.task) else tuning.TRIALS) or self._beyond_its_share(task):
            return False
        files = self.search.files_of(ground.task, candidate)
        structure = tuning.structure(files)
        tuned = (task, structure) in state.studies.tuned
        polishing = polish.hook_of(ground.task) is not None
        if polishing and candidate.operator.startswith("tune/"):  # polished already
            return False
        if tuned and not again and not polishing:
            return False
        count = state.studies.count.get(task, 0)
        if polishing:
            made = ev.StudyOpened(
                task, f"{candidate.number}-{count + 1}", candidate.commit, candidate.fitness, structure, (), 1, 0, why, polish=True
            )
            self.search.append(made)
            return True
        knobs, trials, opening, radius = (
            self._wide(candidate, files, count if again else 0, tuned, left)
            if self._alone()
            else self._near(candidate, files)
        )
        if len(knobs) < FEWEST_KNOBS:
            return False
        name = f"{candidate.number}-{count + 1}"
        self.search.append(
            ev.StudyOpened(
                task, name, candidate.commit, candidate.fitness, structure, tuple(knobs), trials, opening, why, radius
            )
        )
        return True

    def _beyond_its_share(self, task: str) -> bool:
        """Whether tuning has taken its share of the evaluations and one study's beginning more."""
        if self._alone():
            return False
        spent = self.search.state.studies.evaluations.get(task, 0)
        return spent > self.search.policy.tune * self.search.state.lineage.evaluated.get(task, 0)

    def _near(self, candidate: Candidate, files: Mapping[str, bytes]) -> _Plan:
        knobs = tuning.near(files)
        step = min(max(self._step(candidate) or REGION, LEAST), MOST)
        return knobs, tuning.NEAR_TRIALS * (len(knobs) + 1), 0, step / (2 * tuning.ROOM)

    def _wide(self, candidate: Candidate, files: Mapping[str, bytes], before: int, tuned: bool, left: float) -> _Plan:
        step = self._step(candidate) or (AGAIN if tuned else 0.0)
        knobs = tuning.plan(files, first=before * tuning.KNOBS, reach=REACH * step)
        trials = int(tuning.TRIALS * min(max(left / (CHEAP * tuning.TRIALS), 1.0), LONGEST))
        return knobs, trials, 0 if step else tuning.OPENING, 0.0

    def _step(self, candidate: Candidate) -> float:
        """The size of step by which the lineage's numbers were moved with gain lately; 0 where none was."""
        steps = [step for step, _ in numeric.gains(_Lineage(self.search), candidate.commit)[:5]]
        return sorted(steps)[len(steps) // 2] if steps else 0.0

    def _close_if_over(self, ground: Ground, study: Study) -> None:
        base = study.base if study.base is not None else float("-inf")
        parent = self.search.state.candidates.get(study.candidate)
        patience = tuning.near_patience(len(study.knobs)) if study.radius else tuning.patience(len(study.knobs))
        if parent is None or not parent.eligible:
            why = "its candidate left the search"
        elif tuning.finished([fitness for _, fitness in study.results], base, study.trials, study.opening, patience):
            why = f"{len(study.results)} trials" if len(study.results) >= study.trials else f"{patience} without a gain"
        else:
            return
        best = max((fitness for _, fitness in study.results if fitness is not None), default=base)
        self.search.append(ev.StudyClosed(ground.task.name, study.id, len(study.results), max(best - base, 0.0), why))

    # ---- trials --------------------------------------------------------------------------------------------------

    def due(self, task: str) -> bool:
        """Whether a trial may be ordered now: a study has some left, and a near one none under way."""
        state = self.search.state
        study = state.studies.open.get(task)
        if study is None or study.asked >= study.trials:
            return False
        return not (study.radius and (study.briefs or study.born))

    def order(self, task: str) -> Choice:
        """The next trial of the open study. `done` names the trials it may learn from, so that a replay sees the same."""
        study = self.search.state.studies.open[task]
        parent = self.search.state.candidates[study.candidate]
        hint = {
            "study": study.id,
            "trial": study.asked,
            "opening": study.opening,
            "done": sorted(number for number, _ in study.results),
            "knobs": [dict(knob) for knob in study.knobs],
            **({"radius": study.radius} if study.radius else {}),
            **({"polish": True} if study.polish else {}),
        }
        return Choice("tune", (study.candidate,), parent.island, hint=hint)


class _Lineage:
    """The one thing that `numeric.gains` asks of a desk."""

    def __init__(self, search: Search) -> None:
        self._candidates = search.state.candidates

    def candidate(self, commit: str) -> Candidate:
        return self._candidates[commit]

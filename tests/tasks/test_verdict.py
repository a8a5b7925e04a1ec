from __future__ import annotations

import math
import random

import pytest

from evolve import simulate
from evolve.tasks.evidence import Check, Evidence, Failure, FailureKind, Outcome, Sample
from evolve.tasks.statistics import clopper_pearson_upper
from evolve.tasks.task import Task
from evolve.tasks.verdict import (
    Calibration,
    Decision,
    Status,
    Verdict,
    alpha_of_try,
    estimate,
    judge,
    promote,
    worth_a_gate,
)

TASK = Task.parse(
    """
[task]
editable = ["a.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "loss", goal = "min" }, { name = "mb", goal = "min" }]
objective = "loss"
constraints = ["mb <= 100"]
"""
)


def evidence(*losses: float, stage: str = "screen", mb: float = 1.0, tree: str = "t", **more: object) -> Evidence:
    samples = tuple(Sample(tree, {"loss": loss, "mb": mb}, block) for block, loss in enumerate(losses))
    return Evidence("j", (tree,), "d", "e", "m", stage, samples=samples, **more)  # type: ignore[arg-type]


def test_fitness_is_more_is_better() -> None:
    good = judge([evidence(1.0)], "t", TASK, Calibration({"loss": 0.1}, 9))
    bad = judge([evidence(2.0)], "t", TASK, Calibration({"loss": 0.1}, 9))
    assert good.status is Status.SCORED and good.fitness == -1.0
    assert bad.fitness is not None and good.fitness > bad.fitness
    assert good.low is not None and good.high is not None and good.low < -1.0 < good.high


def test_nothing_that_is_not_scored_has_a_fitness() -> None:
    for verdict in (
        judge([], "t", TASK, Calibration()),
        judge([evidence(failures={"t": Failure(FailureKind.TIMEOUT, "10 s")})], "t", TASK, Calibration()),
        judge([evidence(1.0, mb=101.0)], "t", TASK, Calibration()),
        judge([evidence(1.0, checks=(Check("jump", Outcome.AUDIT, "too good"),))], "t", TASK, Calibration()),
        judge([evidence(1.0, checks=(Check("scan", Outcome.UNABLE),))], "t", TASK, Calibration()),
    ):
        assert verdict.fitness is None and verdict.status is not Status.SCORED and verdict.reason
    with pytest.raises(ValueError, match="finite fitness exactly when scored"):
        Verdict(Status.INVALID, fitness=1.0, reason="x")
    with pytest.raises(ValueError, match="finite fitness exactly when scored"):
        Verdict(Status.SCORED, fitness=math.nan)
    with pytest.raises(ValueError, match="needs a reason"):
        Verdict(Status.AUDIT)


def test_a_shown_cheat_outranks_everything() -> None:
    item = evidence(
        1.0,
        failures={"t": Failure(FailureKind.CRASH, "x")},
        checks=(Check("forged", Outcome.CHEAT, "wrote the grade"),),
    )
    assert judge([item], "t", TASK, Calibration()).status is Status.CHEAT


def test_another_trees_failure_is_not_mine() -> None:
    item = evidence(
        1.0, failures={"other": Failure(FailureKind.CRASH, "x")}, checks=(Check("c", Outcome.CHEAT, "", "other"),)
    )
    assert judge([item], "t", TASK, Calibration()).status is Status.SCORED


def test_confirmation_replaces_the_screening_that_was_selected_for_being_high() -> None:
    verdict = judge([evidence(0.1), evidence(1.0, 1.0, stage="confirm")], "t", TASK, Calibration({"loss": 0.1}, 9))
    assert verdict.fitness == -1.0


def test_interval_narrows_with_samples_and_is_a_point_when_exact() -> None:
    one, four = estimate([1.0], 0.1, 9), estimate([1.0, 1.0, 1.0, 1.0], 0.1, 9)
    assert one.high - one.low > four.high - four.low > 0
    exact = estimate([1.0], 0.0, 4)
    assert exact.low == exact.high == 1.0
    shaky = estimate([1.0, 2.0], 0.0, 4)
    assert shaky.low < 1.0 and shaky.high > 2.0


def test_alpha_spending_sums_to_the_rate() -> None:
    assert sum(alpha_of_try(k) for k in range(1, 200_000)) == pytest.approx(0.05, abs=1e-6)


def test_exact_pairs_need_one_strict_gain() -> None:
    assert promote([1e-12], 0.0, 4, 1, 1).decision is Decision.PROMOTE
    assert promote([0.0], 0.0, 4, 1, 1).decision is Decision.REJECT
    assert promote([-1.0], 0.0, 4, 1, 1).decision is Decision.REJECT


def test_a_random_candidate_of_an_exact_task_is_not_promoted_on_luck() -> None:
    assert promote([5.0, -4.0], 0.0, 4, 1, 1).decision is not Decision.PROMOTE


def test_a_gain_inside_the_noise_is_no_gain() -> None:
    assert promote([0.1, 0.05, 0.2], 1.0, 9, 1, 3).decision is Decision.MORE
    assert promote([0.1] * 12, 1.0, 9, 1, 3).decision is Decision.REJECT
    assert promote([3.0] * 12, 1.0, 9, 1, 3).decision is Decision.PROMOTE


def test_worth_a_gate() -> None:
    def scored(fitness: float) -> Verdict:
        return judge([evidence(-fitness)], "t", TASK, Calibration({"loss": 1.0}, 9))

    assert not worth_a_gate(scored(1.0), scored(0.0), 1.0)
    assert worth_a_gate(scored(2.0), scored(0.0), 1.0)
    assert worth_a_gate(scored(1e-9), scored(0.0), 0.0)
    assert not worth_a_gate(scored(0.0), scored(0.0), 0.0)


def test_all_null_runs_seldom_crown_and_planted_gains_are_crowned() -> None:
    """The short form of benchmarks/champion/null_runs.py (2,000 runs there)."""
    runs, false, planted = 150, 0, 0
    for number in range(runs):
        rng = random.Random(f"test/{number}")
        false += bool(simulate.run(rng, [0.0] * 60, calibrations=10).gains)
        planted += 3.0 in simulate.run(rng, [*[0.0] * 20, 3.0], calibrations=10).gains
    assert false <= 14, f"{false} of {runs}: upper bound {clopper_pearson_upper(false, runs):.3f}"
    assert planted >= 0.87 * runs


def test_the_rule_of_a_naive_search_would_fail_this_test() -> None:
    """A planted fault: crowning every better single sample crowns somebody in nearly every null run."""
    rng = random.Random("naive")
    crowned = sum(max(rng.gauss(0, 1) for _ in range(60)) > rng.gauss(0, 1) for _ in range(150))
    assert crowned > 130

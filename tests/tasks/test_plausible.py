"""The rule that asks for a second look, and the verdict that an independent re-run gives."""

from __future__ import annotations

import math
import random

import pytest

from evolve.tasks import plausible
from evolve.tasks.evidence import Check, Evidence, Outcome, Sample
from evolve.tasks.task import Task
from evolve.tasks.verdict import VERIFY, Calibration, Estimate, Status, Verdict, judge, shown, told

TREE = "a" * 40
TASK = Task.parse(
    '[task]\nname = "t"\neditable = ["p.py"]\n[evaluate]\ncommand = "x"\n'
    'metrics = [{ name = "score", goal = "max", pattern = "(.+)" }]\n'
)


def scored(fitness: float, n: int = 1) -> Verdict:
    return Verdict(Status.SCORED, fitness, fitness, fitness, (fitness,), {"score": Estimate(fitness, fitness, fitness, n)})


def asked(new: float, old: float, steps: list[float] | None = None, sigma: float = 0.0) -> bool:
    return bool(plausible.jump(scored(new), scored(old), steps or [], "score", sigma))


@pytest.mark.parametrize(("old", "new", "share"), [
    (1.0, 2.0, 0.5), (1.0, 10.0, 0.9), (-1.0, -0.1, 0.9), (-2.0, -1.0, 0.5), (0.0, 0.0, 0.0), (0.0, 3.0, 1.0), (-1.0, 1.0, 2.0),
])  # fmt: skip
def test_relative_gain_is_the_same_in_both_directions(old: float, new: float, share: float) -> None:
    assert plausible.relative(old, new) == pytest.approx(share)


def test_without_history_a_metric_may_double_and_no_more() -> None:
    assert not asked(1.9, 1.0) and not asked(-0.6, -1.0)
    assert asked(2.2, 1.0) and asked(-0.1, -1.0), "ten times faster at once is asked about"


def test_with_history_the_usual_step_is_the_measure() -> None:
    small = [0.004] * 5
    assert not asked(1.03, 1.0, small), "eight times the usual step"
    assert asked(1.05, 1.0, small)
    assert not asked(1.05, 1.0, [0.05, 0.02, 0.04]), "where steps are large, that is one of them"
    assert asked(20.0, 1.0, [0.5] * 8), "more than eight times as good is always asked about"
    assert not asked(1.009, 1.0, [1e-7] * 8), "a hundredth never is"
    assert asked(1.05, 1.0, [*small, 0.9]), "one great step does not excuse the next"


def test_what_noise_makes_is_left_to_the_gate() -> None:
    assert asked(1.2, 1.0, [0.01] * 4)
    assert not asked(1.2, 1.0, [0.01] * 4, sigma=0.1)


def test_worse_or_unscored_is_never_asked_about() -> None:
    assert not asked(0.1, 1.0, [0.01] * 4)
    failed = Verdict(Status.INVALID, reason="no")
    assert plausible.jump(failed, scored(1.0), [], "score", 0.0) == ""
    assert plausible.jump(scored(1.0), failed, [], "score", 0.0) == ""


def simulate(seed: int, candidates: int = 400) -> tuple[int, int]:
    """(questions, promotions) of an honest hill climb: each candidate's relative gain is log-normal over four decades
    around a level that falls as the search converges, as in the recorded runs of the bundled tasks."""
    rng = random.Random(seed)
    best, steps, questions = 1.0, [], 0
    for k in range(candidates):
        if rng.random() > 1 / (1 + k / 10):
            continue
        gain = best * 0.1 * math.exp(rng.gauss(0, 1.5)) / (1 + k / 20)
        new = best + gain
        questions += asked(new, best, steps)
        steps.append(plausible.relative(best, new))
        best = new
    return questions, len(steps)


def test_honest_searches_are_seldom_asked_and_planted_jumps_are() -> None:
    found = [simulate(seed) for seed in range(200)]
    assert sum(q for q, _ in found) <= 0.01 * 400 * 200, "one extra evaluation in a hundred at most"
    rng = random.Random(1)
    caught = 0
    for _ in range(200):
        steps = [0.02 * math.exp(rng.gauss(0, 1)) for _ in range(rng.randrange(12))]
        caught += asked(10 ** rng.uniform(1, 6), 1.0, steps)
    assert caught == 200, "a forged score of ten times the best or more"


# ---- what the re-run says --------------------------------------------------------------------------------------------


def evidence(stage: str, *values: float, check: Outcome | None = None) -> Evidence:
    checks = (Check("clock", check, "the detail", TREE),) if check else ()
    samples = tuple(Sample(TREE, {"score": v}, i) for i, v in enumerate(values))
    return Evidence("j", (TREE,), "t", "e", "m", stage, samples=samples, checks=checks)


def verdict(*items: Evidence) -> Verdict:
    return judge(items, TREE, TASK, Calibration())


def test_a_clean_rerun_answers_an_audit_and_counts_alone() -> None:
    doubtful = evidence("run", 9.0, check=Outcome.AUDIT)
    assert verdict(doubtful).status is Status.AUDIT
    assert verdict(doubtful, evidence(VERIFY, 5.0)).fitness == 5.0
    assert verdict(evidence("run", 9.0, check=Outcome.UNABLE), evidence(VERIFY, 5.0)).fitness == 5.0


def test_what_a_rerun_does_not_answer() -> None:
    doubtful = evidence("run", 9.0, check=Outcome.AUDIT)
    assert verdict(doubtful, evidence(VERIFY, 9.0, check=Outcome.AUDIT)).status is Status.AUDIT
    assert verdict(doubtful, evidence(VERIFY)).status is Status.AUDIT, "it measured nothing"
    assert verdict(doubtful, evidence("confirm", 9.0)).status is Status.AUDIT, "a gate is no re-run"
    assert verdict(evidence(VERIFY, 5.0), doubtful).status is Status.AUDIT, "what was found later stands"
    assert verdict(evidence("run", 9.0, check=Outcome.CHEAT), evidence(VERIFY, 5.0)).status is Status.CHEAT


def test_the_next_mutation_is_not_told_how_a_cheat_was_found() -> None:
    for outcome in (Outcome.CHEAT, Outcome.AUDIT, Outcome.UNABLE):
        found = verdict(evidence("run", 9.0, check=outcome))
        assert "detail" in found.reason and "clock" in found.reason
        for text in (told(found), str(shown(found))):
            assert "detail" not in text and "clock" not in text
    failed = Verdict(Status.INVALID, reason="exit status 1", kind="crash", stage="run")
    assert told(failed) == "exit status 1" and shown(failed) == failed

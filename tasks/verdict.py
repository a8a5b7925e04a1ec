"""Evidence in, verdict out: `judge` and `promote` are pure functions, so stored evidence can be judged again.

Fitness is always "more is better": sign x the first objective metric. A verdict that is not SCORED has no fitness.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evolve.tasks import statistics as st
from evolve.tasks.evidence import Evidence, Outcome
from evolve.tasks.task import Task

CONFIDENCE = 0.95
"""Two-sided confidence of every interval shown."""

CONFIRM = "confirm"
"""Name of the champion gate's stage in every evaluator."""

VERIFY = "verify"
"""Name of the stage of an independent re-run: one tree, new secrets, as strict as the champion gate."""

STRICT = (CONFIRM, VERIFY)
"""Stages in which an evaluator uses its strictest rules. In VERIFY nothing is taken over from an earlier job either."""


class Status(enum.Enum):
    SCORED = "scored"
    INVALID = "invalid"
    AUDIT = "audit"
    CHEAT = "cheat"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean of n samples with its two-sided 95% interval, in the metric's unit."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Calibration:
    """What the seed scores against itself on one machine: the noise floor.

    sigma: metric -> standard deviation of one sample, from dof + 1 runs of the seed; 0.0: it repeats exactly.
    """

    sigma: Mapping[str, float] = field(default_factory=dict)
    dof: int = 0
    machine: str = ""

    def deterministic(self, metric: str) -> bool:
        return self.dof > 0 and self.sigma.get(metric, 0.0) == 0.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the evidence of one tree amounts to.

    fitness, low, high: sign x objective with its interval, only when SCORED.
    objectives: sign x each objective metric, only when SCORED.
    stage, reason: where and why it is not SCORED.
    """

    status: Status
    fitness: float | None = None
    low: float | None = None
    high: float | None = None
    objectives: tuple[float, ...] = ()
    metrics: Mapping[str, Estimate] = field(default_factory=dict)
    stage: str = ""
    reason: str = ""
    kind: str = ""
    self_reported: bool = False

    def __post_init__(self) -> None:
        scored = self.status is Status.SCORED
        if scored != (self.fitness is not None) or (scored and not math.isfinite(self.fitness or 0.0)):
            raise ValueError(
                f"a verdict has a finite fitness exactly when scored, not {self.status.value} with {self.fitness}"
            )
        if not scored and not self.reason:
            raise ValueError(f"a verdict of {self.status.value} needs a reason")


def estimate(values: Sequence[float], sigma: float, dof: int) -> Estimate:
    """Mean and t interval; the variance pools the seed's (sigma, dof) with the samples' own spread."""
    n, centre = len(values), st.mean(values)
    own = st.variance(values)
    weight = dof + n - 1
    if weight <= 0:
        return Estimate(centre, centre, centre, n)
    if sigma == 0.0 and own > 0.0:  # the seed repeats exactly and this does not: its own spread is all there is
        pooled, weight = own, n - 1
    else:
        pooled = (dof * sigma**2 + (n - 1) * own) / weight
    half = st.t_quantile(0.5 + CONFIDENCE / 2, weight) * math.sqrt(pooled / n) if pooled > 0 else 0.0
    return Estimate(centre, centre - half, centre + half, n)


def judge(evidence: Sequence[Evidence], tree: str, task: Task, calibration: Calibration) -> Verdict:
    """The verdict on `tree` from all its evidence, oldest first.

    Samples of the strict stages (the champion gate's fresh ones, those of an independent re-run) replace those of the
    screening, which were selected for being high. Order of precedence: a shown cheat, an implausible result or a check
    that could not run (AUDIT), a failure (INVALID), a broken constraint (INVALID), else SCORED. A clean re-run answers
    every AUDIT before it, never a CHEAT. Evidence without any sample of the tree is INVALID.
    """
    self_reported = any(item.self_reported for item in evidence)
    answered = max((at for at, item in enumerate(evidence, 1) if _clean_rerun(item, tree)), default=0)
    for wanted, status in (
        (Outcome.CHEAT, Status.CHEAT),
        (Outcome.AUDIT, Status.AUDIT),
        (Outcome.UNABLE, Status.AUDIT),
    ):
        for item in evidence if status is Status.CHEAT else evidence[answered:]:
            for check in item.checks:
                if check.outcome is wanted and check.tree in ("", tree):
                    return Verdict(
                        status,
                        stage=item.stage,
                        kind=check.name,
                        reason=f"{check.name}: {check.detail or wanted.value}",
                    )
    for item in evidence:
        if failure := item.failures.get(tree):
            return Verdict(
                Status.INVALID, stage=item.stage, kind=failure.kind.value, reason=failure.message or failure.kind.value
            )
    fresh = [item for item in evidence if item.stage in STRICT and item.of(tree)]
    samples = [sample for item in fresh or evidence for sample in item.of(tree)]
    if not samples:
        stage = evidence[-1].stage if evidence else ""
        return Verdict(Status.INVALID, stage=stage, kind="metric", reason="nothing was measured")
    metrics = {}
    for name in samples[0].metrics:
        values = [sample.metrics[name] for sample in samples if name in sample.metrics]
        metrics[name] = estimate(values, calibration.sigma.get(name, 0.0), calibration.dof)
    for objective in task.objectives:
        if objective.name not in metrics:
            return Verdict(
                Status.INVALID, stage=evidence[-1].stage, kind="metric", reason=f"no value for {objective.name}"
            )
    for constraint in task.evaluate.constraints:
        if constraint.metric in metrics and not constraint.holds(metrics[constraint.metric].mean):
            value = metrics[constraint.metric].mean
            reason = f"{constraint} does not hold: {constraint.metric} = {value:.6g}"
            return Verdict(Status.INVALID, stage=evidence[-1].stage, kind="constraint", reason=reason)
    first = task.objectives[0]
    shown = metrics[first.name]
    low, high = sorted((first.sign * shown.low, first.sign * shown.high))
    return Verdict(
        Status.SCORED,
        fitness=first.sign * shown.mean,
        low=low,
        high=high,
        objectives=tuple(metric.sign * metrics[metric.name].mean for metric in task.objectives),
        metrics=metrics,
        self_reported=self_reported,
    )


def _clean_rerun(item: Evidence, tree: str) -> bool:
    """An independent re-run that measured the tree and found nothing against it."""
    if item.stage != VERIFY or tree in item.failures or not item.of(tree):
        return False
    return all(check.outcome is Outcome.PASSED for check in item.checks if check.tree in ("", tree))


def told(verdict: Verdict) -> str:
    """Why a candidate has no fitness, as whoever writes the next one may know it. What an integrity check found is kept
    back, its name as well: it would only teach how not to be caught. "" for one that is SCORED."""
    if verdict.status is Status.SCORED:
        return ""
    if verdict.status in (Status.CHEAT, Status.AUDIT):
        return "refused by the integrity checks"
    return verdict.reason


def shown(verdict: Verdict) -> Verdict:
    """The verdict as whoever writes the next one may know it: see `told`."""
    if verdict.status not in (Status.CHEAT, Status.AUDIT):
        return verdict
    return Verdict(verdict.status, reason=told(verdict), self_reported=verdict.self_reported)


# ---- who is champion -------------------------------------------------------------------------------------------------

FALSE_CHAMPION_RATE = 0.05
LOOKS = 3
"""A gate looks at most this often; each look doubles the samples of the one before."""


class Decision(enum.Enum):
    PROMOTE = "promote"
    REJECT = "reject"
    MORE = "more"


@dataclass(frozen=True, slots=True)
class Promotion:
    """What the gate decided. `gain` is the mean paired difference in fitness, `low` its lower confidence bound."""

    decision: Decision
    gain: float
    low: float
    n: int
    alpha: float


def alpha_of_try(tries: int) -> float:
    """Level of the `tries`-th gate (from 1) since the last promotion: 0.05 x 6 / (pi k)^2, which sums to 0.05.

    Alpha spending: whatever the number of tries, a run without any real gain crowns a false champion at most 5% of
    the time (union bound). The count restarts at a promotion, since the question is then a new one.
    """
    return FALSE_CHAMPION_RATE * 6 / (math.pi * max(tries, 1)) ** 2


def worth_a_gate(candidate: Verdict, champion: Verdict, sigma: float) -> bool:
    """Whether a screened candidate is worth the champion gate: ahead by one standard error of the difference.

    With sigma = 0 any strict improvement is. The gate uses fresh samples only, so this choice biases nothing.
    """
    if candidate.fitness is None:
        return False
    if champion.fitness is None:
        return True
    if sigma == 0.0:
        return candidate.fitness > champion.fitness
    screened = max((e.n for e in candidate.metrics.values()), default=1)
    reigning = max((e.n for e in champion.metrics.values()), default=1)
    return candidate.fitness - champion.fitness > sigma * math.sqrt(1 / screened + 1 / reigning)


def promote(differences: Sequence[float], sigma: float, dof: int, tries: int, confirm: int) -> Promotion:
    """Whether a candidate replaces the champion, from paired fresh samples.

    differences: candidate's fitness minus the champion's, one a block, all taken in gates of this pair.
    sigma, dof:  the calibration's standard deviation of one sample and its degrees of freedom.
    tries:       how many gates, this one included, were opened since the last promotion.
    confirm:     blocks of the first look; later looks have 2x and 4x as many in total.

    Deterministic pairs (sigma = 0 and all differences equal) need one strict gain. Otherwise a one-sided t test whose
    variance pools 2 sigma^2 with the differences' own, at level alpha_of_try(tries) / LOOKS a look; a look whose
    mean is not above zero ends the gate.
    """
    n = len(differences)
    if n == 0:
        raise ValueError("promote needs at least one paired difference")
    gain, own = st.mean(differences), st.variance(differences)
    alpha = alpha_of_try(tries) / LOOKS
    if sigma == 0.0 and own == 0.0:
        return Promotion(Decision.PROMOTE if gain > 0 else Decision.REJECT, gain, gain, n, alpha)
    if sigma == 0.0:
        pooled, weight = own, n - 1
    else:
        weight = dof + n - 1
        pooled = (dof * 2 * sigma**2 + (n - 1) * own) / weight
    low = gain - st.t_quantile(1 - alpha, weight) * math.sqrt(pooled / n)
    if low > 0:
        return Promotion(Decision.PROMOTE, gain, low, n, alpha)
    last = n >= confirm * 2 ** (LOOKS - 1)
    decision = Decision.REJECT if gain <= 0 or last else Decision.MORE
    return Promotion(decision, gain, low, n, alpha)

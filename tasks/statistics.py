"""The few distributions judging needs, without SciPy. All quantiles are one-sided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist, fmean

_NORMAL = NormalDist()


def mean(values: Sequence[float]) -> float:
    """Their mean; of equal values that very value, which a rounded sum over a count misses for one value in eight."""
    return values[0] if values and min(values) == max(values) else fmean(values)


def variance(values: Sequence[float]) -> float:
    """Unbiased sample variance; 0.0 for fewer than two values, and exactly 0.0 for equal ones: a task that repeats is told by it."""
    if len(values) < 2:
        return 0.0
    centre = mean(values)
    return math.fsum((v - centre) ** 2 for v in values) / (len(values) - 1)


def normal_quantile(p: float) -> float:
    return _NORMAL.inv_cdf(p)


def t_cdf(t: float, dof: float) -> float:
    """Student's t distribution function, by the regularised incomplete beta function."""
    if math.isinf(dof):
        return _NORMAL.cdf(t)
    tail = 0.5 * beta_inc(dof / 2, 0.5, dof / (dof + t * t))
    return 1 - tail if t > 0 else tail


def t_quantile(p: float, dof: float) -> float:
    """x with P(T <= x) = p for Student's t with `dof` > 0 degrees of freedom; bisection on `t_cdf`, 1e-10 relative."""
    if not 0 < p < 1 or dof <= 0:
        raise ValueError(f"t_quantile needs 0 < p < 1 and dof > 0, not p={p}, dof={dof}")
    if math.isinf(dof):
        return _NORMAL.inv_cdf(p)
    if p == 0.5:
        return 0.0
    if p < 0.5:
        return -t_quantile(1 - p, dof)
    tail = 1 - p
    low, high = 0.0, 1.0
    while t_tail(high, dof) > tail and high < 1e300:
        low, high = high, high * 2
    for _ in range(200):
        middle = (low + high) / 2
        if t_tail(middle, dof) > tail:
            low = middle
        else:
            high = middle
        if high - low <= 1e-10 * high:
            break
    return (low + high) / 2


def t_tail(t: float, dof: float) -> float:
    """P(T > t) for t >= 0, accurate far into the tail."""
    if math.isinf(dof):
        return 0.5 * math.erfc(t / math.sqrt(2))
    return 0.5 * beta_inc(dof / 2, 0.5, dof / (dof + t * t))


def beta_inc(a: float, b: float, x: float) -> float:
    """Regularised incomplete beta function I_x(a, b), by Lentz's continued fraction (Numerical Recipes, 6.4)."""
    if x <= 0:
        return 0.0
    if x >= 1:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1) / (a + b + 2):
        return front * _fraction(a, b, x) / a
    return 1 - front * _fraction(b, a, 1 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    tiny = 1e-300
    c, d = 1.0, 1 - (a + b) * x / (a + 1)
    d = 1 / (d if abs(d) > tiny else tiny)
    h = d
    for m in range(1, 300):
        for step in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1 + step * d
            d = 1 / (d if abs(d) > tiny else tiny)
            c = 1 + step / c
            c = c if abs(c) > tiny else tiny
            h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return h


def clopper_pearson_upper(successes: int, trials: int, confidence: float = 0.95) -> float:
    """One-sided exact upper bound of a binomial proportion (Clopper and Pearson, 1934)."""
    if successes >= trials:
        return 1.0
    low, high = successes / trials, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        # P(X <= successes | p) = I_{1-p}(n-k, k+1)
        if beta_inc(trials - successes, successes + 1, 1 - middle) > 1 - confidence:
            low = middle
        else:
            high = middle
    return high

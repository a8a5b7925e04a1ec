"""Runs without programs: candidates are numbers with noise, so that promotion rules can be tried thousands of times."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from evolve.tasks import statistics as st
from evolve.tasks.verdict import Decision, Estimate, Status, Verdict, promote, worth_a_gate


@dataclass(frozen=True, slots=True)
class Champions:
    """What a simulated run crowned: true gains (in sigma) of the champions, in order, and the gates it opened."""

    gains: tuple[float, ...]
    gates: int
    samples: int


def run(
    rng: random.Random, gains: list[float], *, calibrations: int = 5, confirm: int = 3, screen: int = 1
) -> Champions:
    """A search whose candidates have the given true gains over the seed, measured with unit noise.

    gains: one per candidate, in the order tried. The seed's true value is 0; sigma is estimated from `calibrations`
    runs of it, as `evolve check` does. Uses the very `worth_a_gate` and `promote` of real runs.
    """
    seed = [rng.gauss(0, 1) for _ in range(calibrations)]
    sigma, dof = math.sqrt(st.variance(seed)), calibrations - 1
    champion, champion_true, tries = _verdict(seed, sigma, dof), 0.0, 0
    crowned, gates, samples = [], 0, calibrations
    for true in gains:
        candidate = _verdict([rng.gauss(true, 1) for _ in range(screen)], sigma, dof)
        samples += screen
        if not worth_a_gate(candidate, champion, sigma):
            continue
        gates, tries = gates + 1, tries + 1
        ours: list[float] = []
        theirs: list[float] = []
        while True:
            more = confirm if not ours else len(ours)
            ours += [rng.gauss(true, 1) for _ in range(more)]
            theirs += [rng.gauss(champion_true, 1) for _ in range(more)]
            samples += 2 * more
            outcome = promote([a - b for a, b in zip(ours, theirs, strict=True)], sigma, dof, tries, confirm)
            if outcome.decision is not Decision.MORE:
                break
        if outcome.decision is Decision.PROMOTE:
            champion, champion_true, tries = _verdict(ours, sigma, dof), true, 0
            crowned.append(true)
    return Champions(tuple(crowned), gates, samples)


def _verdict(values: list[float], sigma: float, dof: int) -> Verdict:
    centre = st.mean(values)
    half = 2 * sigma / math.sqrt(len(values))
    estimate = Estimate(centre, centre - half, centre + half, len(values))
    return Verdict(Status.SCORED, centre, centre - half, centre + half, (centre,), {"x": estimate})

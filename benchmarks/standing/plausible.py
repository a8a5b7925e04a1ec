"""How often an honest search is asked for a second look, and how often a forged score is (evolve.tasks.plausible).

    python benchmarks/standing/plausible.py [--runs 500] [--candidates 400] [--out results.json]

Four kinds of honest search, fitness more is better:

    climb    gains of the first in ten candidates or fewer, log-normal around a level that falls as the search converges
    leap     the same on seconds (fitness = -seconds), with one fix that makes the program ten times as fast, anywhere
    noisy    a training metric near -1 with noise 0.002, gains of 0.003 on average, every candidate measured once
    luck     no search: independent draws, the best of which reigns (records of a heavy-tailed score)

Each costs `asked` questions of 100 candidates, each one evaluation more. A forged score, better than the best so far by a
factor, is put anywhere into the same searches; `caught` is how often it is asked about. Goals: at most one question in
100 candidates, all forgeries of ten times or more.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from evolve.tasks.plausible import jump, relative
from evolve.tasks.verdict import Estimate, Status, Verdict

FACTORS = (1.1, 1.5, 2.0, 3.0, 10.0, 1000.0)


def searched(rng: random.Random, candidates: int, draw: Callable[[int, float], float], start: float) -> Iterator[float]:
    """True worth of each candidate; the best so far is what the next one starts from."""
    best = start
    for k in range(candidates):
        value = draw(k, best)
        yield value
        best = max(best, value)


def kind(name: str, rng: random.Random, candidates: int) -> tuple[Iterator[float], float, float]:
    """(worth of each candidate, worth of the seed, noise of one sample)."""

    def step(k: int, best: float) -> float:
        gain = abs(best) * 0.1 * math.exp(rng.gauss(0, 1.5)) / (1 + k / 20)
        better = rng.random() < 0.1 / (1 + k / 200)
        return best + min(gain, 0.9 * abs(best) if best < 0 else gain) if better else best - gain

    if name == "climb":
        return searched(rng, candidates, step, 1.0), 1.0, 0.0
    if name == "leap":
        at = rng.randrange(candidates)
        return searched(rng, candidates, lambda k, best: best / 10 if k == at else step(k, best), -10.0), -10.0, 0.0
    if name == "noisy":
        gain = lambda k, best: best + (rng.expovariate(1 / 0.003) if rng.random() < 0.1 else -0.002)  # noqa: E731
        return searched(rng, candidates, gain, -1.0), -1.0, 0.002
    return searched(rng, candidates, lambda k, best: rng.paretovariate(2), 1.0), 1.0, 0.0


def scored(fitness: float, n: int) -> Verdict:
    return Verdict(Status.SCORED, fitness, fitness, fitness, (fitness,), {"m": Estimate(fitness, fitness, fitness, n)})


def run(name: str, seed: int, candidates: int) -> tuple[int, int, dict[float, bool]]:
    """(questions, promotions, factor -> whether a forgery of it at one random place is asked about)."""
    rng = random.Random(f"{name}/{seed}")
    worths, start, sigma = kind(name, rng, candidates)
    forged_at = rng.randrange(candidates)
    best, steps, questions, caught = start, [], 0, {}
    for k, worth in enumerate(worths):
        if k == forged_at:
            for factor in FACTORS:
                forged = best * factor if best > 0 else best / factor
                caught[factor] = bool(jump(scored(forged, 1), scored(best, 3), steps, "m", sigma))
        seen = worth + rng.gauss(0, sigma)
        questions += bool(jump(scored(seen, 1), scored(best, 3), steps, "m", sigma))
        if worth > best + 2 * sigma / math.sqrt(3):  # the gate's fresh samples show it
            steps.append(relative(best, worth))
            best = worth
    return questions, len(steps), caught


def measure(name: str, runs: int, candidates: int) -> dict[str, object]:
    found = [run(name, seed, candidates) for seed in range(runs)]
    return {
        "kind": name,
        "runs": runs,
        "candidates": candidates,
        "promotions_a_run": round(sum(p for _, p, _ in found) / runs, 1),
        "asked_of_100": round(100 * sum(q for q, _, _ in found) / (runs * candidates), 3),
        "caught": {str(f): round(sum(c[f] for _, _, c in found) / runs, 3) for f in FACTORS},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--candidates", type=int, default=400)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [measure(name, args.runs, args.candidates) for name in ("climb", "leap", "noisy", "luck")]
    for row in rows:
        print(json.dumps(row))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

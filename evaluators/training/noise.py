"""The noise floor of a track on a machine, and whether a gain stands out of it and holds on the hidden rows too."""

from __future__ import annotations

import fcntl
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.tasks import statistics as st
from evolve.tasks.errors import BaselineError
from evolve.tasks.evidence import Check, Outcome
from evolve.tasks.verdict import Promotion, promote

FEWEST = 10
"""Runs of the baseline a noise floor needs; no decision is taken without one."""


@dataclass(frozen=True, slots=True)
class Floor:
    """Runs of the unchanged baseline: metric -> values, one a fresh seed; hardware, driver and clocks they were taken on."""

    track: str
    machine: str
    baseline: str
    values: Mapping[str, Sequence[float]] = field(default_factory=dict)
    hardware: Mapping[str, Any] = field(default_factory=dict)
    clocks: Sequence[Mapping[str, float]] = ()

    @property
    def n(self) -> int:
        return min((len(v) for v in self.values.values()), default=0)

    def sigma(self, metric: str) -> float:
        """Standard deviation of one run. Raises BaselineError while there are too few runs."""
        if self.n < FEWEST:
            raise BaselineError(
                f"the noise floor of {self.track} on this machine has {self.n} runs of the baseline and needs {FEWEST}: "
                "measure the seed again ('evolve check') before anything is decided"
            )
        return math.sqrt(st.variance(self.values[metric]))


class FloorFile:
    """A floor kept in a JSON file that several processes add to."""

    def __init__(self, path: Path, track: str, machine: str, baseline: str) -> None:
        self.path, self._key = path, (track, machine, baseline)

    def read(self) -> Floor:
        if not self.path.is_file():
            return Floor(*self._key)
        found = Floor(**json.loads(self.path.read_text(encoding="utf-8")))
        return found if (found.track, found.machine, found.baseline) == self._key else Floor(*self._key)

    def add(self, values: Mapping[str, float], hardware: Mapping[str, Any], clocks: Mapping[str, float]) -> Floor:
        """One more run of the baseline."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            old = self.read()
            kept = {name: [*old.values.get(name, ()), value] for name, value in values.items()}
            readings = [*old.clocks, {**clocks, "time": round(time.time())}]
            document = {"track": old.track, "machine": old.machine, "baseline": old.baseline, "values": kept,
                        "hardware": dict(hardware), "clocks": readings}  # fmt: skip
            partial = self.path.with_suffix(".partial")
            partial.write_text(json.dumps(document, indent=1), encoding="utf-8")
            partial.rename(self.path)
        return self.read()


def decide(
    candidate: Sequence[float], champion: Sequence[float], floor: Floor, metric: str, tries: int, confirm: int
) -> Promotion:
    """Whether a candidate beats the champion (lower is better), from runs paired by seed; see `verdict.promote`.

    Raises BaselineError without a floor, ValueError for runs that do not pair.
    """
    sigma = floor.sigma(metric)
    differences = [theirs - ours for ours, theirs in zip(candidate, champion, strict=True)]
    return promote(differences, sigma, floor.n - 1, tries, confirm)


def agreement(validation: Sequence[float], holdout: Sequence[float], tree: str = "") -> Check:
    """Whether a gain on the validation rows is there on the hidden ones too.

    Paired gains, candidate over champion, positive is better, one a seed. A gain that is clear (one-sided t, 5%) but
    absent on the holdout, or clearly (1%) less than a third of it there, is AUDIT: it was made for the validation.
    """
    gain, held = st.mean(validation), st.mean(holdout)
    detail = f"gain {gain:.5f} on validation, {held:.5f} on the holdout, {len(validation)} pairs"
    if len(validation) < 2:
        return Check("holdout", Outcome.PASSED, detail, tree)
    clear = _t(validation) > st.t_quantile(0.95, len(validation) - 1)
    short = [h - v / 3 for v, h in zip(validation, holdout, strict=True)]
    lost = held <= 0 or -_t(short) > st.t_quantile(0.99, len(short) - 1)
    return Check("holdout", Outcome.AUDIT if clear and lost else Outcome.PASSED, detail, tree)


def _t(values: Sequence[float]) -> float:
    spread = math.sqrt(st.variance(values) / len(values))
    centre = st.mean(values)
    return centre / spread if spread > 0 else math.copysign(math.inf, centre) if centre else 0.0

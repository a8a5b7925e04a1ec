"""One measurement: train once, score what was handed in. What the evaluator, the proofs and the benchmarks all call."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evolve.evaluators.sandbox import Mount
from evolve.evaluators.sandbox import Outcome as Ended
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.training import scoring, supervisor
from evolve.evaluators.training.data import Dataset
from evolve.evaluators.training.gpu import untimed_work
from evolve.evaluators.training.supervisor import Program
from evolve.evaluators.training.tracks import Track
from evolve.tasks.evidence import Check, Failure, Outcome


@dataclass(frozen=True, slots=True)
class Sampled:
    """metrics, all measured by the referee: val_bpb, holdout_bpb (or val_loss, holdout_loss), seconds, tokens_m,
    state_mb, peak_mb. seconds: GO to the state's arrival. facts: the same and more for the record, plain JSON."""

    failure: Failure | None
    metrics: Mapping[str, float] = field(default_factory=dict)
    checks: Sequence[Check] = ()
    seconds: float = 0.0
    cpu: float = 0.0
    curve: Sequence[tuple[float, float]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    gpu: Mapping[str, float] = field(default_factory=dict)
    outcome: Ended | None = None


def sample(
    sandbox: LocalSandbox, program: Program, track: Track, data: Dataset, seed: int, *, hidden: tuple[Mount, ...] = (),
    stop: supervisor.Stop | None = None, keep: Path | None = None, second: LocalSandbox | None = None,
) -> Sampled:  # fmt: skip
    """Train with one seed and score. A candidate's failure is in the result; raises SandboxError and the like for ours.
    second: another sandbox, for the second scorer's worker to start in meanwhile."""
    run = supervisor.train(sandbox, program, track, data, seed, hidden=hidden, stop=stop, keep=keep)
    cpu = run.outcome.cost.cpu if run.outcome else 0.0
    facts: dict[str, Any] = {
        "seed": seed, "seconds": round(run.seconds, 4), "ready": round(run.ready, 3), "wall": round(run.wall, 3),
        "tokens": run.tokens, "batches": run.batches, "planned": run.planned, "gpu": dict(run.gpu),
        "curve": thinned(run.curve), "stopped": run.stopped, "phases": run.phases,
    }  # fmt: skip
    if run.failure is not None or run.state is None:
        return Sampled(run.failure, seconds=run.seconds, cpu=cpu, curve=run.curve, facts=facts, gpu=run.gpu,
                       outcome=run.outcome)  # fmt: skip
    try:
        score = scoring.score(sandbox, program, track, data, run.state, seed, hidden=hidden, second=second)
        size = run.state.size
    finally:
        run.state.close()
    run.phases["scoring"] = score.phases
    facts |= {"scoring": round(score.seconds, 3), "first_loss": _plain(score.first_loss), "parameters": score.parameters,
              "differences": score.differences, "state": size, "logits": score.logits}  # fmt: skip
    checks = [*score.checks, *_untimed(run)]
    peak = run.gpu.get("peak_vram_mb", (run.outcome.peak if run.outcome else 0) / (1 << 20))
    names = ("val_bpb", "holdout_bpb") if track.metric == "bpb" else ("val_loss", "holdout_loss")
    metrics = {names[0]: score.validation, names[1]: score.holdout, "seconds": run.seconds, "tokens_m": run.tokens / 1e6,
               "state_mb": size / (1 << 20), "peak_mb": peak}  # fmt: skip
    return Sampled(score.failure, metrics, checks, run.seconds, cpu + score.cpu, run.curve, facts, run.gpu, run.outcome)


UNTIMED_SECONDS = 6.0
"""Work at full power that a rehearsal may cause before the clock starts."""


def _untimed(run: supervisor.Training) -> list[Check]:
    work = untimed_work(run.gpu, run.ready)
    if work is None:
        return []
    detail = f"before the clock started the card worked {work:.1f} s at full power; {UNTIMED_SECONDS:g} are allowed"
    return [Check("untimed-work", Outcome.AUDIT if work > UNTIMED_SECONDS else Outcome.PASSED, detail)]


def _plain(value: float) -> float | None:
    return round(value, 5) if math.isfinite(value) else None


def thinned(curve: Sequence[tuple[float, float]], most: int = 60) -> list[tuple[float, float]]:
    """At most `most` points of a curve, its end among them."""
    step = max(len(curve) // most, 1)
    return [(share, round(loss, 4)) for share, loss in curve[::-1][::step][::-1]]

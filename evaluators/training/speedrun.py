"""The speedrun's own rules: its significance test, its log format, the record folder its pull requests contain."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evolve.tasks import statistics as st
from evolve.tasks.errors import TaskError

LEVEL = 0.01
"""p below which a mean loss counts as under the target (one-sided one-sample t test; modded-nanogpt, README)."""


@dataclass(frozen=True, slots=True)
class Significance:
    """losses' mean and standard deviation against a target; `p` of the one-sided t test, `needs` the highest mean that
    would pass with this spread and this many runs."""

    n: int
    mean: float
    sigma: float
    target: float
    p: float
    needs: float

    @property
    def passes(self) -> bool:
        return self.p < LEVEL

    def reason(self) -> str:
        """Why it does not pass, with what would."""
        if self.passes:
            return f"mean loss {self.mean:.5f} is below {self.target:g} (n = {self.n}, p = {self.p:.2g})"
        if self.n < 2:
            return f"one run shows no spread: a loss below {self.target:g} at p < {LEVEL:g} needs at least 2 runs, better 10"
        where = "not below" if self.mean >= self.target else "below, but not at p < 0.01,"
        return (
            f"mean loss {self.mean:.5f} over n = {self.n} runs is {where} the target {self.target:g} "
            f"(p = {self.p:.2g}); with this spread ({self.sigma:.5f}) it must be at most {self.needs:.5f}, "
            f"{margin(self.n):.2f} sigma under the target (n = 5 needs 1.68, n = 10 needs 0.89)"
        )


def margin(n: int) -> float:
    """Standard deviations the mean of n runs must lie under the target: t(0.99, n - 1) / sqrt(n)."""
    return st.t_quantile(1 - LEVEL, n - 1) / math.sqrt(n)


def significance(losses: Sequence[float], target: float) -> Significance:
    """One-sided one-sample t test that the mean loss is below the target; equal losses pass when below it."""
    n, mean = len(losses), st.mean(losses)
    sigma = math.sqrt(st.variance(losses))
    if n < 2:
        return Significance(n, mean, sigma, target, 1.0, -math.inf)
    if sigma == 0.0:
        return Significance(n, mean, sigma, target, 0.0 if mean < target else 1.0, target)
    p = st.t_cdf((mean - target) / (sigma / math.sqrt(n)), n - 1)
    return Significance(n, mean, sigma, target, p, target - margin(n) * sigma)


# ---- upstream's log --------------------------------------------------------------------------------------------------

_STEP = re.compile(
    r"^step:(\d+)/(\d+) val_loss:([0-9.]+|nan) train_time:([0-9.]+)ms(?: step_avg:([0-9.]+|nan)ms)?", re.MULTILINE
)
_MEMORY = re.compile(r"^peak memory allocated: (\d+) MiB reserved: (\d+) MiB", re.MULTILINE)
RULE = "=" * 100


@dataclass(frozen=True, slots=True)
class Log:
    """What upstream's log of one run says: all of it self-reported.

    validations: (step, loss, training milliseconds). source: the code before the first rule of `=`.
    """

    steps: int
    loss: float
    seconds: float
    validations: tuple[tuple[int, float, float], ...]
    source: str
    memory_mib: int | None = None


def parse_log(text: str, where: str = "the log") -> Log:
    """Read a log `logs/<uuid>.txt`. Raises TaskError where no validation was logged or the last one is not the end."""
    found = [(int(m[1]), int(m[2]), float(m[3]), float(m[4])) for m in _STEP.finditer(text)]
    if not found:
        raise TaskError(
            f"{where} has no line such as 'step:1390/1390 val_loss:3.2775 train_time:79532ms step_avg:57.22ms'"
        )
    step, steps, loss, milliseconds = found[-1]
    if step != steps:
        raise TaskError(f"{where} ends at step {step} of {steps}: the run did not finish")
    if not math.isfinite(loss):
        raise TaskError(f"{where}: the final loss is {loss}")
    memory = _MEMORY.search(text)
    source = text.partition(RULE)[0]
    rows = tuple((row[0], row[2], row[3]) for row in found)
    return Log(steps, loss, milliseconds / 1000, rows, source, int(memory[1]) if memory else None)


def format_log(source: str, versions: str, steps: int, loss: float, seconds: float, memory_mib: int | None) -> str:
    """A log in upstream's shape, written by the evaluator from what it measured itself."""
    average = f" step_avg:{1000 * seconds / max(steps, 1):.2f}ms"
    lines = [source.rstrip("\n"), RULE, versions, RULE,
             f"step:{steps}/{steps} val_loss:{loss:.4f} train_time:{1000 * seconds:.0f}ms{average}"]  # fmt: skip
    if memory_mib is not None:
        lines.append(f"peak memory allocated: {memory_mib} MiB reserved: {memory_mib} MiB")
    return "\n".join(lines) + "\n"


def check_entry(losses: Sequence[float], target: float = 3.28, *, systems_change: bool = False) -> tuple[bool, str]:
    """Whether runs would count as a record, and why (not). Waived only for a change declared to touch no numerics."""
    found = significance(losses, target)
    if systems_change and not found.passes:
        return True, f"significance waived for a declared systems change: {found.reason()}"
    return found.passes, found.reason()


# ---- the record folder -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Run:
    """One run as the evaluator measured it: its clock, its loss afterwards."""

    seconds: float
    loss: float
    steps: int
    memory_mib: int | None = None


def write_record(
    folder: Path, idea: str, ours: tuple[str, Sequence[Run]], baseline: tuple[str, Sequence[Run]], target: float,
    versions: str,
) -> None:  # fmt: skip
    """README.md, `this_pr/` and `baseline/` with a log a run, `statistics.md`: what upstream's pull requests hold.

    ours, baseline: (source text, runs), taken alternating on one machine. Raises TaskError where the loss does not pass.
    """
    found = significance([run.loss for run in ours[1]], target)
    if not found.passes:
        raise TaskError(f"no record: {found.reason()}")
    for name, (source, runs) in (("this_pr", ours), ("baseline", baseline)):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number, run in enumerate(runs):
            text = format_log(source, versions, run.steps, run.loss, run.seconds, run.memory_mib)
            (folder / name / f"{number:02d}.txt").write_text(text, encoding="utf-8")
    (folder / "train_gpt.py").write_text(ours[0], encoding="utf-8")
    (folder / "statistics.md").write_text(_statistics(found, ours[1], baseline[1]), encoding="utf-8")
    seconds = st.mean([run.seconds for run in ours[1]])
    text = f"# {idea}\n\n{seconds:.2f} s to a mean loss of {found.mean:.4f} ({len(ours[1])} runs); see statistics.md.\n"
    (folder / "README.md").write_text(text, encoding="utf-8")


def _statistics(found: Significance, ours: Sequence[Run], baseline: Sequence[Run]) -> str:
    lines = ["# Statistics", "", f"Target loss {found.target:g}; one-sided one-sample t test at p < {LEVEL:g}.", "",
             "| | n | mean loss | sd | mean seconds | sd |", "|---|---|---|---|---|---|"]  # fmt: skip
    for name, runs in (("this PR", ours), ("baseline", baseline)):
        losses, seconds = [r.loss for r in runs], [r.seconds for r in runs]
        lines.append(
            f"| {name} | {len(runs)} | {st.mean(losses):.5f} | {math.sqrt(st.variance(losses)):.5f} | "
            f"{st.mean(seconds):.3f} | {math.sqrt(st.variance(seconds)):.3f} |"
        )
    gain, low, high = time_gain([r.seconds for r in ours], [r.seconds for r in baseline])
    saved = f"{gain:.3f} s, 95% interval [{low:.3f}, {high:.3f}]"
    lines += ["", f"p = {found.p:.2g}.", "", f"Time saved, paired and alternating on one machine: {saved}."]
    return "\n".join(lines) + "\n"


def time_gain(ours: Sequence[float], baseline: Sequence[float]) -> tuple[float, float, float]:
    """(mean seconds saved, low, high) of alternating pairs, 95% two-sided. Raises ValueError where they do not pair."""
    saved = [theirs - mine for mine, theirs in zip(ours, baseline, strict=True)]
    gain = st.mean(saved)
    if len(saved) < 2:
        return gain, -math.inf, math.inf
    half = st.t_quantile(0.975, len(saved) - 1) * math.sqrt(st.variance(saved) / len(saved))
    return gain, gain - half, gain + half


def versions(machine: Mapping[str, object]) -> str:
    """The lines of a log that say what it ran on."""
    import torch

    return f"Running Python {machine.get('python')}\nRunning PyTorch {torch.__version__}\n{machine}"

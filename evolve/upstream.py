"""What goes upstream in words: commit messages and the text of a pull request, with metrics, intervals and a plot."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from evolve.minimal import Reduction
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.remeasure import Paired
from evolve.tasks.task import Metric, Task
from evolve.tasks.verdict import Estimate

if TYPE_CHECKING:
    from evolve.pick import Picked


def message_of_whole(
    state: RunState, task: Task, candidate: Candidate, reduction: Reduction | None, *, provenance: bool
) -> str:
    """Subject with the gain; the metrics against the base; the ideas that made it."""
    base = _base(state, task)
    lines = [headline(task, base, candidate), "", *metric_lines(task, base, candidate)]
    if reduction is not None:
        lines += ["", _reduced(reduction)]
        lines += [f"- {hunk.title()}{_worth(task.objectives[0], pair)}" for hunk, pair in reduction.kept]
    ideas = gains(state, candidate)
    if ideas and reduction is None:
        lines += ["", "Steps that gained:"]
        lines += [f"- {step.idea or step.operator} ({_signed(task.objectives[0], gain)})" for step, gain in ideas[:12]]
        if len(ideas) > 12:
            lines.append(f"- and {len(ideas) - 12} smaller ones")
    return _finish(lines, state, task, candidate, provenance)


def message_of_step(state: RunState, task: Task, before: Candidate, step: Candidate, *, provenance: bool) -> str:
    """The idea, and what it measured before and after."""
    metric = task.objectives[0]
    lines = [" ".join(step.idea.split())[:72] or step.operator or f"Step #{step.number}", ""]
    if step.fitness is not None and before.fitness is not None:
        gain = _signed(metric, step.fitness - before.fitness)
        lines.append(f"{metric.name}: {_value(metric, before)} -> {_value(metric, step)} ({gain})")
    else:
        lines.append("Not scored by itself; a step on the way.")
    return _finish(lines, state, task, step, provenance)


def headline(task: Task, base: Candidate, candidate: Candidate) -> str:
    """`Improve seconds by 31% (4.21 -> 2.9 s)`."""
    metric = task.objectives[0]
    assert candidate.fitness is not None
    after = metric.sign * candidate.fitness
    unit = f" {metric.unit}" if metric.unit else ""
    if base.fitness is None:
        return f"Bring {metric.name} to {after:.6g}{unit}"
    before = metric.sign * base.fitness
    share = f" by {abs(after - before) / abs(before):.1%}" if before else ""
    return f"Improve {metric.name}{share} ({before:.6g} -> {after:.6g}{unit})"


def metric_lines(task: Task, base: Candidate, candidate: Candidate) -> list[str]:
    """One line a metric: base -> candidate with its interval and sample count."""
    assert candidate.verdict is not None
    out = []
    for name, after in candidate.verdict.metrics.items():
        unit = next((m.unit for m in task.evaluate.metrics if m.name == name), "")
        before = base.verdict.metrics.get(name) if base.verdict else None
        first = f"{before.mean:.6g} -> " if before else ""
        out.append(f"{name}: {first}{after.mean:.6g}{_interval(after)}{' ' + unit if unit else ''}, n = {after.n}")
    if candidate.verdict.self_reported:
        out.append("Measured from the program's own output.")
    return out


def gains(state: RunState, candidate: Candidate) -> list[tuple[Candidate, float]]:
    """Steps on the winning path that beat their parent, largest gain first."""
    path = state.lineage.path_to(candidate.commit)
    found = [
        (step, step.fitness - before.fitness)
        for before, step in pairwise(path)
        if step.fitness is not None and before.fitness is not None and step.fitness > before.fitness
    ]
    return sorted(found, key=lambda pair: -pair[1])


# ---- a pull request --------------------------------------------------------------------------------------------------


def pull_request(state: RunState, task: Task, candidate: Candidate, picked: Picked, onto: str) -> str:
    """Markdown: what changed for the better, measured where and how, the curve, the steps, how to check it."""
    base, metric = _base(state, task), task.objectives[0]
    opened = state.lineage.opened
    assert opened is not None and candidate.verdict is not None
    rows = ["| metric | base | this change | 95% interval | n |", "|---|---:|---:|---|---:|"]
    for name, after in candidate.verdict.metrics.items():
        before = base.verdict.metrics.get(name) if base.verdict else None
        unit = next((m.unit for m in task.evaluate.metrics if m.name == name), "")
        label = f"{name}{f' ({unit})' if unit else ''}"
        was, spread = f"{before.mean:.6g}" if before else "", _interval(after).strip() or "exact"
        rows.append(f"| {label} | {was} | **{after.mean:.6g}** | {spread} | {after.n} |")
    out = [f"# {headline(task, base, candidate)}", "", *rows, ""]
    out += [_there(picked, metric, onto), ""]
    if picked.reduction is not None:
        out += [_reduced(picked.reduction), ""]
        out += [f"- `{hunk.title()}`{_worth(metric, pair)}" for hunk, pair in picked.reduction.kept] + [""]
    series = best_so_far(state, task.name)
    if len(series) > 1:
        shown = [(n, metric.sign * f) for n, f in series]
        out += [f"Best {metric.name} so far against evaluations:", "", "```", *text_plot(shown), "```", ""]
    steps = gains(state, candidate)
    if steps:
        out += ["Steps that gained:", ""]
        out += [f"- {_plain(step.idea or step.operator)} ({_signed(metric, gain)})" for step, gain in steps[:20]] + [""]
    made = f"mutator {opened.mutator or 'unknown'}, selector {opened.selector or 'unknown'}, seed {opened.seed}"
    out += [
        f"Found by evolve {opened.tool}, run `{state.run}` ({made}): {state.ledger.evaluations} candidates evaluated. "
        f"Candidate #{candidate.number}, `{candidate.commit}`.",
        "",
        "Figures come from the candidate's own output." if candidate.verdict.self_reported
        else "Figures were measured outside the candidate's process.",
    ]  # fmt: skip
    return "\n".join(out) + "\n"


def _there(picked: Picked, metric: Metric, onto: str) -> str:
    if picked.same:
        return f"`{onto}` is the very base the run measured against, so these figures hold for it."
    if picked.there is None:
        return f"Not measured again on `{onto}`; the figures above are against the run's base."
    return f"Measured again on `{onto}` ({picked.onto[:12]}): {picked.there.sentence(metric.name, metric.unit, metric.sign)}."


def best_so_far(state: RunState, task: str) -> list[tuple[int, float]]:
    """(evaluations, fitness) at each promotion, and where the run stands now."""
    reigns = state.lineage.reigns.get(task, [])
    seed = state.candidates[state.lineage.seeds[task]]
    points = [(1, seed.fitness)] if seed.fitness is not None else []
    points += [(reign.evaluated, reign.fitness) for reign in reigns if reign.fitness is not None]
    if points:
        points.append((max(state.lineage.evaluated.get(task, 1), points[-1][0]), points[-1][1]))
    return [(n, f) for n, f in points if f is not None]


def text_plot(points: Sequence[tuple[float, float]], width: int = 60, height: int = 10) -> list[str]:
    """A step curve in characters: y axis with three labels, x axis with two. `points` in order of x, at least two."""
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    low, high = min(ys), max(ys)
    span, rise = (xs[-1] - xs[0]) or 1, (high - low) or 1
    levels = []
    for column in range(width):
        at = xs[0] + span * column / (width - 1)
        value = [y for x, y in points if x <= at + 1e-9][-1]
        levels.append(round((value - low) / rise * (height - 1)))
    label = {height - 1: f"{high:.5g}", (height - 1) // 2: f"{(high + low) / 2:.5g}", 0: f"{low:.5g}"}
    margin = max(len(text) for text in label.values())
    rows = []
    for row in range(height - 1, -1, -1):
        line = ""
        for column, level in enumerate(levels):
            before = levels[column - 1] if column else level
            crossed = min(before, level) < row < max(before, level)
            line += "─" if level == row else "│" if crossed or (before == row != level) else " "
        rows.append(f"{label.get(row, ''):>{margin}} ┤{line}".rstrip())
    end = f"{xs[-1]:g}"
    rows.append(f"{'':>{margin}} └{'─' * width}")
    rows.append(f"{'':>{margin}}  {f'{xs[0]:g}':<{width - len(end)}}{end}")
    return rows


# ---- small words -----------------------------------------------------------------------------------------------------


def _base(state: RunState, task: Task) -> Candidate:
    return state.candidates[state.lineage.seeds[task.name]]


def _interval(e: Estimate) -> str:
    return "" if e.low == e.high else f" [{e.low:.6g}, {e.high:.6g}]"


def _value(metric: Metric, c: Candidate) -> str:
    estimate = c.verdict.metrics.get(metric.name) if c.verdict else None
    if estimate is None:
        return "unscored"
    return f"{estimate.mean:.6g}{_interval(estimate)}"


def _signed(metric: Metric, gain: float) -> str:
    return f"{metric.name} {metric.sign * gain:+.4g}"


def _worth(metric: Metric, pair: Paired | None) -> str:
    if pair is None:
        return ""
    if pair.gain is None:
        return ": without it, it does not score"
    if pair.high is not None and pair.high >= 0:
        return ": its worth is not shown beyond the noise"
    return f": worth {_signed(metric, -pair.gain)}"


def _reduced(reduction: Reduction) -> str:
    total = len(reduction.kept) + len(reduction.dropped)
    how = "each left out in turn and measured" if reduction.complete else "as far as the measurements allowed went"
    return f"{len(reduction.kept)} of {total} hunks of the search's change are left; {how}."


def _plain(text: str) -> str:
    """A model's words as words: nothing of Markdown or HTML in them."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, "\\" + sign)
    return flat.replace("@", "@\u200b")


def _finish(lines: list[str], state: RunState, task: Task, c: Candidate, provenance: bool) -> str:
    if provenance:
        opened = state.lineage.opened
        lines += ["", f"Evolve-Run: {state.run}", f"Evolve-Task: {task.name}", f"Evolve-Candidate: {c.commit}"]
        lines += [f"Evolve-Operator: {c.operator}"] if c.operator else []
        lines += [f"Evolve-Model: {c.model}"] if c.model else []
        lines += [f"Evolve-Mutator: {opened.mutator}"] if opened and opened.mutator else []
    return "\n".join(lines) + "\n"

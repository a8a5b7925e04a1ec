"""Figures of a run for papers and notebooks (matplotlib, vector-friendly, readable in grey)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from evolve.errors import UsageError
from evolve.population.archive import Archive
from evolve.tasks.task import Task
from evolve.web.index import Index

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BLUE, ORANGE, GREEN, GREY = "#1f57b0", "#d9480f", "#14703f", "#8a949f"

STYLE: Any = {
    "figure.dpi": 110, "savefig.dpi": 300, "savefig.bbox": "tight", "pdf.fonttype": 42, "svg.fonttype": "none",
    "font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True,
    "grid.alpha": 0.25, "grid.linewidth": 0.6, "legend.frameon": False, "lines.linewidth": 1.6, "figure.constrained_layout.use": True,
}  # fmt: skip


@contextmanager
def paper() -> Iterator[Any]:
    """`matplotlib.pyplot` under this module's style. Raises UsageError where matplotlib is not installed."""
    try:
        import matplotlib
        from matplotlib import pyplot
    except ImportError as error:
        raise UsageError("figures need matplotlib: pip install 'evolve-search[analysis]'") from error
    with matplotlib.rc_context(STYLE):
        yield pyplot
        interactive = matplotlib.is_interactive()
    # The first figure of a notebook loads its backend, which turns this on; put back, no later figure would be shown.
    matplotlib.interactive(interactive)


def _parts(archive: Archive, run: str, task: str) -> tuple[Any, Index, Task]:
    state, index = archive.state(run), Index()
    for recorded in archive.events(run):
        index.apply(recorded)
    opened = state.lineage.opened
    if opened is None or task not in opened.tasks:
        raise UsageError(f"run {run!r} has no task {task!r}")
    return state, index, Task.parse(opened.tasks[task].source)


def best_so_far(archive: Archive, run: str, task: str, against: str = "evaluations") -> Figure:
    """The champion's value with its 95% interval, the control, and every verdict behind.

    against: "evaluations", "seconds", "money" or "gpu_seconds"; the control and the cloud only against evaluations.
    """
    state, index, definition = _parts(archive, run, task)
    metric = definition.objectives[0]
    points = [p for p in index.points.get(task, ()) if p.fitness is not None]
    end = {"evaluations": state.ledger.evaluations, "seconds": state.ledger.seconds(), "money": state.ledger.money,
           "gpu_seconds": state.ledger.gpu_seconds}[against]  # fmt: skip
    xs = [float(getattr(p, against)) for p in points] + [float(end)]
    ys = [metric.sign * (p.fitness or 0.0) for p in points]
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(5.2, 3.1))
        if against == "evaluations":
            judged = [state.candidates[c] for c in state.lineage.verdict_order]
            cloud = [(k, metric.sign * c.fitness) for k, c in enumerate(judged, 1) if c.task == task and c.fitness is not None]
            axis.scatter(*zip(*cloud, strict=True), s=4, color=GREY, alpha=0.5, linewidths=0, label="candidates")
            for found, style, label in ((index.control, "--", "random search"), (index.greedy, ":", "greedy")):
                beside = [(n, metric.sign * f) for n, f in found.get(task, ()) if f is not None]
                if beside:
                    axis.step(*zip(*beside, strict=True), where="post", color=GREY, linestyle=style, label=label)
            spread = [y for y in ys] or [0.0]
            room = (max(spread) - min(spread)) * 0.25 or 1.0
            axis.set_ylim(min(spread) - room, max(spread) + room / 3)
        axis.step(xs, [*ys, ys[-1]] if ys else [], where="post", color=BLUE, label="best so far")
        low = [min(metric.sign * (p.low or 0.0), metric.sign * (p.high or 0.0)) for p in points]
        high = [max(metric.sign * (p.low or 0.0), metric.sign * (p.high or 0.0)) for p in points]
        if low != high:
            axis.fill_between(xs, [*low, low[-1]], [*high, high[-1]], step="post", color=BLUE, alpha=0.18, linewidth=0)
        axis.set_xlabel(against.replace("_", " "))
        axis.set_ylabel(f"{metric.name}{f' ({metric.unit})' if metric.unit else ''}")
        axis.legend(loc="lower right" if metric.goal == "max" else "upper right", markerscale=2.5)
    return figure


def descent(archive: Archive, run: str, task: str) -> Figure:
    """Every scored candidate over its birth, joined to its first parent; the winning path on top."""
    state, _, definition = _parts(archive, run, task)
    metric = definition.objectives[0]
    scored = {c.commit: c for c in state.candidates.values() if c.task == task and c.fitness is not None}
    champion = state.champion(task)
    path = [c for c in (state.lineage.path_to(champion.commit) if champion else []) if c.fitness is not None]
    with paper() as plt:
        from matplotlib.collections import LineCollection

        figure: Figure
        figure, axis = plt.subplots(figsize=(6.4, 3.4))
        lines = [
            [(parent.number, metric.sign * (parent.fitness or 0.0)), (c.number, metric.sign * (c.fitness or 0.0))]
            for c in scored.values()
            if c.parents and (parent := scored.get(c.parents[0])) is not None
        ]
        axis.add_collection(LineCollection(lines, colors=GREY, linewidths=0.4, alpha=0.6))
        axis.scatter([c.number for c in scored.values()], [metric.sign * (c.fitness or 0.0) for c in scored.values()], s=5, color=BLUE,
                     linewidths=0, zorder=2)  # fmt: skip
        axis.plot([c.number for c in path], [metric.sign * (c.fitness or 0.0) for c in path], color=ORANGE, marker="o", markersize=3,
                  zorder=3, label="winning path")  # fmt: skip
        values = sorted(metric.sign * (c.fitness or 0.0) for c in scored.values())
        if values:
            cut = values[len(values) // 20] if metric.goal == "max" else values[-1 - len(values) // 20]
            best = values[-1] if metric.goal == "max" else values[0]
            low, high = sorted((cut, best))
            pad = (high - low) * 0.06 or 1.0
            axis.set_ylim(low - pad, high + pad)
        axis.set_xlabel("candidate, in order of birth")
        axis.set_ylabel(metric.name)
        axis.legend(loc="lower right" if metric.goal == "max" else "upper right")
    return figure


def operators(archive: Archive, run: str) -> Figure:
    """What came of each operator's candidates: beat its parent, scored without, failed."""
    state = archive.state(run)
    rows: dict[str, list[int]] = {}
    for c in state.candidates.values():
        if not c.parents:
            continue
        parent = state.candidates.get(c.parents[0])
        row = rows.setdefault(c.operator or "unknown", [0, 0, 0])
        if c.fitness is None:
            row[2] += 1
        elif parent and parent.fitness is not None and c.fitness > parent.fitness:
            row[0] += 1
        else:
            row[1] += 1
    names = sorted(rows, key=lambda name: sum(rows[name]))
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(5.2, 0.28 * len(names) + 1.0))
        left = [0] * len(names)
        for k, (label, colour) in enumerate((("beat its parent", GREEN), ("scored, no better", BLUE), ("failed", GREY))):
            widths = [rows[name][k] for name in names]
            axis.barh(names, widths, left=left, color=colour, label=label, height=0.7)
            left = [a + b for a, b in zip(left, widths, strict=True)]
        axis.set_xlabel("candidates")
        axis.grid(axis="y", visible=False)
        axis.legend(loc="lower right")
    return figure

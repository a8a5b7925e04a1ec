"""The best-so-far plot at a run's end. matplotlib is imported only here, and only then."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from evolve.search import Ground
    from evolve.session import Session


def drawable() -> bool:
    """Whether matplotlib is installed (the extra `plot`)."""
    return importlib.util.find_spec("matplotlib") is not None


def curve(fitness: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """(evaluations from 1, best fitness so far), one point at each improvement; unscored evaluations count."""
    xs: list[int] = []
    ys: list[float] = []
    for number, value in enumerate(fitness, 1):
        if value is not None and (not ys or value > ys[-1]):
            xs.append(number)
            ys.append(value)
    return xs, ys


def best_so_far(session: Session, path: Path) -> Path:
    """Draw each task's candidates, champion and control into one PNG at `path`. Raises ImportError where not `drawable`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grounds = session.opened.grounds
    figure = Figure(figsize=(7.2, 4.2 * len(grounds)), layout="constrained")
    FigureCanvasAgg(figure)
    for axis, (name, ground) in zip(figure.subplots(len(grounds), 1, squeeze=False)[:, 0], grounds.items(), strict=True):
        _draw(axis, session, name, ground)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    return path


def _draw(axis: Any, session: Session, name: str, ground: Ground) -> None:
    """Dots: candidates; the line: the best of them so far; diamonds: champions, who got through the champion gate."""
    metric, lineage = ground.task.objectives[0], session.state.lineage
    judged = [session.state.candidates[c] for c in lineage.verdict_order if session.state.candidates[c].task == name]
    scored = [(at, metric.sign * c.fitness, c) for at, c in enumerate(judged, 1) if c.fitness is not None]
    xs, ys = curve([c.fitness for c in judged])
    axis.plot([at for at, _, _ in scored], [y for _, y, _ in scored], ".", ms=2.5, color="0.7", label="candidates")
    if ys:
        axis.step([*xs, len(judged)], [metric.sign * y for y in [*ys, ys[-1]]], where="post", label="search, best so far")
    reigned = [(at, y) for at, y, c in scored if c.was_champion]
    axis.plot([at for at, _ in reigned], [y for _, y in reigned], "D", ms=3.5, label="promoted to champion")
    for control, style in zip(session.controls.get(name, ()), ("--", ":"), strict=False):
        if control.curve:
            cx, cy = [at for at, _ in control.curve], [metric.sign * value for _, value in control.curve]
            axis.step([*cx, control.evaluations], [*cy, cy[-1]], style, where="post", label=f"{control.label} (control)")
    _frame(axis, [y for _, y, _ in scored], best=metric.goal)
    axis.set_xlabel("evaluations")
    axis.set_ylabel(f"{metric.name}{f' ({metric.unit})' if metric.unit else ''}")
    axis.set_title(f"{name}: run {session.opened.run}")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower right" if metric.goal == "max" else "upper right", fontsize="small")


def _frame(axis: Any, values: Sequence[float], best: str) -> None:
    """Leave the worst twentieth out of view where it would flatten everything else."""
    ordered = sorted(values, reverse=best == "min")
    if len(ordered) < 20:
        return
    least, top = ordered[len(ordered) // 20], ordered[-1]
    if abs(ordered[0] - top) > 3 * abs(least - top) > 0:
        low, high = sorted((least, top))
        axis.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))

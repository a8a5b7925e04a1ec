"""The best-so-far plot at a run's end. matplotlib is imported only here, and only then."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolve.session import Session


def curve(fitness: Sequence[float | None]) -> tuple[list[int], list[float]]:
    """(evaluations from 1, best fitness so far), one point at each improvement; unscored evaluations count."""
    xs: list[int] = []
    ys: list[float] = []
    for number, value in enumerate(fitness, 1):
        if value is not None and (not ys or value > ys[-1]):
            xs.append(number)
            ys.append(value)
    return xs, ys


def best_so_far(session: Session, path: Path) -> Path | None:
    """Draw search and control of each task into one PNG; None where matplotlib is not installed."""
    if importlib.util.find_spec("matplotlib") is None:
        return None
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    state, grounds = session.state, session.opened.grounds
    figure, axes = plt.subplots(len(grounds), 1, figsize=(7.2, 4.2 * len(grounds)), squeeze=False, layout="constrained")
    for axis, (name, ground) in zip(axes[:, 0], grounds.items(), strict=True):
        metric = ground.task.objectives[0]
        judged = [state.candidates[c] for c in state.lineage.verdict_order if state.candidates[c].task == name]
        total = len(judged)
        xs, ys = curve([c.fitness for c in judged])
        axis.step([*xs, total], [metric.sign * y for y in [*ys, ys[-1]]] if ys else [], where="post", label="search")
        control = session.controls.get(name)
        if control and control.curve:
            cx, cy = [n for n, _ in control.curve], [metric.sign * v for _, v in control.curve]
            axis.step(
                [*cx, control.evaluations], [*cy, cy[-1]], where="post", label="random search (control)", linestyle="--"
            )
        axis.set_xlabel("evaluations")
        axis.set_ylabel(f"{metric.name}{f' ({metric.unit})' if metric.unit else ''}")
        axis.set_title(f"{name}: best so far, run {session.opened.run}")
        axis.grid(alpha=0.3)
        axis.legend(loc="lower right" if metric.goal == "max" else "upper right")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path

"""Figures of recorded measurements that are no run of a search: kernels against their bound, training curves.

Rows are the JSON lines that `benchmarks/gpu` and `benchmarks/training` write. Style and functions as in
`evolve.export.figures`: each returns a matplotlib figure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evolve.export.figures import BLUE, GREEN, GREY, ORANGE, paper

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Row = Mapping[str, Any]


def kernel_scores(rows: Sequence[Row]) -> Figure:
    """Score of every workload by problem, best problem first; what was refused is at the bottom, by its kind.

    rows: `item`, `status`, `kind`, `score`, `workloads` (each with `score`). 0.5 is the PyTorch baseline, 1.0 the bound.
    """
    scored = sorted((r for r in rows if r["status"] == "scored"), key=lambda r: float(r["score"]))
    refused = sorted((r for r in rows if r["status"] != "scored"), key=lambda r: str(r["item"]), reverse=True)
    names = [r["item"] for r in refused] + [r["item"] for r in scored]
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(5.6, 0.21 * len(names) + 1.0))
        axis.axvline(0.5, color=GREY, linestyle="--", linewidth=1, label="PyTorch baseline")
        axis.axvline(1.0, color=ORANGE, linewidth=1, label="hardware bound")
        for at, row in enumerate(scored, len(refused)):
            values = [w["score"] for w in row["workloads"]]
            axis.plot([min(values), max(values)], [at, at], color=BLUE, linewidth=0.8, alpha=0.5)
            axis.scatter(values, [at] * len(values), s=11, color=BLUE, linewidths=0, label="a workload" if at == len(refused) else None)
            axis.scatter([row["score"]], [at], s=34, marker="|", color=BLUE, linewidths=1.6)
        for at, row in enumerate(refused):
            axis.text(0.41, at, f"refused: {row['kind'] or row['status']}", va="center", fontsize=8, color="#b3261e", backgroundcolor="white")
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(-0.7, len(names) - 0.3)
        axis.set_xlim(0.4, 1.03)
        axis.set_xlabel("score (bar: the problem's)")
        axis.grid(axis="y", visible=False)
        figure.legend(loc="outside upper center", ncols=3, fontsize=8)
    return figure


def kernel_times(rows: Sequence[Row]) -> Figure:
    """Measured time of every workload with its interval, and of PyTorch's, over the bound; both axes logarithmic.

    rows: as for `kernel_scores`, `time`, `low`, `high`, `baseline`, `bound` of a workload in seconds.
    """
    found = [w for r in rows if r["status"] == "scored" for w in r["workloads"]]
    bounds = [1e6 * w["bound"] for w in found]
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(4.4, 3.5))
        times = [1e6 * w["time"] for w in found]
        spread = [[1e6 * (w["time"] - w["low"]) for w in found], [1e6 * (w["high"] - w["time"]) for w in found]]
        axis.scatter(bounds, [1e6 * w["baseline"] for w in found], s=12, color=GREY, linewidths=0, label="PyTorch")
        axis.errorbar(bounds, times, yerr=spread, fmt="o", markersize=3, elinewidth=0.8, color=BLUE, label="kernel, 95% interval")
        ends = [min(bounds, default=1.0) * 0.8, max(bounds, default=10.0) * 1.25]
        axis.plot(ends, ends, color=ORANGE, linewidth=1, label="at the bound")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_ylim(bottom=0.5 * min(times, default=1.0))
        axis.set_xlabel("bound (µs)")
        axis.set_ylabel("time (µs)")
        axis.legend(loc="upper left")
    return figure


def ratios(rows: Sequence[Row]) -> Figure:
    """Ratio of two timings with its interval, workload by workload, one point a sitting: how far a time repeats.

    rows: `rows`, workload -> `ratio`, `low`, `high`.
    """
    names = list(dict.fromkeys(name for r in rows for name in r["rows"]))
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(5.2, 0.3 * len(names) + 1.1))
        for at, name in enumerate(names):
            found = [r["rows"][name] for r in rows if name in r["rows"]]
            for k, one in enumerate(found):
                y = at + (k - (len(found) - 1) / 2) * 0.5 / max(len(found), 1)
                axis.plot([one["low"], one["high"]], [y, y], color=BLUE, linewidth=1)
                axis.scatter([one["ratio"]], [y], s=9, color=BLUE, linewidths=0)
        axis.axvline(1.0, color=GREY, linestyle="--", linewidth=1)
        axis.set_yticks(range(len(names)), names)
        axis.set_xlabel("ratio of times, 95% interval; one line a sitting")
        axis.grid(axis="y", visible=False)
    return figure


def loss_curves(curves: Mapping[str, Sequence[tuple[float, float]]], *, y_label: str = "training loss (nats/token)") -> Figure:
    """Curves over the share of their time. curves: label -> (share of the time, loss) pairs."""
    with paper() as plt:
        figure: Figure
        figure, axis = plt.subplots(figsize=(5.2, 3.1))
        colours = (BLUE, ORANGE, GREEN, GREY)
        several = len(curves) > len(colours)
        for k, (label, points) in enumerate(curves.items()):
            xs, ys = [p[0] for p in points], [p[1] for p in points]
            colour = BLUE if several else colours[k]
            axis.plot(xs, ys, color=colour, alpha=0.25 if several else 1.0, linewidth=0.8 if several else 1.4, label=None if several else label)
        axis.set_xlabel("share of the time")
        axis.set_ylabel(y_label)
        if not several:
            axis.legend(loc="upper right")
    return figure


def foretold(rows: Sequence[Row]) -> Figure:
    """How well the loss at each share of the time orders the final results (Spearman's rank correlation).

    rows: `curve` ((share, loss) pairs, the same shares in all) and `bpb`.
    """
    shares = [point[0] for point in rows[0]["curve"]] if rows else []
    final = [float(r["bpb"]) for r in rows]
    with paper() as plt:
        figure: Figure
        figure, (left, right) = plt.subplots(1, 2, figsize=(6.4, 2.9), width_ratios=(1.1, 1))
        left.plot(shares, [spearman([r["curve"][k][1] for r in rows], final) for k in range(len(shares))], "o-", color=BLUE, markersize=4)
        left.set_xlabel("share of the time")
        left.set_ylabel("rank correlation with the end")
        left.set_ylim(0, 1.03)
        middle = len(shares) // 2
        right.scatter([r["curve"][middle][1] for r in rows], final, s=8, color=BLUE, linewidths=0)
        right.set_xlabel(f"loss at {shares[middle]:.0%} of the time" if shares else "loss")
        right.set_ylabel("final bits per byte")
    return figure


def spearman(xs: Sequence[float], ys: Sequence[float]) -> float:
    """Rank correlation; ties get their mean rank. 0 where one of them does not vary."""
    a, b = _ranks(xs), _ranks(ys)
    n = len(a)
    mean = (n + 1) / 2
    top = sum((x - mean) * (y - mean) for x, y in zip(a, b, strict=True))
    below = (sum((x - mean) ** 2 for x in a) * sum((y - mean) ** 2 for y in b)) ** 0.5
    return top / below if below else 0.0


def _ranks(values: Sequence[float]) -> list[float]:
    order = sorted(range(len(values)), key=lambda k: values[k])
    ranks = [0.0] * len(values)
    at = 0
    while at < len(order):
        end = at
        while end + 1 < len(order) and values[order[end + 1]] == values[order[at]]:
            end += 1
        for k in range(at, end + 1):
            ranks[order[k]] = (at + end) / 2 + 1
        at = end + 1
    return ranks

"""Tables of docs/results/training.md from raw JSON lines: `python benchmarks/training/report.py RAW... > TABLES`.

RAW: what benchmarks/gpu/training_sitting.py wrote, any number of sittings.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from evolve.evaluators.training import noise, speedrun
from evolve.tasks import statistics as st

Line = dict[str, Any]


def read(paths: Iterable[str]) -> list[Line]:
    return [json.loads(line) for path in paths for line in Path(path).read_text().splitlines() if line.strip()]


def interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and 95% t interval; infinite for fewer than two."""
    mean = st.mean(values)
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = st.t_quantile(0.975, len(values) - 1) * math.sqrt(st.variance(values) / len(values))
    return mean, mean - half, mean + half


def floors(lines: list[Line], metric: str) -> list[str]:
    out = [
        "| track | source | machine, driver | n | mean | sigma | SM clock, MHz | tokens, 1e6 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str], list[Line]] = defaultdict(list)
    for line in lines:
        if line["variant"] == "seed":
            groups[line["track"], line["source"]].append(line)
    for (track, source), rows in sorted(groups.items()):
        values = [row["metrics"][metric] for row in rows]
        gpus = rows[0]["machine"]["gpus"]
        name = f"{gpus[0]['name']}, {gpus[0]['driver']}" if gpus else rows[0]["machine"]["cpu"]
        clocks = sorted(row["facts"]["gpu"].get("sm_mhz", math.nan) for row in rows)
        tokens = st.mean([row["metrics"]["tokens_m"] for row in rows])
        note = "" if len(rows) >= noise.FEWEST else f" (of {noise.FEWEST} needed)"
        out.append(
            f"| {track} | {source[:8]} | {name} | {len(rows)}{note} | {st.mean(values):.5f} | "
            f"{math.sqrt(st.variance(values)):.5f} | {clocks[0]:.0f}-{clocks[-1]:.0f} | {tokens:.1f} |"
        )
    return out


def changes(lines: list[Line], metric: str, held: str) -> list[str]:
    """Gains over the seed's run of the same block, with intervals, the holdout beside."""
    seeds = {(row["track"], row["block"]): row for row in lines if row["variant"] == "seed"}
    pairs: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for row in lines:
        base = seeds.get((row["track"], row["block"]))
        if row["variant"] != "seed" and base is not None:
            gain = [base["metrics"][name] - row["metrics"][name] for name in (metric, held)]
            pairs[row["track"], row["variant"]].append((gain[0], gain[1]))
    out = [
        f"| track | change | pairs | gain in {metric} [95%] | gain in {held} [95%] | holdout |",
        "|---|---|---|---|---|---|",
    ]
    for (track, variant), found in sorted(pairs.items()):
        ours, theirs = [a for a, _ in found], [b for _, b in found]
        shown = " | ".join("{:+.5f} [{:+.5f}, {:+.5f}]".format(*interval(values)) for values in (ours, theirs))
        agreed = noise.agreement(ours, theirs).outcome.value
        out.append(f"| {track} | {variant} | {len(found)} | {shown} | {agreed} |")
    return out


def around(lines: list[Line]) -> list[str]:
    """Wall time of cold and warm runs, and of the scoring in them."""
    out = ["| track | | runs | whole, s | before the clock, s | scoring, s |", "|---|---|---|---|---|---|"]
    for track in sorted({line["track"] for line in lines}):
        for cold in (True, False):
            rows = [line for line in lines if line["track"] == track and line["cold"] is cold]
            if rows:
                parts = [
                    [row["wall"] for row in rows],
                    *([row["facts"][k] for row in rows] for k in ("ready", "scoring")),
                ]
                shown = " | ".join(f"{min(p):.1f}-{max(p):.1f}" for p in parts)
                out.append(f"| {track} | {'cold' if cold else 'warm'} | {len(rows)} | {shown} |")
    return out


def target(lines: list[Line]) -> list[str]:
    """The speedrun's target from the baseline's runs: its mean plus 2.5 sigma, so that five runs of it pass."""
    losses = [row["metrics"]["val_loss"] for row in lines if row["variant"] == "seed"]
    if len(losses) < 2:
        return []
    sigma = math.sqrt(st.variance(losses))
    wanted = st.mean(losses) + 2.5 * sigma
    out = [
        f"Target of `mini` from {len(losses)} runs of the baseline: {wanted:.4f} (mean + 2.5 sigma; sigma {sigma:.5f}).",
        "",
    ]
    for variant in sorted({row["variant"] for row in lines}):
        runs = [row["metrics"]["val_loss"] for row in lines if row["variant"] == variant]
        out.append(f"- {variant}: {speedrun.check_entry(runs, wanted)[1]}")
    return out


def main(paths: list[str]) -> None:
    lines = [line for line in read(paths) if line["failure"] is None]
    parts = [("nanochat", "val_bpb", "holdout_bpb"), ("speedrun", "val_loss", "holdout_loss")]
    for task, metric, held in parts:
        rows = [line for line in lines if line["track"].startswith(task)]
        if rows:
            more = target(rows) if task == "speedrun" else []
            timed = changes(rows, "seconds", metric) if task == "speedrun" else changes(rows, metric, held)
            print("\n".join([f"## {task}", "", *floors(rows, metric), "", *timed, "", *around(rows), "", *more, ""]))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Error rate and saving of the early-stopping rule on `cpu` curves: `python benchmarks/training/early_stopping.py RAW.jsonl`.

Parents are the seed with changed settings; children change a parent once to three times more. Each is trained on the
track's tokens (in this process: it is our own program) and scored on its validation rows. The rule is fitted on the
children of some parents and tested on those of others. Appends to RAW until --seconds are over; run it again to go on,
with --seconds 0 for the verdict alone.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tasks" / "nanochat_autoresearch" / "seed"))

from evolve.evaluators.training import curves, data, tracks
from evolve.tasks import statistics as st

TRACK = tracks.TRACKS["nanochat/cpu"]
PARENTS, CHILDREN, FITTED = 32, 15, 11
"""Parents, children of each, and how many parents' children fit the rule; the others test it."""

LOOKS, WINDOW, SLACKS = (0.2, 0.4, 0.6, 0.8), 0.1, (0.25, 0.5, 0.75, 1.0)


class _Feed:
    def __init__(self, config: dict[str, Any], rows: Any) -> None:
        self.config, self._rows, self._at, self.served = config, rows, 0, 0

    def next(self, rows: int) -> Any:
        import torch

        if self.served + rows * TRACK.sequence > (TRACK.tokens or 0):
            return None
        batch = self._rows[np.arange(self._at, self._at + rows) % len(self._rows)].astype(np.int64)
        self._at, self.served = self._at + rows, self.served + rows * TRACK.sequence
        whole = torch.from_numpy(batch)
        return whole[:, :-1].contiguous(), whole[:, 1:].contiguous()


class _Budget:
    def __init__(self, feed: _Feed) -> None:
        self.feed, self.curve = feed, []

    def progress(self) -> float:
        return self.feed.served / (TRACK.tokens or 1)

    def done(self) -> bool:
        return self.progress() >= 1.0

    def log(self, loss: float) -> None:
        self.curve.append((round(self.progress(), 4), round(loss, 5)))


def mutate(setting: Any, draw: random.Random, most: int) -> Any:
    """One to `most` changes: a rate by a log-normal factor, or a shape."""
    for _ in range(draw.randint(1, most)):
        kind = draw.choice(["matrix_rate", "embedding_rate", "head_rate", "scalar_rate", "warmdown", "rows", "depth", "width",
                            "softcap", "windows", "weight_decay"])  # fmt: skip
        if kind.endswith("_rate"):
            setting = replace(setting, **{kind: getattr(setting, kind) * math.exp(draw.gauss(0, 0.7))})
        elif kind == "warmdown":
            setting = replace(setting, warmdown=draw.uniform(0.1, 1.0))
        elif kind == "weight_decay":
            setting = replace(setting, weight_decay=draw.choice([0.0, 0.1, 1.0]))
        else:
            choices = {"rows": [4, 8, 16], "depth": [1, 2, 3], "width": [48, 64, 96], "softcap": [8.0, 15.0, 30.0],
                       "windows": ["L", "SL", "S"]}  # fmt: skip
            setting = replace(setting, **{kind: draw.choice(choices[kind])})
    return setting


def train(setting: Any, seed: int, found: data.Dataset) -> dict[str, Any]:
    import torch
    import train as program

    torch.manual_seed(seed)
    config = tracks.config(TRACK, seed)
    program.SETTINGS["cpu"] = setting
    feed = _Feed(config, found.train)
    budget = _Budget(feed)
    began = time.monotonic()
    try:
        model = program.train(feed, budget)
        value = _bpb(model, found)
    except FloatingPointError:
        value = math.inf
    value = value if math.isfinite(value) else 99.0
    return {"setting": asdict(setting), "seed": seed, "curve": budget.curve, "bpb": value,
            "seconds": round(time.monotonic() - began, 2)}  # fmt: skip


def _bpb(model: Any, found: data.Dataset) -> float:
    import torch
    import torch.nn.functional as F

    rows = torch.from_numpy(found.validation.astype(np.int64))
    with torch.no_grad():
        nats = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten(), reduction="none").numpy()
    counts = found.token_bytes[found.validation[:, 1:]].ravel()
    return float(nats[counts > 0].sum() / (math.log(2) * counts.sum()))


def plan() -> list[tuple[int, int, Any]]:
    """(parent, child, setting); child -1 is the parent itself. The same list each time."""
    import train as program

    base = program.SETTINGS["cpu"]
    out = []
    for parent in range(PARENTS):
        draw = random.Random(f"parent {parent}")
        setting = mutate(base, draw, 2) if parent else base
        out.append((parent, -1, setting))
        out += [(parent, child, mutate(setting, draw, 3)) for child in range(CHILDREN)]
    return out


def gather(path: Path, seconds: float) -> list[dict[str, Any]]:
    import torch

    torch.set_num_threads(1)
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    have = {(line["parent"], line["child"]) for line in lines}
    found = data.load(TRACK)
    began = time.monotonic()
    for parent, child, setting in plan():
        if (parent, child) in have:
            continue
        if time.monotonic() - began > seconds:
            break
        line = {"parent": parent, "child": child, **train(setting, 1000 * parent + child + 1, found)}
        lines.append(line)
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    return lines


def pairs(lines: list[dict[str, Any]], parents: Iterable[int]) -> list[tuple[Any, Any, bool]]:
    """(curve, its parent's, ended better) of the children of some parents."""
    wanted = set(parents)
    own = {line["parent"]: line for line in lines if line["child"] < 0}
    return [
        (line["curve"], own[line["parent"]]["curve"], line["bpb"] < own[line["parent"]]["bpb"])
        for line in lines
        if line["child"] >= 0 and line["parent"] in wanted and line["parent"] in own
    ]


def fitted(lines: list[dict[str, Any]]) -> tuple[curves.Rule, float]:
    """The rule and its slack from the first parents' children: the least slack with which, fitted without one parent's
    children, no better-ending one of those would have been stopped, for every parent."""
    parents = range(FITTED)
    slack = SLACKS[-1]
    for wanted in SLACKS:
        wrong = 0
        for left_out in parents:
            rule = curves.fit(pairs(lines, set(parents) - {left_out}), LOOKS, WINDOW, wanted)
            wrong += sum(good and rule.stops(c, p) is not None for c, p, good in pairs(lines, [left_out]))
        if not wrong:
            slack = wanted
            break
    return curves.fit(pairs(lines, parents), LOOKS, WINDOW, slack), slack


def verdict(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """Fit on the first parents' children, test on those of the others."""
    rule, slack = fitted(lines)
    stopped = [(rule.stops(c, p), better) for c, p, better in pairs(lines, range(FITTED, PARENTS))]
    better = [share for share, good in stopped if good]
    worse = [share for share, good in stopped if not good]
    wrong = sum(share is not None for share in better)
    saved = sum(1 - share for share, _ in stopped if share is not None)
    rightly = sum(1 - share for share in worse if share is not None)
    could = sum(1 - LOOKS[0] for share in worse)
    return {
        "fitted_on": len(pairs(lines, range(FITTED))), "slack": slack,
        "looks": {str(k): round(v, 4) for k, v in rule.looks.items()}, "tested_on": len(stopped), "better": len(better),
        "better_stopped": wrong,
        "better_stopped_upper_95": round(st.clopper_pearson_upper(wrong, len(better)), 4) if better else None,
        "worse_stopped": sum(share is not None for share in worse), "worse": len(worse),
        "time_saved": round(saved / len(stopped), 4) if stopped else None,
        "time_saved_of_worse": round(rightly / len(worse), 4) if worse else None,
        "most_that_could_be_saved": round(could / len(stopped), 4) if stopped else None,
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raw", type=Path)
    parser.add_argument("--seconds", type=float, default=200.0)
    options = parser.parse_args()
    lines = gather(options.raw, options.seconds)
    print(json.dumps(verdict(lines), indent=1))


if __name__ == "__main__":
    main()

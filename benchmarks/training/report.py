"""Writes docs/results/training.md from the raw JSON lines in benchmarks/training/raw. tests/training/test_results.py holds it.

    python benchmarks/training/report.py [--check]      --check: exit 1 where the page is not what the raw lines give

Put the lines that benchmarks/gpu/training_*.py brought back into raw/ and run this. What has no lines is shown as not run.
"""

from __future__ import annotations

import json
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

import early_stopping  # noqa: E402

from evolve.evaluators.training import curves, noise, speedrun  # noqa: E402
from evolve.tasks import statistics as st  # noqa: E402
from evolve.tasks.verdict import promote  # noqa: E402

PAGE = ROOT / "docs/results/training.md"

Line = dict[str, Any]

LOSSES = {"30s": ("val_bpb", "holdout_bpb"), "cpu": ("val_bpb", "holdout_bpb"), "mini": ("val_loss", "holdout_loss"),
          "cpu-speedrun": ("val_loss", "holdout_loss")}  # fmt: skip
FIRST_SEED = "6d1d0bde3cd13309"
"""The seed of parity runs whose lines do not name it."""

CONFIRM = 5
"""Pairs of a change at least."""

TARGET_SIGMAS = 2.5
"""The speedrun's target lies this many standard deviations over the baseline's mean, so that five runs of it pass."""


def rows(*names: str) -> list[Line]:
    paths = [HERE / "raw" / f"{name}.jsonl" for name in names]
    return [
        json.loads(line) for path in paths if path.is_file() for line in path.read_text().splitlines() if line.strip()
    ]


def good(lines: Iterable[Line], *kinds: str) -> list[Line]:
    return [line for line in lines if line["failure"] is None and line.get("kind") in kinds]


def table(head: Sequence[str], body: Iterable[Sequence[str]]) -> str:
    found = list(body)
    return "\n".join("| " + " | ".join(row) + " |" for row in ([*head], ["---"] * len(head), *map(list, found)))


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and 95% t interval; infinite for fewer than two."""
    mean = st.mean(values)
    if len(values) < 2:
        return mean, -math.inf, math.inf
    half = st.t_quantile(0.975, len(values) - 1) * math.sqrt(st.variance(values) / len(values))
    return mean, mean - half, mean + half


def span(values: Sequence[float], digits: int = 1) -> str:
    return f"{min(values):.{digits}f}-{max(values):.{digits}f}"


def where(lines: Sequence[Line]) -> str:
    """Machine, libraries and date of some lines."""
    if not lines:
        return "nowhere"
    machine, versions = lines[0]["machine"], lines[0]["versions"]
    cards = machine["gpus"]
    name = f"{cards[0]['name']}, driver {cards[0]['driver']}" if cards else f"{machine['cpu']}, no GPU"
    days = sorted({datetime.fromtimestamp(line["time"], UTC).date().isoformat() for line in lines})
    return f"{name}, torch {versions['torch']}, {' and '.join(days)}"


# ---- sections --------------------------------------------------------------------------------------------------------


def around(lines: list[Line]) -> str:
    """Time around the training of `30s`, by what the compile cache held and by the evaluator's age."""
    ages = {"whole model compiled, scorers one after the other": [{**line, "cache": "none" if line["cold"] else "own"} for line in lines if "kind" not in line],
            "block by block, scorers one after the other": [line for line in good(lines, "30s") if "logits" not in line["facts"]],
            "block by block, second scorer started meanwhile": [line for line in good(lines, "30s") if "logits" in line["facts"]]}  # fmt: skip
    names = {
        "none": ("nothing compiled", "75"),
        "seed's": ("changed model over the seed's cache", "75"),
        "own": ("warm", "42"),
    }
    body = []
    for age, those in ages.items():
        for cache, (name, goal) in names.items():
            found = [line for line in those if line["cache"] == cache]
            if found:
                ready, training, scoring = (
                    [line["facts"][key] for line in found] for key in ("ready", "seconds", "scoring")
                )
                wall = [line["wall"] for line in found]
                body.append(
                    [
                        age,
                        name,
                        str(len(found)),
                        f"{st.mean(wall):.1f} ({span(wall)})",
                        goal,
                        span(ready),
                        span(training),
                        span(scoring),
                    ]
                )
    head = [
        "evaluator",
        "start",
        "runs",
        "in all, s: mean (from-to)",
        "goal",
        "before the clock",
        "training",
        "scoring (goal 10)",
    ]
    return table(head, body)


def floors(lines: list[Line]) -> str:
    body = []
    for kind, (metric, held) in LOSSES.items():
        groups: dict[str, list[Line]] = defaultdict(list)
        for line in good(lines, kind):
            if line["variant"] == "seed":
                groups[line["source"]].append(line)
        for found in groups.values():
            values, hidden = ([line["metrics"][name] for line in found] for name in (metric, held))
            clocks = [line["facts"]["gpu"]["sm_mhz"] for line in found if "sm_mhz" in line["facts"]["gpu"]]
            few = "" if len(found) >= noise.FEWEST else f" (of {noise.FEWEST})"
            seconds = [line["metrics"]["seconds"] for line in found]
            body.append([kind, found[0]["source"][:6], f"{len(found)}{few}", str(len({line["card"] for line in found})), f"{st.mean(values):.5f}",
                         _shown(values), _shown(hidden), f"{st.mean(seconds):.3f} / {_shown(seconds, 3)}",
                         span(clocks, 0) if clocks else ""])  # fmt: skip
    head = [
        "track",
        "seed",
        "runs",
        "cards",
        "mean",
        "sigma",
        "sigma, holdout",
        "seconds, mean / sigma",
        "SM clock, MHz",
    ]
    return table(head, body)


def _shown(values: Sequence[float], digits: int = 5) -> str:
    return f"{_sigma(values):.{digits}f}" if len(values) > 1 else "-"


def _sigma(values: Sequence[float]) -> float:
    return math.sqrt(st.variance(values)) if len(values) > 1 else math.nan


def pairs(lines: list[Line], kind: str) -> dict[tuple[str, str], list[tuple[Line, Line]]]:
    """(digest of the seed, variant) -> (its run, the seed's run) of the same block on the same card. Where a block was run
    again with a newer seed, the run that is nearest in time is the one of the same sitting."""
    found = good(lines, kind)
    seeds: dict[tuple[int, str], list[Line]] = defaultdict(list)
    for line in found:
        if line["variant"] == "seed":
            seeds[line["block"], line["card"]].append(line)
    out: dict[tuple[str, str], list[tuple[Line, Line]]] = defaultdict(list)
    for line in sorted(found, key=lambda line: line["block"]):
        near = seeds.get((line["block"], line["card"]))
        if near and line["variant"] != "seed":
            base = min(near, key=lambda seed: abs(seed["time"] - line["time"]))
            out[base["source"], line["variant"]].append((line, base))
    return dict(sorted(out.items()))


def changes(lines: list[Line], kind: str) -> str:
    """Gains over the seed's run of the same block, with intervals, the holdout beside, and what the champion gate says."""
    metric, held = LOSSES[kind]
    body = []
    tries: dict[str, int] = defaultdict(int)
    for (source, variant), found in pairs(lines, kind).items():
        tries[source] += 1
        floor = [line["metrics"][metric] for line in good(lines, kind) if line["source"] == source]
        ours, theirs = (
            [base["metrics"][name] - new["metrics"][name] for new, base in found] for name in (metric, held)
        )
        shown = ["{:+.5f} [{:+.5f}, {:+.5f}]".format(*interval(values)) for values in (ours, theirs)]
        decided = "too few runs for a decision"
        if len(floor) >= noise.FEWEST and len(found) >= CONFIRM:
            decision = promote(ours, _sigma(floor), len(floor) - 1, tries[source], CONFIRM)
            decided = f"{decision.decision.value}"
        agreed = noise.agreement(ours, theirs).outcome.value
        tokens = st.mean([new["metrics"]["tokens_m"] / base["metrics"]["tokens_m"] - 1 for new, base in found])
        body.append([source[:6], variant, str(len(found)), *shown, agreed, decided, f"{tokens:+.1%}"])
    head = [
        "seed",
        "change",
        "pairs",
        f"gain in {metric} [95%]",
        f"gain in {held} [95%]",
        "holdout check",
        "gate",
        "tokens",
    ]
    return table(head, body)


def mini(lines: list[Line]) -> str:
    """The speedrun's rule on each change: loss against the target, and time saved in alternating pairs."""
    seeds = [line["metrics"]["val_loss"] for line in good(lines, "mini") if line["variant"] == "seed"]
    if len(seeds) < 2:
        return "Too few runs of the baseline for a target."
    wanted = round(st.mean(seeds) + TARGET_SIGMAS * _sigma(seeds), 4)
    enough = "" if len(seeds) >= noise.FEWEST else f" (of {noise.FEWEST} needed)"
    out = [
        f"Target from {len(seeds)} runs of the baseline{enough}: **{wanted:.4f}** nats a token "
        f"(mean {st.mean(seeds):.5f} + {TARGET_SIGMAS} sigma; sigma {_sigma(seeds):.5f}), on the rows of `30s` cut in two. A change counts when "
        f"its mean loss is below it at p < {speedrun.LEVEL:g} and the interval of the seconds saved is above zero.",
        "",
    ]
    body = []
    for (_, variant), found in pairs(lines, "mini").items():
        losses = [new["metrics"]["val_loss"] for new, _ in found]
        rule = speedrun.significance(losses, wanted)
        saved = speedrun.time_gain(
            [new["metrics"]["seconds"] for new, _ in found], [base["metrics"]["seconds"] for _, base in found]
        )
        percent = 100 * saved[0] / st.mean([base["metrics"]["seconds"] for _, base in found])
        if len(found) < CONFIRM:
            body.append(
                [
                    variant,
                    str(len(found)),
                    f"{rule.mean:.5f}",
                    "",
                    "",
                    f"{saved[0]:+.3f}",
                    f"{percent:+.1f}%",
                    "too few pairs",
                ]
            )
            continue
        counts = rule.passes and saved[1] > 0
        verdict = (
            "counts" if counts else "refused: " + ("the loss" if not rule.passes else "not faster beyond the noise")
        )
        body.append([variant, str(len(found)), f"{rule.mean:.5f}", f"{rule.needs:.5f}", f"{rule.p:.2g}",
                     "{:+.3f} [{:+.3f}, {:+.3f}]".format(*saved), f"{percent:+.1f}%", verdict])  # fmt: skip
    head = [
        "change",
        "pairs",
        "mean loss",
        "must be at most",
        "p",
        "seconds saved [95%]",
        "of the baseline's",
        "verdict",
    ]
    return "\n".join(out) + "\n" + table(head, body)


def parity(lines: list[Line]) -> str:
    groups: dict[tuple[str, int], list[Line]] = defaultdict(list)
    for line in lines:
        if line["failure"] is None:
            groups[line.get("source", FIRST_SEED), line["steps"]].append(line)
    body = []
    for (source, steps), those in groups.items():
        found = {(line["trainer"], line["block"]): line for line in those}
        blocks = sorted(block for name, block in found if name == "ours" and ("upstream", block) in found)
        for key, name, goal, scale in (
            ("bpb", "bits per byte", "inside 2%", 1.0),
            ("rate", "tokens a second, 1e6", "at least -2%", 1e-6),
        ):
            ours, theirs = ([scale * found[who, b][key] for b in blocks] for who in ("ours", "upstream"))
            if len(blocks) > 1:
                shown = "{:+.2f}% [{:+.2f}, {:+.2f}]".format(
                    *interval([100 * (a / b - 1) for a, b in zip(ours, theirs, strict=True)])
                )
                body.append([source[:6], str(steps), str(len(blocks)), name, f"{st.mean(ours):.4f} ({span(ours, 4)})",
                             f"{st.mean(theirs):.4f} ({span(theirs, 4)})", shown, goal])  # fmt: skip
    first = lines[0]
    text = (
        f"The same rows in the same order, {first['rows']} rows of 2,048 tokens a step, full causal attention through the same kernel, compilation "
        f"outside the clock, scored by the same code; upstream's file by sha256 {first['upstream'][:16]}, its constants but the batch its own."
    )
    return f"{text}\n\n" + table(
        ["seed", "steps", "pairs", "", "ours (from-to)", "upstream (from-to)", "difference [95%]", "goal"], body
    )


def sweep(lines: list[Line]) -> str:
    """Single runs of the nanochat seed with other numbers, on parity's rows; no claim."""
    body = [
        [
            line["trainer"],
            str(line["fields"]) if line["fields"] else "",
            str(line["steps"]),
            str(line["block"]),
            f"{line['bpb']:.4f}",
            f"{line['rate'] / 1e6:.4f}",
        ]
        for line in lines
        if line["failure"] is None
    ]
    return table(["", "changed", "steps", "seed", "bits per byte", "tokens a second, 1e6"], body)


def ranks(lines: list[Line]) -> str:
    found = [line for kind in ("1gpu", "2gpu") for line in good(lines, kind)]
    if not found:
        return "**Not run.**"
    names = ("val_loss", "holdout_loss")
    body = [
        [
            line["kind"],
            str(line["facts"]["tokens"]),
            *(f"{line['metrics'][name]:.5f}" for name in names),
            f"{line['metrics']['seconds']:.2f}",
        ]
        for line in found
    ]
    return table(["", "tokens", *names, "seconds"], body)


def probes(lines: list[Line]) -> str:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    failed: dict[str, int] = defaultdict(int)
    for line in lines:
        for name, (outcome, _) in line.get("checks", {}).items():
            counts[name, outcome] += 1
        if line["failure"] is not None:
            failed[line["failure"][:100]] += 1
    ways = sorted(
        {line["facts"]["logits"] for line in lines if "logits" in line.get("facts", {}) and line["machine"]["gpus"]}
    )
    out = [f"logits on a GPU came by: {', '.join(ways)}"] if ways else []
    out += [f"{name}: {n} {outcome}" for (name, outcome), n in sorted(counts.items())]
    out += [f"failed: {n} times {text}" for text, n in sorted(failed.items())]
    return "\n".join(f"- {row}" for row in out)


def stopping(lines: list[Line]) -> str:
    found = early_stopping.verdict(lines)
    looks = ", ".join(f"{share}: {margin}" for share, margin in found["looks"].items())
    return (
        f"Fitted on {found['fitted_on']} curves (slack {found['slack']}; margins in nats {looks}), tested on {found['tested_on']} others "
        f"with other parents. Of those {found['better']} ended better than their parent: **{found['better_stopped']} stopped** (at most "
        f"{found['better_stopped_upper_95']:.1%} at 95%, exact). Of the {found['worse']} that ended worse {found['worse_stopped']} were stopped. "
        f"Training time saved: {found['time_saved']:.1%} of all, {found['time_saved_of_worse']:.1%} of that of the runs that ended worse (goal: "
        f"half); stopping each of those at the first look would have saved {found['most_that_could_be_saved']:.1%} of all."
    )


def stopping_30s(lines: list[Line]) -> str:
    """What the rule would have done to the curves of `30s`; no claim."""
    body = []
    for (source, variant), found in pairs(lines, "30s").items():
        verdicts = [curves.RULE.stops(new["facts"]["curve"], base["facts"]["curve"]) for new, base in found]
        better = sum(new["metrics"]["val_bpb"] < base["metrics"]["val_bpb"] for new, base in found)
        body.append([source[:6], variant, str(len(found)), str(better), str(sum(v is not None for v in verdicts))])
    return table(["seed", "change", "runs", "ended better than the seed", "would have been stopped"], body)


SECTIONS: tuple[tuple[str, tuple[str, ...], Callable[[list[Line]], str]], ...] = (
    ("Time around the training, `30s`", ("h100_smoke", "h100_runs"), around),
    ("Noise floors", ("h100_runs", "cpu_runs"), floors),
    ("Changes on `30s`", ("h100_runs",), lambda lines: changes(lines, "30s")),
    ("Changes on `cpu`", ("cpu_runs",), lambda lines: changes(lines, "cpu")),
    ("Speedrun `mini`: target and changes", ("h100_runs",), mini),
    ("Two GPUs through NCCL", ("h100_runs",), ranks),
    ("Parity with upstream's trainer", ("parity",), parity),
    ("The newer seed on parity's rows: single runs, no claim", ("sweep",), sweep),
    ("Early stopping, `cpu` curves", ("early_stopping",), stopping),
    ("Early stopping, `30s` curves (no claim)", ("h100_runs",), stopping_30s),
    ("Probes and failures", ("h100_runs", "cpu_runs"), probes),
)
"""Heading, files of raw lines, what makes the text."""


ELSEWHERE = {
    "early_stopping": "small models on a CPU, the seed `6d1d0b` with changed settings",
    "sweep": "one NVIDIA H100, the seed `6549fa`",
}
"""Where lines come from that do not say it."""


def page() -> str:
    parts = [
        "# Training tasks: results",
        "Made by `python benchmarks/training/report.py` from the raw JSON lines in `benchmarks/training/raw/`; a test holds them together. "
        "A gain is the seed's value minus the change's on the same card, seed and block; tracks are never compared with each other. "
        "A seed is named by the first digits of its source's sha256: `6d1d0b` is the nanochat seed before it took over more of upstream's recipe.",
    ]
    for title, names, make in SECTIONS:
        found = rows(*names)
        source = " and ".join(f"`{name}.jsonl`" for name in names if rows(name)) or f"`{names[0]}.jsonl`"
        parts.append(f"## {title}")
        if not found:
            parts.append(f"{source}: **not run**.")
            continue
        place = where([line for line in found if "machine" in line]) if "machine" in found[0] else ELSEWHERE[names[0]]
        parts += [f"{source}: {place}.", make(found)]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    text = page()
    if "--check" in sys.argv:
        return 0 if PAGE.read_text(encoding="utf-8") == text else 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

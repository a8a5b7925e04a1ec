"""The spine's recorded figures as a page: `python benchmarks/figures.py > docs/results/figures.md`.

Reads nothing but the JSON that the benchmarks left; what is not on record has no row. A test holds page and JSON together.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.tasks import keyless

HERE = Path(__file__).resolve().parent

HEAD = """# Recorded figures

Made by `python benchmarks/figures.py` from the raw JSON in `benchmarks/`; do not edit. Each section names the script that
measures it again. Load is the machine's one-minute load average while it was measured; a load above the number of cores
means that others used them too.
"""


def read(name: str) -> Any:
    """The record of that name below `benchmarks/`, or None."""
    path = HERE / name
    return json.loads(path.read_text()) if path.exists() else None


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"


def growth(run: dict[str, Any], what: str) -> float:
    """Median of the last tenth's windows over that of the first tenth's."""
    values = [window[what] for window in run["windows"]]
    size = len(values) // 10
    return statistics.median(values[-size:]) / statistics.median(values[:size])


def overhead() -> Iterator[str]:
    runs = [
        (name, record)
        for name in (*sorted(f"overhead/results/{p.name}" for p in (HERE / "overhead/results").glob("no-op*.json")), "overhead/results/latency.json")
        if (record := read(name)) is not None
    ]
    if not runs:
        return
    yield "\n## Overhead (`benchmarks/overhead/overhead.py`)\n"
    yield (
        "In-process evaluator that answers at once, scripted mutator, durable archive, default selector, duplicate check on. "
        "Growth: medians of windows of 1,000, first tenth of the run against its last; spread: the largest of the tenths' "
        "medians over the smallest; the machine's: the same of the CPU time that a fixed piece of work took beside each window. All "
        "runs of this length are shown.\n"
    )
    yield from table(
        ("candidates", "model latency", "in flight", "candidates/s", "CPU ms each", "growth: rate, CPU", "spread: rate, CPU",
         "the machine's", "PSS", "disk each", "load"),
        [
            (
                f"{run['candidates']:,}", f"{run['latency']:g} s x {run['proposals']} slots" if run["latency"] else "none",
                str(run["in_flight"]), f"{run['per_second']:.2f}", f"{run['cpu_ms_per_candidate']:.2f}",
                f"{1 / growth(run, 'per_second'):.2f}, {growth(run, 'cpu_ms'):.2f}" if "flatness" in run else "",
                f"{run['flatness']:.2f}, {run['cpu_flatness']:.2f}" if "flatness" in run else "",
                f"{run['reference_flatness']:.2f}" if "reference_flatness" in run else "not measured" if "flatness" in run else "",
                f"{run['pss_mib']:.0f} MiB", f"{run['disk_bytes_per_candidate']['after_maintenance'] / 1e3:.1f} kB",
                " to ".join(f"{load:g}" for load in run.get("load", [])),
            )
            for _, run in runs
        ],
    )  # fmt: skip
    yield from flat()
    for name, run in runs:
        if run["latency"]:
            ideal = run["proposals"] / run["latency"]
            yield f"\nWith a model that takes {run['latency']:g} s: {run['per_second'] / ideal:.1%} of the ideal {ideal:g}/s."
        elif name == "overhead/results/no-op.json":
            opening = run["opening_seconds"]
            yield (
                f"\nOpening the archive of {run['candidates']:,}: {opening['warm_again']:.2f} s warm, "
                f"{opening['cache_deleted']:.2f} s with everything disposable deleted (interpreter start not counted)."
            )
            if again := run.get("opening_at_tip"):
                values = [value for row in again for value in row.values()]
                yield (
                    f"\nThat run's checkpoint was overtaken by maintenance that had begun before its end; mended since. Opened "
                    f"again with the checkpoint at the end, {len(values)} times: {min(values):.2f} to {max(values):.2f} s."
                )


def kills() -> Iterator[str]:
    writer, runs = read("archive/results/crash.json"), read("resume/results.json")
    if writer:
        yield "\n## Kills and power cuts (`benchmarks/archive/crash.py`, `benchmarks/resume/kills.py`)\n"
        yield (
            f"A writer under load killed at a uniform time: {writer['kills']} kills, {writer['acknowledged']:,} acknowledged "
            f"events, {writer['lost']} lost."
        )
        yield ""
        yield from table(
            ("power cuts of a writer", "cuts", "something acknowledged gone, or damage"),
            [(", ".join(cut["options"]), str(cut["cuts"]), str(cut["wrong"])) for cut in writer["cuts"]],
        )
        yield "\n`durable=no` and `order=ref-first` are broken on purpose: the test must see it."
    if runs:
        yield (
            f"\nWhole runs killed and started again with the same command: {runs['kills']} kills over {runs['runs']} runs, "
            f"{runs['kills_before_the_first_verdict']} of them before a first verdict; {runs['verdicts']:,} verdicts, "
            f"{runs['lost']} lost, {runs['measured_twice']} jobs measured twice; load {runs['load'][0]:g} to {runs['load'][1]:g}."
        )


def champion() -> Iterator[str]:
    rows = read("champion/results.json")
    if rows:
        yield "\n## The champion rule (`benchmarks/champion/null_runs.py`)\n"
        yield from table(
            ("all-null runs", "candidates each", "calibration runs", "confirm", "false champions", "upper 95%", "3 sigma promoted"),
            [
                (
                    f"{row['runs']:,}", str(row["candidates"]), str(row["calibration_runs"]), str(row["confirm"]),
                    f"{row['false_champion_rate']:.1%}", f"{row['false_champion_upper95']:.1%}",
                    f"{row['planted_3_sigma_promoted']:.1%}",
                )
                for row in rows
            ],
        )  # fmt: skip


def flat() -> Iterator[str]:
    """Sizes that take turns, so that the machine's own speed drops out."""
    record = read("overhead/results/flat.json")
    if record is None:
        return
    small, rounds = str(record["sizes"][0]), record["rounds"]
    yield (
        f"\nThe windows of one run lie minutes apart on a machine whose speed changes. Sizes that take turns (`benchmarks/overhead/flat.py`, "
        f"{len(rounds)} rounds of 1,000 more candidates each, load {record['load'][0]:g} to {record['load'][1]:g}), against an archive of "
        f"{int(small):,}, medians and quartiles of the ratios within rounds:\n"
    )
    lines = []
    for size in map(str, record["sizes"][1:]):
        slower = sorted(row[small]["per_second"] / row[size]["per_second"] for row in rounds)
        dearer = sorted(row[size]["cpu_ms"] / row[small]["cpu_ms"] for row in rounds)
        shown = [f"{a:.2f} ({b:.2f} .. {c:.2f})" for b, a, c in (statistics.quantiles(v, n=4) for v in (slower, dearer))]
        lines.append((f"{int(size):,}", *shown))
    yield from table(("candidates in the archive", "slower by a factor of", "CPU by a factor of"), lines)


def search() -> Iterator[str]:
    rows = keyless.read(HERE / "tasks" / "keyless.jsonl")
    if not rows:
        return
    yield "\n## The key-less search (`benchmarks/tasks/keyless.py`)\n"
    yield (
        "Whole searches with the syntactic mutator and the live random search beside it, at equal evaluations; circle_packing "
        "for two minutes with two workers, the others for a fixed number of evaluations. The search's value is its champion's "
        "(measured afresh where the task is noisy), a control's its best single measurement. The greedy control always edits the "
        "best so far with the same key-less edits, without tuner, at the same number of evaluations. Bounds: one-sided 95% lower "
        "bound of the mean advantage over the seeds, in the metric's unit.\n"
    )
    lines = []
    for row in keyless.summary(rows):
        sign = -1 if row["goal"] == "min" else 1
        mine = [r for r in rows if r["task"] == row["task"]]
        origin = statistics.median(sign * r["origin"] for r in mine)
        control = statistics.median(sign * r["control"] for r in mine)
        climbs = [sign * r["greedy"] for r in mine if r.get("greedy") is not None]
        beside = f"{statistics.median(climbs):.3f}, {row['wins_over_greedy']}/{row['with_greedy']}, {row['bound_over_greedy']:.3f}" if climbs else "not run"
        lines.append(
            (
                row["task"], f"{row['metric']} ({row['goal']})", str(row["runs"]), f"{row['evaluations']:,g}", f"{origin:.3f}",
                f"{control:.3f}", f"{sign * row['best_min']:.3f}", f"{sign * row['best_median']:.3f}",
                f"{row['wins_over_control']}/{row['runs']}", f"{row['bound_over_seed']:.3f}", f"{row['bound_over_control']:.3f}",
                beside, f"{row['load']:.0f}",
            )
        )  # fmt: skip
    head = ("task", "metric", "seeds", "evaluations (median)", "seed program", "random search (median)", "worst", "median",
            "ahead of random search", "bound over seed", "bound over random search",
            "greedy control: median, ahead of it, bound", "load, most")  # fmt: skip
    yield from table(head, lines)


def page() -> str:
    parts = [line for section in (overhead, search, kills, champion) for line in section()]
    return HEAD + "\n".join(parts) + "\n"


if __name__ == "__main__":
    sys.stdout.write(page())

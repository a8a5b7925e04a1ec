"""The tables of docs/search.md, 'Proof', from the committed rows in results/.

python benchmarks/search/tables.py                          # prints them
python benchmarks/search/tables.py --write docs/search.md   # puts each between its markers
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import beside  # noqa: E402
import grown  # noqa: E402
import measures  # noqa: E402
import surrogate  # noqa: E402

sys.path.insert(0, str(HERE.parent / "tasks"))

import parts  # noqa: E402

PRICE = (1.0, 4.0)
"""US dollars a million tokens in and out, for all tools alike."""

KNOWN = {
    "heilbronn_triangle": 0.0365, "erdos_overlap": 1.0, "autocorrelation": 1.0, "low_autocorrelation_64": 9.85,
    "bin_packing_fixed": 98.0, "heilbronn_convex_13": 0.030937, "heilbronn_convex_14": 0.027836, "autocorrelation_second": 1.0,
    "autocorrelation_third": 1.0, "hexagons_11": 1.0, "min_max_distance": 1.0, "low_autocorrelation_48": 8.23,
    "autocorrelation_30": 1.0,
}  # fmt: skip
"""Best known scores, by which gaps are measured (bin packing: a value above all that was seen)."""

PEERS = ("openevolve", "shinka")
TARGETS = 20

FEWEST = 5
"""Runs of either side below which no interval and no p are given."""

Row = dict[str, Any]


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *("| " + " | ".join(str(cell) for cell in row) + " |" for row in rows)])


def number(value: float | None, digits: int = 4) -> str:
    if value is None:
        return "-"
    if math.isinf(value):
        return "never"
    return f"{value:.{digits}g}"


def once(rows: list[Row]) -> list[Row]:
    """The first row of each (tool, task, seed)."""
    first: dict[tuple[str, str, int], Row] = {}
    for r in rows:
        first.setdefault((r["tool"], r["task"], r["seed"]), r)
    return list(first.values())


def of(rows: list[Row], tool: str, task: str) -> list[Row]:
    return sorted((r for r in rows if r["tool"] == tool and r["task"] == task), key=lambda r: r["seed"])


def within(row: Row, calls: float = math.inf, evaluations: float = math.inf) -> float:
    """Best score within both budgets; the seed's where nothing was measured yet."""
    found = measures.at(row["curve"], calls=calls, evaluations=evaluations)
    return float(row["curve"][0][2] if found is None else found)


def tasks_of(rows: list[Row]) -> list[str]:
    return [task for task in beside.TASKS if any(r["task"] == task for r in rows)]


def tools_of(rows: list[Row]) -> list[str]:
    return [tool for tool in beside.TOOLS if any(r["tool"] == tool for r in rows)]


# ---- beside the peers ------------------------------------------------------------------------------------------------


def finals(rows: list[Row]) -> str:
    """What each tool reached and paid, medians over seeds; scores within the budget of charged evaluations plus the seed's."""
    out = []
    for task in tasks_of(rows):
        for tool in tools_of(rows):
            if not (mine := of(rows, tool, task)):
                continue
            scores = sorted(within(r, evaluations=r["budget"] + 1) for r in mine)
            dollars = [money(r) for r in mine]
            out.append([
                task, tool, len(mine), number(median(scores)), f"{number(scores[0])} .. {number(scores[-1])}",
                f"{median(r['calls'] for r in mine):.0f}", f"{median(r['evaluations'] for r in mine):.0f}",
                f"{median(r['failed'] for r in mine):.0f}", f"{median(r['evaluator_cpu'] for r in mine):.2f}",
                f"{median(dollars):.2f}",
            ])  # fmt: skip
    head = [
        "task",
        "tool",
        "runs",
        "median score",
        "range",
        "calls",
        "charged",
        "failed",
        "evaluator CPU s",
        "US dollars",
    ]
    return table(head, out)


def money(row: Row) -> float:
    """US dollars of a run's tokens at PRICE; the loops without a framework are charged as the others are."""
    return float(row["tokens_in"] * PRICE[0] + row["tokens_out"] * PRICE[1]) / 1e6


def paid(row: Row, calls: float = math.inf) -> tuple[float, float]:
    """(evaluator CPU seconds, US dollars) of a run's first so many calls, at its own mean a call."""
    share = min(calls / row["calls"], 1.0) if row["calls"] else 1.0
    return row["evaluator_cpu"] * share, money(row) * share


def goal(rows: list[Row]) -> str:
    """A peer's median final against ours at half its model calls and no more charged evaluations, task by task; what either paid."""
    out: list[list[object]] = []
    ps: dict[str, float] = {}
    for tool in ("ours", "ours-keyless", "greedy", "restarts"):
        for peer in PEERS:
            pairs = [(task, of(rows, tool, task), of(rows, peer, task)) for task in tasks_of(rows)]
            pairs = [(task, mine, theirs) for task, mine, theirs in pairs if mine and theirs]
            ours: dict[str, list[float]] = {}
            final: dict[str, list[float]] = {}
            for task, mine, theirs in pairs:
                calls, charged = median(r["calls"] for r in theirs), median(r["evaluations"] for r in theirs)
                final[task] = [within(r) for r in theirs]
                ours[task] = [within(r, calls / 2, charged) for r in mine]
                if min(len(mine), len(theirs)) >= FEWEST:
                    ps[f"{tool}/{peer}/{task}"] = measures.permutation(ours[task], final[task])
                ratio = median(ours[task]) / median(final[task])
                cells = [
                    number(median(final[task])),
                    number(median(ours[task])),
                    f"{ratio:.3f}",
                    f"{tool}/{peer}/{task}",
                ]
                spent, theirs_spent = [paid(r, calls / 2) for r in mine], [paid(r) for r in theirs]
                both = [f"{median(a[i] for a in spent):.2f} / {median(b[i] for b in theirs_spent):.2f}" for i in (0, 1)]
                out.append(
                    [tool, peer, task, f"{len(mine)} / {len(theirs)}", f"{calls / 2:.0f}", f"{charged:.0f}", *both, *cells]
                )
            if pairs:
                value, low, high = measures.ratio_of_medians(ours, final)
                enough = min(len(runs) for side in (ours, final) for runs in side.values()) >= FEWEST
                mean = f"**{value:.3f}**" + (f" ({low:.3f} .. {high:.3f})" if enough else "")
                out.append([tool, peer, "geometric mean", "", "", "", "", "", "", "", mean, ""])
    adjusted = measures.holm(ps)
    for r in out:
        r[-1] = f"{adjusted[str(r[-1])]:.3f}" if r[-1] in adjusted else ""
    head = [
        "tool", "peer", "task", "runs", "calls", "charged", "CPU s, ours / peer", "US dollars, ours / peer", "peer's median", "ours",
        "ratio", "p (Holm)",
    ]  # fmt: skip
    return table(head, out)


def times(rows: list[Row]) -> str:
    """ERT of the best peer's median final in calls, charged evaluations, evaluator CPU seconds and US dollars (the latter two at each
    run's own mean), and the ECDF area over TARGETS targets."""
    out = []
    for task in tasks_of(rows):
        finals = [median(within(r) for r in mine) for p in PEERS if (mine := of(rows, p, task))]
        if not finals:
            continue
        target = max(finals)
        cells = []
        for tool in tools_of(rows):
            if not (mine := of(rows, tool, task)):
                cells.append("-")
                continue
            hits = [measures.hit(r["curve"], target, 0) for r in mine]
            charged = [measures.hit(r["curve"], target, 1) for r in mine]
            by_calls = measures.ert(hits, [r["calls"] for r in mine])
            by_evaluations = measures.ert(charged, [r["evaluations"] for r in mine])
            reached = sum(h is not None for h in hits)
            rest = []
            for i in (0, 1):
                costs = [None if h is None else paid(r, h)[i] for h, r in zip(hits, mine, strict=True)]
                rest.append(measures.ert(costs, [paid(r)[i] for r in mine]))
            shown = " / ".join(number(x, 3) for x in (by_calls, by_evaluations, *rest))
            cells.append(f"{shown} ({reached}/{len(mine)})")
        out.append([f"{task} >= {number(target)}", *cells])
    areas = []
    for tool in tools_of(rows):
        found = [area(mine, task) for task in tasks_of(rows) if (mine := of(rows, tool, task))]
        areas.append(f"{sum(found) / len(found):.3f} ({len(found)} tasks)")
    out.append(["area under the ECDF (calls)", *areas])
    return table(["target", *tools_of(rows)], out)


def area(mine: list[Row], task: str) -> float:
    """Targets log-spaced in the gap to the best known, from nine tenths of the seed's gap to a hundredth of it."""
    gap = KNOWN[task] - mine[0]["curve"][0][2]
    targets = [KNOWN[task] - gap * 10 ** (-0.046 - 1.954 * i / (TARGETS - 1)) for i in range(TARGETS)]
    hits = [measures.hit(r["curve"], target, 0) for r in mine for target in targets]
    return measures.ecdf_area(hits, mine[0]["budget"])


# ---- surrogate landscapes --------------------------------------------------------------------------------------------


def progress(rows: list[Row], mark: int = 2) -> str:
    names = list(dict.fromkeys(r["landscape"] for r in rows))
    policies = [p for p in ("default", "greedy", "restarts", "best-of-n", "uniform", *surrogate.CONTROLS)]
    found = {(r["landscape"], r["policy"]): [p[mark] for p in r["progress"]] for r in rows}
    out = []
    for name in names:
        cells = [sum(v) / len(v) if (v := found.get((name, p))) else math.nan for p in policies]
        best = max(c for c in cells if not math.isnan(c))
        out.append([name, *(f"**{c:.3f}**" if c == best else f"{c:.3f}" for c in cells)])
    return table(["landscape", *policies], out)


def ablations(rows: list[Row], held: list[Row]) -> str:
    """Default minus the policy, mean progress over landscapes with a 95% hierarchical bootstrap interval."""
    names = [p for p in dict.fromkeys(r["policy"] for r in rows) if p != "default"]
    ps = {p: measures.bootstrap(surrogate.differences(rows, "default", p)) for p in names}
    adjusted = measures.holm({p: value[3] for p, value in ps.items()})
    out = []
    for p in names:
        cells = [p, _interval(ps[p]), _interval(measures.bootstrap(surrogate.differences(rows, "default", p, 1)))]
        cells.append(f"{adjusted[p]:.3f}")
        other = surrogate.differences(held, "default", p)
        cells.append(_interval(measures.bootstrap(other)) if other else "-")
        out.append(cells)
    head = [
        "instead of the default",
        "default's lead at 200 calls",
        "at 100 calls",
        "p (Holm)",
        "held-out family, 200 calls",
    ]
    return table(head, out)


def developed(rows: list[Row]) -> str:
    """The lead over the default without `climb` on the tasks that parts are developed on, with 95% intervals."""
    out = []
    for policy in dict.fromkeys(r["policy"] for r in rows):
        if policy != "default":
            leads = [measures.bootstrap(surrogate.differences(rows, policy, "default", mark)) for mark in (0, 1, 2)]
            out.append([policy, *map(_interval, leads)])
    return table(["instead of no climb", "lead at 50 calls", "at 100 calls", "at 200 calls"], out)


def _interval(found: tuple[float, float, float, float]) -> str:
    return f"{found[0]:+.3f} ({found[1]:+.3f} .. {found[2]:+.3f})"


def banks(rows: list[Row]) -> str:
    policies = list(dict.fromkeys(r["policy"] for r in rows))
    found = {(r["landscape"], r["policy"]): [p[0] for p in r["progress"]] for r in rows}
    out = []
    for name in dict.fromkeys(r["landscape"] for r in rows):
        one = next(r for r in rows if r["landscape"] == name)
        means = [sum(v) / len(v) for v in (found[name, p] for p in policies)]
        cells = [f"**{m:.3f}**" if m == max(means) else f"{m:.3f}" for m in means]
        out.append([name, one["mutator"], one["nodes"], *cells])
    return table(["bank", "mutator", "nodes", *policies], out)


GROWN = ("default", "greedy", "restarts", "best-of-n", "uniform", "time-shuffled", "static mix")
"""Policies whose progress is shown task by task; the rest only in the leads."""


def grown_progress(rows: list[Row]) -> str:
    """Mean progress of each policy at the last mark, task by task."""
    found = grown.progress(rows)
    out = []
    for task in dict.fromkeys(r["task"] for r in rows):
        means = [sum(v) / len(v) if (v := found.get((task, p))) else math.nan for p in GROWN]
        best = max(m for m in means if not math.isnan(m))
        cells = [f"**{m:.3f}**" if m == best else f"{m:.3f}" for m in means]
        one = next(r for r in rows if r["task"] == task)
        out.append([task, len(one["scores"]), one["nodes"], *cells])
    return table(["task", "runs", "nodes", *GROWN], out)


def grown_leads(rows: list[Row], base: str = "default") -> str:
    """The lead of `base` over each policy after all calls and after the second mark: mean over tasks, 95% interval, Holm's p."""
    names = [p for p in dict.fromkeys(r["policy"] for r in rows) if p != base]
    late, early = grown.progress(rows), grown.progress(rows, 1)
    tasks = list(dict.fromkeys(r["task"] for r in rows))
    gaps: dict[str, list[tuple[float, float, float, float]]] = {}
    for p in names:
        gaps[p] = []
        for found in (late, early):
            both = {t: [a - b for a, b in zip(found[t, base], found[t, p], strict=False)] for t in tasks if (t, p) in found}
            gaps[p].append(measures.bootstrap(both))
    adjusted = measures.holm({p: value[0][3] for p, value in gaps.items()})
    out = [[p, _interval(gaps[p][0]), _interval(gaps[p][1]), f"{adjusted[p]:.3f}"] for p in names]
    return table([f"instead of {'the default' if base == 'default' else base}", "its lead at 300 calls", "at 150 calls", "p (Holm)"], out)


def one_at_a_time(rows: list[Row]) -> str:
    """What each key-less part is worth: base's lead over the arm without it, by model, paired by seed."""
    models = list(dict.fromkeys(r["model"] for r in rows))
    best = {(r["model"], r["arm"], r["seed"]): r["best"] for r in rows}
    out = []
    for arm in dict.fromkeys(r["arm"] for r in rows):
        if arm == "base":
            continue
        cells = []
        for model in models:
            pairs = [(best[model, "base", n], value) for (m, a, n), value in best.items() if (m, a) == (model, arm) and (model, "base", n) in best]
            found = parts.lead(pairs)
            ahead = sum(x > y for x, y in pairs)
            cells.append(f"{found[0]:+.2f} ({found[1]:+.2f} .. {found[2]:+.2f}), {ahead}/{len(pairs)}" if found else "-")
        out.append([arm, *cells])
    return table(["instead of the default's part", *models], out)


def overhead(rows: list[Row]) -> str:
    out = [
        [
            f"{r['tool']} {r['version']}", r["candidates"], f"{r['per_second']:.1f}", f"{r['first_fifth']:.1f}",
            f"{r['last_fifth']:.1f}", f"{r['cpu_ms']:.1f}", f"{r['load'][0]:.1f} .. {r['load'][1]:.1f}",
        ]
        for r in rows
    ]  # fmt: skip
    head = ["tool", "candidates", "a second", "first fifth", "last fifth", "CPU ms a candidate", "load average"]
    return table(head, out)


# ---- all -------------------------------------------------------------------------------------------------------------


def tables() -> dict[str, str]:
    rows = once(beside.read(HERE / "results" / "beside.jsonl"))
    family = surrogate.read(HERE / "results" / "surrogate.jsonl")
    held = surrogate.read(HERE / "results" / "held_out.jsonl")
    replayed = beside.read(HERE / "results" / "banks.jsonl")
    walked = grown.read(HERE / "results" / "grown.jsonl")
    climbs = grown.read(HERE / "results" / "grown_climb.jsonl")
    tuned = once(beside.read(HERE / "results" / "beside_tuned.jsonl"))
    tried = beside.read(HERE / "results" / "develop.jsonl")
    single = beside.read(HERE.parent / "tasks" / "parts_one.jsonl")
    costs = beside.read(HERE.parent / "overhead" / "results" / "peers.jsonl")
    made: dict[str, Callable[[], str]] = {
        "finals": lambda: finals(rows), "goal": lambda: goal(rows), "times": lambda: times(rows),
        "progress": lambda: progress(family), "held-out": lambda: progress(_pooled(held)),
        "ablations": lambda: ablations(family, held), "banks": lambda: banks(replayed),
        "grown": lambda: grown_progress(walked), "grown leads": lambda: grown_leads(walked),
        "grown climb": lambda: grown_leads(climbs, "climb 10"), "tuned": lambda: goal(tuned),
        "parts": lambda: one_at_a_time(single),
        "overhead": lambda: overhead(costs), "developed": lambda: developed(tried),
    }  # fmt: skip
    needs = {
        "finals": rows, "goal": rows, "times": rows, "progress": family, "held-out": held, "ablations": family, "banks": replayed, "grown": walked,
        "grown leads": walked, "grown climb": climbs, "tuned": tuned, "parts": single,
        "overhead": costs, "developed": tried,
    }  # fmt: skip
    return {name: make() for name, make in made.items() if needs[name]}


def _pooled(rows: list[Row]) -> list[Row]:
    """The held-out landscapes as one."""
    out: dict[str, Row] = {}
    for r in rows:
        made = out.setdefault(r["policy"], r | {"landscape": "staircase", "progress": []})
        made["progress"] = made["progress"] + r["progress"]
    return list(out.values())


def written(text: str, found: dict[str, str]) -> str:
    """The page with each table between `<!-- proof: NAME -->` and `<!-- end -->`. Raises ValueError for a missing marker."""
    for name, content in found.items():
        pattern = re.compile(rf"(<!-- proof: {re.escape(name)} -->\n)(?:(?!<!-- proof).)*?(<!-- end -->)", re.DOTALL)  # never past its own end
        if not pattern.search(text):
            raise ValueError(f"the page has no marker <!-- proof: {name} -->")
        text = pattern.sub(lambda match, content=content: match[1] + content + "\n" + match[2], text)
    return text


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path)
    options = parser.parse_args(arguments)
    found = tables()
    if options.write:
        options.write.write_text(written(options.write.read_text(), found))
    else:
        for name, content in found.items():
            print(f"## {name}\n\n{content}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

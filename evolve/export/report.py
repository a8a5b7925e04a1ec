"""A run in one document: HTML that needs nothing else (no script, no network, no file beside it), or Markdown.

Both are made of the same sections. Whatever a candidate or a model wrote is escaped; with `transcripts` off, prompts,
answers and logs are left out, ideas and diffs stay.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html import escape

from evolve.export.svg import step_chart
from evolve.models import prefix
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Candidate
from evolve.population.folds import RunState
from evolve.tasks.task import Metric, Task
from evolve.tasks.verdict import Status
from evolve.upstream import gains, text_plot
from evolve.web.index import Index

MOST_DIFF = 20_000
"""Characters of one diff in a report."""

MOST_TRANSCRIPT = 20_000
MOST_TRANSCRIPTS = 20

BASELINES = (
    "Controls that ran beside the search on the same machine, each with as many evaluations: random search draws every candidate "
    "from the seed (best of n); greedy always edits the best so far. Both make key-less edits, without the tuner and without a "
    "model; greedy with the run's own mutators is 'evolve run --selector greedy' under another name. A control's value is its "
    "best single measurement."
)


@dataclass(slots=True)
class Table:
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: frozenset[int] = frozenset()
    """Columns of numbers."""


@dataclass(slots=True)
class Section:
    """title and parts: a str is a paragraph, a Table a table, a `Text` preformatted, a `Figure` a drawing."""

    title: str
    parts: list[str | Table | Text | Figure] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Text:
    title: str
    text: str
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Figure:
    """The same curve drawn (SVG) and in characters."""

    svg: str
    text: str


class Report:
    """Reads one run of an archive, once."""

    def __init__(self, archive: Archive, run: str, *, transcripts: bool = True) -> None:
        self.archive, self.run, self.transcripts = archive, run, transcripts
        self.state: RunState = archive.state(run)
        self.index = Index()
        for recorded in archive.events(run):
            self.index.apply(recorded)
        opened = self.state.lineage.opened
        assert opened is not None
        self.opened = opened
        self.tasks = {name: Task.parse(task.source, where=f"task {name}") for name, task in opened.tasks.items()}

    def sections(self) -> list[Section]:
        made: list[Section] = [self._summary()]
        for name, task in self.tasks.items():
            label = f": {name}" if len(self.tasks) > 1 else ""
            made += [self._curve(task, label), self._path(task, label)]
        made += [self._failures(), self._operators(), self._costs(), self._integrity(), self._baselines()]
        if self.transcripts:
            made.append(self._transcripts())
        return [*made, self._environment(), self._reproduce()]

    # ---- sections ------------------------------------------------------------------------------------------------

    def _summary(self) -> Section:
        lineage, ledger = self.state.lineage, self.state.ledger
        rows: list[Sequence[str]] = []
        for name, task in self.tasks.items():
            metric = task.objectives[0]
            seed, best = self.state.candidates[lineage.seeds[name]], self.state.champion(name)
            rows.append((name, f"{metric.name} ({metric.goal})", _value(metric, seed), _value(metric, best), metric.unit))
        said = (
            f"{ledger.evaluations} candidates were evaluated in {_span(ledger.seconds())} of wall time; {lineage.scored} "
            f"scored. Mutator {self.opened.mutator or 'unknown'}, selector {self.opened.selector or 'unknown'}."
        )
        if not ledger.by_model:
            said += " No language model was called."
        ended = f"The run ended: {ledger.closed}." if ledger.closed else "The run has not ended."
        table = Table(("Task", "Objective", "Seed", "Champion", "Unit"), rows, frozenset({2, 3}))
        return Section("Summary", [said, table, ended])

    def _curve(self, task: Task, label: str) -> Section:
        metric = task.objectives[0]
        points = [p for p in self.index.points.get(task.name, ()) if p.fitness is not None]
        if not points:
            return Section(f"Best so far{label}", ["Nothing scored."])
        order = [c for c in map(self.state.candidates.__getitem__, self.state.lineage.verdict_order) if c.task == task.name]
        end = max(len(order), 1)
        best = [(float(p.evaluations), metric.sign * (p.fitness or 0.0)) for p in points]
        beside = [
            (f"{label} beside it (control)", [(float(n), metric.sign * f) for n, f in found.get(task.name, ()) if f is not None])
            for label, found in (("random search", self.index.control), ("greedy", self.index.greedy))
        ]
        step = max(len(order) // 1500, 1)
        cloud = [(k + 1.0, metric.sign * c.fitness) for k, c in enumerate(order[::step]) if c.fitness is not None]
        cloud = [(x * step, y) for x, y in cloud]
        bands = [
            (float(p.evaluations), *sorted((metric.sign * p.low, metric.sign * p.high)))
            for p in points
            if p.low is not None and p.high is not None
        ]
        series = [("best so far, with its 95% interval", "#1f57b0", [*best, (float(end), best[-1][1])])]
        series += [(label, colour, points) for (label, points), colour in zip(beside, ("#59636e", "#8a5a00"), strict=True) if points]
        unit = f" ({metric.unit})" if metric.unit else ""
        svg = step_chart(
            series, x_label="evaluations", y_label=metric.name + unit, cloud=cloud, bands=[(x, low, high) for x, low, high in bands]
        )
        text = "\n".join(text_plot([*best, (float(end), best[-1][1])])) if len(best) > 1 else ""
        rows: list[Sequence[str]] = []
        for p in points:
            known = self.state.candidates.get(p.candidate)
            gain = "" if p.gain is None else f"{metric.sign * p.gain:+.4g}"
            bound = "" if p.gain_low is None or p.gain_low == p.gain else f"at least {p.gain_low:.4g}"
            rows.append(
                (f"#{known.number}" if known else "", f"{metric.sign * (p.fitness or 0.0):.6g}", gain, bound, str(p.evaluations),
                 _span(p.seconds), f"{p.money:.4f}" if p.money else "", known.idea if known else "")
            )  # fmt: skip
        head = ("Champion", metric.name, "Gain", "Lower bound", "Evaluations", "Wall time", "US dollars", "Idea")
        return Section(f"Best so far{label}", [Figure(svg, text), Table(head, rows, frozenset({1, 2, 4, 5, 6}))])

    def _path(self, task: Task, label: str) -> Section:
        champion = self.state.champion(task.name)
        if champion is None:
            return Section(f"Winning path{label}", ["No champion."])
        metric, path = task.objectives[0], self.state.lineage.path_to(champion.commit)
        rows = []
        before: Candidate | None = None
        for step in path:
            gain = ""
            if before is not None and before.fitness is not None and step.fitness is not None:
                gain = f"{metric.sign * (step.fitness - before.fitness):+.4g}"
            rows.append((f"#{step.number}", _value(metric, step), gain, step.operator, step.model, step.idea))
            before = step
        table = Table(("Candidate", metric.name, "Gain", "Operator", "Model", "Idea"), rows, frozenset({1, 2}))
        section = Section(f"Winning path{label}", [f"{len(path) - 1} steps from the base to the champion.", table])
        whole = self.archive.store.diff(path[0].tree, champion.tree)
        section.parts.append(Text("The whole change, base to champion", _cut(whole, MOST_DIFF), "diff"))
        places = {c.commit: k for k, c in enumerate(path)}
        for step, gain_of in gains(self.state, champion)[:5]:
            parent = path[places[step.commit] - 1]
            title = f"#{step.number}: {step.idea or step.operator} ({metric.name} {metric.sign * gain_of:+.4g})"
            section.parts.append(Text(title, _cut(self.archive.store.diff(parent.tree, step.tree), MOST_DIFF // 4), "diff"))
        return section

    def _failures(self) -> Section:
        lineage = self.state.lineage
        total = sum(lineage.failures.values())
        rows: list[Sequence[str]] = [(kind, str(n), f"{n / total:.0%}") for kind, n in sorted(lineage.failures.items(), key=lambda p: -p[1])]
        rows += [(f"refused: {why}", str(n), "") for why, n in sorted(lineage.refused.items(), key=lambda p: -p[1])]
        if not rows:
            return Section("Failures", ["Every candidate scored."])
        return Section(
            "Failures",
            [f"{total} of {self.state.ledger.evaluations} evaluated candidates failed; refused proposals made no commit.",
             Table(("Kind", "Candidates", "Share"), rows, frozenset({1, 2}))],
        )  # fmt: skip

    def _operators(self) -> Section:
        born: Counter[str] = Counter()
        scored: Counter[str] = Counter()
        better: Counter[str] = Counter()
        for c in self.state.candidates.values():
            born[c.operator] += 1
            parent = self.state.candidates.get(c.parents[0]) if c.parents else None
            if c.fitness is not None:
                scored[c.operator] += 1
                better[c.operator] += bool(parent and parent.fitness is not None and c.fitness > parent.fitness)
        rows = [(name or "unknown", str(n), str(scored[name]), str(better[name])) for name, n in born.most_common()]
        return Section("Operators", [Table(("Operator", "Born", "Scored", "Beat their parent"), rows, frozenset({1, 2, 3}))])

    def _costs(self) -> Section:
        ledger = self.state.ledger
        rows = [
            ("Wall time of the run", _span(ledger.seconds())),
            ("Evaluators, wall", _span(ledger.evaluator_wall)),
            ("Evaluators, CPU", _span(ledger.evaluator_cpu)),
            ("GPU", _span(ledger.gpu_seconds)),
            ("Models, US dollars", f"{ledger.money:.4f}" + (f" and {ledger.unknown} answers of unknown price" if ledger.unknown else "")),
            ("Models, tokens", str(ledger.tokens)),
            ("Failures of our own", str(ledger.errors)),
        ]
        parts: list[str | Table | Text | Figure] = [Table(("What", "Used"), rows, frozenset({1}))]
        if ledger.by_model:
            sent = {each.model: each for each in prefix.report(self.archive, self.state.run)}
            models = []
            for name, used in ledger.by_model.items():
                known = sent.get(name)
                shares = (f"{known.common:.0%}", f"{known.cached:.0%}") if known else ("unknown", "unknown")
                money = f"{used['money']:.4f}" if used["money"] or not ledger.unknown else "unknown"
                models.append((name, f"{used['calls']:.0f}", f"{used['tokens']:.0f}", money, *shares))
            head = ("Model", "Calls", "Tokens", "US dollars", "Prompt text in a common prefix", "Input read from a cache")
            parts.append(Table(head, models, frozenset(range(1, 6))))
        return Section("Costs", parts)

    def _integrity(self) -> Section:
        every = list(self.state.candidates.values())
        count = Counter(c.verdict.status.value if c.verdict else "unjudged" for c in every)
        rungs = ", ".join(f"{n} in {rung}" for rung, n in self.index.sandboxes.items()) or "none"
        own = any(c.verdict and c.verdict.self_reported for c in every)
        parts: list[str | Table | Text | Figure] = [
            f"Measurements by sandbox: {rungs}.",
            "Figures are self-reported: they came out of the candidate's own output or process." if own
            else "Figures were taken outside the candidate's process.",
            "Verdicts: " + ", ".join(f"{n} {status}" for status, n in count.most_common()) + ".",
        ]  # fmt: skip
        if self.index.checks:
            rows = [(name, ", ".join(f"{n} {o}" for o, n in found.items())) for name, found in self.index.checks.items()]
            parts.append(Table(("Check", "Outcomes"), rows))
        else:
            parts.append("This run's evaluators ran no integrity checks.")
        odd = [c for c in every if c.verdict and c.verdict.status in (Status.AUDIT, Status.CHEAT)]
        if odd:
            told = [(f"#{c.number}", c.verdict.status.value, c.verdict.reason) for c in odd[:50] if c.verdict]
            parts.append(Table(("Candidate", "Verdict", "Reason"), told))
        return Section("Integrity", parts)

    def _baselines(self) -> Section:
        """The controls at the search's own number of evaluations: never a longer or shorter one."""
        rows: list[Sequence[str]] = []
        for name, task in self.tasks.items():
            metric = task.objectives[0]
            seed, best = self.state.candidates[self.state.lineage.seeds[name]], self.state.champion(name)
            spent = self.state.lineage.evaluated.get(name, 0)
            shown: list[str] = []
            for controls in (self.index.control, self.index.greedy):
                matched = [(n, f) for n, f in controls.get(name, ()) if n <= spent]
                n, found = matched[-1] if matched else (0, None)
                shown += (f"{metric.sign * found:.6g}" if found is not None else "not run", str(n))
            rows.append((name, metric.name, _value(metric, seed), *shown, _value(metric, best), str(spent)))
        head = ("Task", "Metric", "Seed", "Random search", "Its evaluations", "Greedy", "Its evaluations", "Search", "Its evaluations")
        return Section("Baselines at a matched budget", [BASELINES, Table(head, rows, frozenset(range(2, 9)))])

    def _transcripts(self) -> Section:
        """Prompts and answers behind the winning paths."""
        parts: list[str | Table | Text | Figure] = []
        for commit in self.state.lineage.champions.values():
            for step in self.state.lineage.path_to(commit):
                for oid in self.index.of_brief.get(step.brief, ()) if step.brief else ():
                    recorded = self.archive.recorded(oid)
                    if isinstance(recorded.event, ev.Requested | ev.Answered | ev.Told) and len(parts) < MOST_TRANSCRIPTS:
                        for name in recorded.artifacts:
                            text = (self.archive.artifact(oid, name) or b"").decode("utf-8", "replace")
                            parts.append(Text(f"#{step.number} {name}", _cut(text, MOST_TRANSCRIPT)))
        return Section("Transcripts of the winning path", parts or ["No model was called on the winning path."])

    def _environment(self) -> Section:
        rows: list[Sequence[str]] = [("evolve", self.opened.tool)]
        for name, epoch in self.state.lineage.epochs.items():
            rows += [(f"{name}: hardware", epoch.hardware), (f"{name}: evaluator", epoch.evaluator[:16]), (f"{name}: epoch", epoch.epoch)]
        machines = sorted({s.machine for _, s in self.index.sessions if s.machine})
        rows += [("machines", ", ".join(machines) or "not recorded"), ("report written with Python", platform.python_version())]
        for (task, _), found in self.state.lineage.calibrations.items():
            floor = ", ".join(f"{n} {'repeats exactly' if v == 0 else f'sd {v:.4g}'}" for n, v in found.calibration.sigma.items())
            rows.append((f"{task}: noise floor", f"{floor} ({found.calibration.dof + 1} runs of the seed)"))
        return Section("Environment", [Table(("What", "Which"), rows)])

    def _reproduce(self) -> Section:
        limits = self.state.ledger.limits
        names = " ".join(t.bundled or "" for t in self.opened.tasks.values()).strip()
        options = [f"--seed {self.opened.seed}", *(f"--mutator {m}" for m in self.opened.mutator.split(",") if m)]
        options += [f"--selector {self.opened.selector}"] if self.opened.selector else []
        options += [f"--evals {limits['evaluations']:.0f}"] if "evaluations" in limits else []
        options += [f"--time {limits['seconds']:g}s"] if "seconds" in limits else []
        lines = [f"evolve run {names} {' '.join(options)} --name {self.run}-again".replace("  ", " ")]
        for name, task in self.opened.tasks.items():
            lines.append(f"# task {name}: base {task.base}, digest {task.digest[:16]}")
        parts: list[str | Table | Text | Figure] = [Text("Again", "\n".join(lines))]
        parts += [Text(f"Task file of {name}", task.source) for name, task in self.opened.tasks.items()]
        return Section("How to reproduce", parts)


def _value(metric: Metric, c: Candidate | None) -> str:
    if c is None or c.verdict is None or c.fitness is None:
        return "not scored"
    found = c.verdict.metrics.get(metric.name)
    if found is None or found.low == found.high:
        return f"{metric.sign * c.fitness:.6g}"
    return f"{found.mean:.6g} [{found.low:.6g}, {found.high:.6g}]"


def _span(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 5400 else f"{seconds / 3600:.3g} h"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[:most] + f"\n[... {len(text) - most} characters cut ...]\n"


# ---- HTML ------------------------------------------------------------------------------------------------------------

_STYLE = """
:root{color-scheme:light}body{font:14px/1.5 system-ui,sans-serif;color:#1d2127;background:#fff;max-width:980px;margin:24px auto;padding:0 16px}
h1{font-size:24px}h2{font-size:18px;margin:32px 0 8px;border-bottom:1px solid #dfe3e8;padding-bottom:4px}nav{color:#59636e}nav a{margin-right:12px}
a{color:#1f57b0}table{border-collapse:collapse;margin:8px 0;font-size:13px;display:block;overflow-x:auto}
th{text-align:left;color:#59636e;font-weight:600}
th,td{padding:3px 10px 3px 0;border-bottom:1px solid #e8ebef;vertical-align:top}td.r,th.r{text-align:right;font-variant-numeric:tabular-nums}
pre{background:#f5f6f8;border:1px solid #dfe3e8;border-radius:6px;padding:8px 10px;overflow-x:auto;
font:12px/1.5 ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin:6px 0}summary{cursor:pointer}figure{margin:8px 0}svg{max-width:100%;height:auto}.key{margin-right:14px;color:#59636e;font-size:12.5px}
.key i{display:inline-block;width:16px;height:3px;margin-right:5px;vertical-align:middle}
.add{background:#e4f5e9;display:block}.del{background:#fdebe9;display:block}.hunk{color:#1f57b0;display:block}
@media print{details{display:block}}
"""


def html(report: Report) -> str:
    """One file; a policy in it forbids whatever it does not hold itself."""
    sections = report.sections()
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    title = f"Run {report.run}"
    links = "".join(f'<a href="#s{k}">{escape(s.title)}</a>' for k, s in enumerate(sections))
    body = "".join(f'<section id="s{k}"><h2>{escape(s.title)}</h2>{"".join(map(_part_html, s.parts))}</section>' for k, s in enumerate(sections))
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><title>{escape(title)}</title><style>{_STYLE}</style></head>'
        f"<body><h1>{escape(title)}</h1><nav>{links}</nav>{body}<p>Written {written}.</p></body></html>\n"
    )


def _part_html(part: str | Table | Text | Figure) -> str:
    if isinstance(part, str):
        return f"<p>{escape(part)}</p>"
    if isinstance(part, Figure):
        return part.svg
    if isinstance(part, Text):
        inner = _diff_html(part.text) if part.kind == "diff" else escape(part.text)
        return f"<details{' open' if len(part.text) < 3000 else ''}><summary>{escape(part.title)}</summary><pre>{inner}</pre></details>"
    cell: Callable[[str, int, str], str] = lambda tag, k, text: f"<{tag}{' class=r' if k in part.right else ''}>{escape(text)}</{tag}>"  # noqa: E731
    head = "".join(cell("th", k, name) for k, name in enumerate(part.head))
    rows = "".join("<tr>" + "".join(cell("td", k, text) for k, text in enumerate(row)) + "</tr>" for row in part.rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _diff_html(text: str) -> str:
    return "".join(f'<span class="{kind}">{escape(line)}</span>' if (kind := _kind(line)) else escape(line) + "\n" for line in text.splitlines())


def _kind(line: str) -> str:
    if line.startswith(("+++", "---", "diff ", "index ")):
        return ""
    return {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "")


# ---- Markdown --------------------------------------------------------------------------------------------------------


def markdown(report: Report) -> str:
    out = [f"# Run {_md(report.run)}", ""]
    for section in report.sections():
        out += [f"## {_md(section.title)}", ""]
        for part in section.parts:
            out += [*_part_md(part), ""]
    return "\n".join(out) + "\n"


def _part_md(part: str | Table | Text | Figure) -> Iterable[str]:
    if isinstance(part, str):
        return [_md(part)]
    if isinstance(part, Figure):
        return ["```", part.text, "```"] if part.text else ["(one point)"]
    if isinstance(part, Text):
        fence = "`" * max(3, _longest_fence(part.text) + 1)
        return [f"**{_md(part.title)}**", "", f"{fence}{part.kind}", part.text.rstrip("\n"), fence]
    rule = "|".join("---:" if k in part.right else "---" for k in range(len(part.head)))
    rows = ["| " + " | ".join(_md(str(cell)) for cell in row) + " |" for row in part.rows]
    return ["| " + " | ".join(part.head) + " |", f"|{rule}|", *rows]


def _longest_fence(text: str) -> int:
    return max((len(line) - len(line.lstrip("`")) for line in text.splitlines()), default=0)


def _md(text: str) -> str:
    """Text as text: a model's words must not become markup or a mention."""
    flat = " ".join(text.split())
    for sign in "\\`*_[]<>|#":
        flat = flat.replace(sign, "\\" + sign)
    return flat.replace("@", "@\u200b")

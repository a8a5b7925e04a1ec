"""What the scripted model answers: one edit of the parent program in the prompt, by the same code for every framework.

It reads nothing but the messages that a framework really sent: the program under its heading for the current program, and
which form of answer is asked for. Standard library only, so that it runs in any virtual environment.

The rates of the classes are in the ranges of published traces (docs/search.md, 'Proof'): invalid 5-84%, duplicates 20-30%,
most edits move a constant, most gain sits in few. A `canned` answer is a function of the parent alone, as models send the
same edit of the same program again; a `polish` is the rare large gain: a short local search inside the answer. A program that
lost rows is always mended.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import operator
import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

TASKS = Path(__file__).resolve().parent / "tasks"

RATES = {"invalid": 0.12, "canned": 0.25, "constant": 0.38, "row": 0.15, "redraw": 0.06, "polish": 0.04}
"""Chance of each class of proposal. `invalid`: half an edit that does not apply, half a program without its last row."""

CANNED = 3
"""Different canned answers a parent has."""

POLISH = 30
"""Steps of the local search inside a `polish` answer."""

Table = list[list[float]]


@dataclass(frozen=True)
class Domain:
    """What the numbers of a task may be: low..high, or signs (1 and -1). simplex: each row's sum is at most 1."""

    low: float = 0.0
    high: float = 1.0
    signs: bool = False
    simplex: bool = False


DOMAINS = {
    "heilbronn_triangle": Domain(simplex=True),
    "erdos_overlap": Domain(),
    "autocorrelation": Domain(0.0, 8.0),
    "low_autocorrelation_64": Domain(signs=True),
    "bin_packing_fixed": Domain(-4.0, 4.0),
    "heilbronn_convex_13": Domain(),
    "heilbronn_convex_14": Domain(),
    "autocorrelation_second": Domain(0.0, 8.0),
    "autocorrelation_third": Domain(-8.0, 8.0),
    "hexagons_11": Domain(-6.0, 6.0),
    "min_max_distance": Domain(),
    "low_autocorrelation_48": Domain(signs=True),
    "autocorrelation_30": Domain(0.0, 8.0),
}


@dataclass(frozen=True)
class Proposed:
    """An answer's text, its class, and the program it makes ("" where the edit does not apply)."""

    text: str
    kind: str
    program: str


@lru_cache
def scorer(task: str) -> Callable[[Table], float]:
    """The task's exact checker."""
    path = TASKS / task / "evaluate.py"
    spec = importlib.util.spec_from_file_location(f"judge_{task}", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: Callable[[Table], float] = module.score
    return found


# ---- reading a prompt ------------------------------------------------------------------------------------------------

_HEADING = re.compile(r"^# (?:Current program|The program)[ \t]*$", re.IGNORECASE | re.MULTILINE)
_FENCE = re.compile(r"^(`{3,}|~{3,})[^\n]*\n(.*?)^\1[ \t]*$", re.DOTALL | re.MULTILINE)
_TABLE = re.compile(r"^TABLE = (\[\n.*?^\])", re.DOTALL | re.MULTILINE)


def parent_of(messages: list[dict[str, str]]) -> str | None:
    """The program under the last heading for the current program in the messages; None where there is none."""
    for message in messages:
        text = message["content"] if message["role"] == "user" else ""
        headings = list(_HEADING.finditer(text))
        if headings and (fence := _FENCE.search(text, headings[-1].end())):
            return fence[2].rstrip("\n") + "\n"
    return None


def form_of(messages: list[dict[str, str]]) -> str:
    """The form of answer asked for: "tagged-diff", "tagged-full", "whole" or "diff"."""
    text = "\n".join(message["content"] for message in messages if message["role"] != "assistant")
    if "<DIFF>" in text:
        return "tagged-diff"
    if "<CODE>" in text:
        return "tagged-full"
    return "whole" if 'format "whole"' in text else "diff"


def table_of(program: str) -> Table:
    """The table of a program, arithmetic in it worked out. Raises ValueError where there is none, or none to be read."""
    match = _TABLE.search(program)
    if not match:
        raise ValueError("the program has no TABLE")
    try:
        tree = ast.parse(match[1], mode="eval").body
    except (SyntaxError, RecursionError, MemoryError, SystemError) as error:  # whatever key-less operators may leave
        raise ValueError(f"TABLE cannot be read: {error}") from error
    if not isinstance(tree, ast.List) or not all(isinstance(row, ast.List) for row in tree.elts):
        raise ValueError("TABLE is no list of lists")
    return [[_number(item) for item in row.elts] for row in tree.elts if isinstance(row, ast.List)]


_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
}


def _number(item: ast.expr) -> float:
    if isinstance(item, ast.Constant) and type(item.value) in (int, float):
        return item.value  # type: ignore[return-value]
    if isinstance(item, ast.UnaryOp) and isinstance(item.op, ast.USub):
        return -_number(item.operand)
    if isinstance(item, ast.BinOp) and type(item.op) in _ARITHMETIC:
        return _ARITHMETIC[type(item.op)](_number(item.left), _number(item.right))
    raise ValueError(f"TABLE holds {ast.dump(item)[:60]}, no number")


# ---- an edit ---------------------------------------------------------------------------------------------------------


def propose(messages: list[dict[str, str]], task: str, rng: random.Random) -> Proposed | None:
    """An answer to the messages; None where they hold no current program (a summary is asked for, say)."""
    program = parent_of(messages)
    if program is None:
        return None
    form = form_of(messages)
    kind = rng.choices(list(RATES), list(RATES.values()))[0]
    try:
        before = table_of(program)
    except ValueError:  # a parent that a key-less operator restructured
        return Proposed("I see no table to change.", "lost", "")
    if not before or not all(before):
        return Proposed("I see a row without numbers.", "lost", "")
    if kind == "canned":
        mode = rng.randrange(CANNED)
        rng = random.Random(f"{mode}/{hashlib.sha256(program.encode()).hexdigest()}")
    if 0 < len(before) < seed_rows(task):
        kind, after = "mend", mended(before, task, rng)
    else:
        after = changed(before, kind, task, rng)
    if kind == "invalid":
        if rng.random() < 0.5:
            return Proposed(answer(program, "TABLE = [\n    [no such line],\n", "TABLE = [\n", form, False), kind, "")
        after = before[:-1]
    old, new = spelled(program, before, after)
    made = program.replace(old, new, 1)
    return Proposed(answer(program, old, new, form, True), kind, made)


def changed(table: Table, kind: str, task: str, rng: random.Random) -> Table:
    """The table after an edit of that class."""
    domain = DOMAINS[task]
    if kind == "canned":
        kind = rng.choices(("constant", "row"), (0.7, 0.3))[0]
    if kind == "polish":
        return polished(table, task, rng)
    new = [list(row) for row in table]
    width = 10 ** rng.uniform(-3, -0.3)
    if kind == "constant":
        for _ in range(rng.choice((1, 1, 2))):
            row = rng.choice(new)
            _move(row, rng.randrange(len(row)), width, domain, rng)
    else:
        for row in rng.sample(new, 1 if kind == "row" else max(2, len(new) // 4)):
            for place in range(len(row)):
                _move(row, place, width if kind == "row" else 1.0, domain, rng)
    return new


@lru_cache
def seed_rows(task: str) -> int:
    return len(table_of((TASKS / task / "seed" / "program.py").read_text()))


def mended(table: Table, task: str, rng: random.Random) -> Table:
    """A table that lost rows, with rows like its own in their place."""
    rows = [list(row) for row in table]
    while len(rows) < seed_rows(task):
        row = list(rng.choice(rows))
        for place in range(len(row)):
            _move(row, place, 0.3, DOMAINS[task], rng)
        rows.append(row)
    return rows


def polished(table: Table, task: str, rng: random.Random) -> Table:
    """A (1+1) search of POLISH steps on the task's checker."""
    score = scorer(task)
    best, value = table, _value(score, table)
    for _ in range(POLISH):
        other = changed(best, rng.choice(("constant", "row")), task, rng)
        if (found := _value(score, other)) >= value:
            best, value = other, found
    return best


def _value(score: Callable[[Table], float], table: Table) -> float:
    try:
        return score(table)
    except ValueError:
        return float("-inf")


def _move(row: list[float], place: int, width: float, domain: Domain, rng: random.Random) -> None:
    if domain.signs:
        row[place] = -row[place] if rng.random() < 0.7 else row[place]
        return
    value = row[place] + rng.gauss(0, width) * (domain.high - domain.low) / 4
    row[place] = round(min(max(value, domain.low), domain.high), 6)
    if domain.simplex and (total := sum(row)) > 1:
        row[:] = [int(value / total * 1e6) / 1e6 for value in row]


# ---- the answer's text -----------------------------------------------------------------------------------------------


def spelled(program: str, before: Table, after: Table) -> tuple[str, str]:
    """The lines of the table that differ, widened until they are unique in the program, and what takes their place.

    A key-less copy may leave the whole table in a program twice: then lines around it are taken too."""
    match = _TABLE.search(program)
    assert match
    rows = match[1].splitlines(keepends=True)[1:-1]
    if len(rows) != len(before) or len(after) != len(before):
        return match[0], "TABLE = [\n" + "".join(_line(row) for row in after) + "]"
    lines = program.splitlines(keepends=True)
    top = len(program[: match.start(1)].splitlines())  # the line of the first row
    differ = [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b] or [0]
    first, last = top + differ[0], top + differ[-1]
    low, high = top, top + len(rows) - 1
    while program.count("".join(lines[first : last + 1])) > 1:
        if (first, last) == (low, high):
            low, high = 0, len(lines) - 1  # ends: the whole program is in it once
        first, last = max(first - 1, low), min(last + 1, high)
    new = [_line(after[i - top]) if i - top in differ else lines[i] for i in range(first, last + 1)]
    return "".join(lines[first : last + 1]), "".join(new)


def _line(row: list[float]) -> str:
    return "    [" + ", ".join(str(v) if isinstance(v, int) else f"{v:.6f}" for v in row) + "],\n"


def answer(program: str, old: str, new: str, form: str, applies: bool) -> str:
    """The edit in the form asked for."""
    idea = "move some of the numbers"
    end = "" if old.endswith("\n") else "\n"
    block = f"<<<<<<< SEARCH\n{old}{end}=======\n{new}{end}>>>>>>> REPLACE\n"
    whole = program.replace(old, new, 1) if applies else "def answer(:\n"
    if form == "tagged-diff":
        return f"<NAME>\nmove_numbers\n</NAME>\n\n<DESCRIPTION>\n{idea}\n</DESCRIPTION>\n\n<DIFF>\n{block}\n</DIFF>\n"
    if form == "tagged-full":
        code = f"```python\n{whole}```"
        return f"<NAME>\nmove_numbers\n</NAME>\n\n<DESCRIPTION>\n{idea}\n</DESCRIPTION>\n\n<CODE>\n{code}\n</CODE>\n"
    if form == "whole":
        return f"IDEA: {idea}\n\nprogram.py\n```\n{whole}```\n"
    return f"I {idea}.\n\n{block}"

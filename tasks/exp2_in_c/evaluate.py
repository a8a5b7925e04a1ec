"""Compiles the candidate's C, calls it at points it cannot know, and measures how far it is from 2**x."""

from __future__ import annotations

import math
import re

POINTS = 256
MOST_OPERATIONS = 20
BEST = 16.0
"""Digits beyond which a double cannot tell; also what an exact result counts."""

COMPILE = "cc -O1 -ffp-contract=off -w -x c - -x c approx.c -o /tmp/approx -lm && /tmp/approx"

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<name>[A-Za-z_]\w*)|(?P<sign>[-+*/=(){}\[\],;]))"
)
_ALLOWED = frozenset(("double", "static", "const", "return"))
_KEYWORD = re.compile(
    r"auto|break|case|char|continue|const|default|do|double|else|enum|extern|float|for|goto|if|inline|int|long|register|"
    r"restrict|return|short|signed|sizeof|static|struct|switch|typedef|union|unsigned|void|volatile|while|asm|typeof|_.*"
)


def evaluate(trial):
    source = trial.read("approx.c").decode("utf-8", "replace")
    if why := refusal(source):
        raise trial.Incorrect(why)
    points = [(i + trial.random.random()) / POINTS for i in range(POINTS)]
    outcome = trial.run(["/bin/sh", "-c", COMPILE], stdin=harness(points).encode())
    trial.fail(outcome)
    return {"digits": digits(points, outcome.stdout, trial.Incorrect)}


def refusal(source):
    """Why a source is outside the rules, or an empty string: one function of sums, differences, products and quotients
    (no call, branch, loop or directive), at most MOST_OPERATIONS of them."""
    text = _COMMENT.sub(" ", source)
    at, operations, before, defined = 0, 0, "", False
    while text[at:].strip():
        match = _TOKEN.match(text, at)
        if match is None:
            return (
                f"{text[at:].strip()[:20]!r} is not allowed: only double variables, constants, + - * / and return are"
            )
        token = match[match.lastgroup]
        if match.lastgroup == "name" and _KEYWORD.fullmatch(token) and token not in _ALLOWED:
            return f"{token!r} is not allowed: no branch, loop, other type or extension"
        if token == "(" and before[:1].isalpha() and before != "return":
            if defined or before != "approx":
                return f"{before!r} is called, or a second function: there is one, approx(), and it calls nothing"
            defined = True
        if token in "+-*/" and not (token in "+-" and before in ("", "(", "{", "[", ",", "=", "return", *"+-*/")):
            operations += 1
        at, before = match.end(), token
    if operations > MOST_OPERATIONS:
        return f"{operations} operations, at most {MOST_OPERATIONS}"
    return ""


def harness(points):
    values = ", ".join(repr(x) for x in points)
    return f"""
#include <stdio.h>
double approx(double);
static const double points[{POINTS}] = {{{values}}};
int main(void) {{
    for (int i = 0; i < {POINTS}; i++) printf("%.17g\\n", approx(points[i]));
    return 0;
}}
"""


def digits(points, text, Incorrect=ValueError):
    """-log10 of the root mean square error of the values printed, one a line."""
    lines = text.split()
    if len(lines) != len(points):
        raise Incorrect(f"{len(lines)} values came back for {len(points)} points")
    try:
        values = [float(line) for line in lines]
    except ValueError as error:
        raise Incorrect(f"a value is no number: {error}") from error
    if not all(math.isfinite(value) and abs(value) < 1e100 for value in values):
        raise Incorrect("a value is not finite")
    square = math.fsum((value - 2.0**x) ** 2 for x, value in zip(points, values, strict=True)) / len(points)
    return min(-math.log10(square) / 2, BEST) if square > 0 else BEST

"""The judge of exp2_in_c compiles with a main of its own, at points of its own, and computes the error itself."""

from __future__ import annotations

import math
import random
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.tasks.grading import Trial, Wrong, grader, seed

module = grader("exp2_in_c")
SEED = seed("exp2_in_c")["approx.c"]
BEST = b"""double approx(double x) {
    double u = 2.0 * x - 1.0;
    double v = u * u;
    return 1.41421364 + v * (0.0849313441 + v * 0.000854782724) + u * (0.490129086 + v * (0.00981170884 + v * 5.91993294e-05));
}
"""

compiled = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on the PATH")


def compile_and_run(source: bytes) -> object:
    def output(argv: Sequence[str], stdin: bytes) -> str:
        with tempfile.TemporaryDirectory() as place:
            Path(place, "approx.c").write_bytes(source)
            line = argv[-1].replace("/tmp/approx", str(Path(place, "approx")))
            done = subprocess.run(
                [*argv[:-1], line], cwd=place, input=stdin, capture_output=True, check=True, timeout=60
            )
        return done.stdout.decode()

    return output


def digits(source: bytes, number: int = 1) -> float:
    trial = Trial(number=number, files={"approx.c": source}, output=compile_and_run(source))  # type: ignore[arg-type]
    return float(module.evaluate(trial)["digits"])


@compiled
def test_the_seed_is_crude_and_the_best_of_its_form_is_not() -> None:
    assert 0.0 < digits(SEED) < 1.0
    assert digits(BEST) == pytest.approx(7.18, abs=0.05)
    assert digits(SEED, 1) != digits(SEED, 2) and abs(digits(SEED, 1) - digits(SEED, 2)) < 0.01


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (b"#include <math.h>\n", "'#include"),
        (b"double approx(double x) { return exp2(x); }", "'exp2' is called"),
        (b"double approx(double x) { return __builtin_exp2(x); }", "'__builtin_exp2' is not allowed"),
        (b"double approx(double x) { return approx(x); }", "'approx' is called"),
        (b"double f(double x) { return x; }", "'f' is called, or a second function"),
        (b"double approx(double x) { if (x) return 1; return 2; }", "'if' is not allowed"),
        (b"double approx(double x) { return x ? 1 : 2; }", "'? 1 : 2"),
        (b"int x; double approx(double x) { return x; }", "'int' is not allowed"),
        (b'double approx(double x) { return "a"[0]; }', "is not allowed"),
        (b"double approx(double x) { asm volatile; return 1; }", "'asm' is not allowed"),
        (b"double approx(double x) { return x" + b" + x" * 21 + b"; }", "21 operations, at most 20"),
    ],
)
def test_what_is_outside_the_rules_is_refused_before_it_is_compiled(source: bytes, words: str) -> None:
    with pytest.raises(Wrong, match=re.escape(words)):
        module.evaluate(Trial(files={"approx.c": source}))


def test_signs_are_no_operations_and_comments_no_code() -> None:
    signs = "double approx(double x) { double a = -1.0; double b[2] = {-0.5, (-2e-3)}; return -x * (-a); } /* if (x) */"
    assert module.refusal(signs) == "" and module.refusal(signs + " // exp(x)") == ""
    twenty = "double approx(double x) { return x" + " * x" * 20 + "; }"
    assert module.refusal(twenty) == ""


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1.0\n" * 255,
        "1.0\n" * 257,
        "1.0\n" * 255 + "nan\n",
        "1.0\n" * 255 + "inf\n",
        "one\n" * 256,
        "1e200\n" * 256,
    ],
)
def test_output_that_is_no_answer_is_refused(text: str) -> None:
    with pytest.raises(Wrong):
        module.digits([0.5] * 256, text, Wrong)


def test_digits_are_the_root_mean_square_error() -> None:
    points = [i / 256 for i in range(256)]
    off = "".join(f"{2.0**x + (-1) ** i * 1e-3!r}\n" for i, x in enumerate(points))
    assert module.digits(points, off) == pytest.approx(3.0)
    assert module.digits(points, "".join(f"{2.0**x!r}\n" for x in points)) == module.BEST


def test_points_are_fresh_and_cover_the_interval() -> None:
    seen: list[bytes] = []

    def output(argv: Sequence[str], stdin: bytes) -> str:
        seen.append(stdin)
        return "1.0\n" * 256

    for number in (1, 2):
        module.evaluate(Trial(number=number, files={"approx.c": SEED}, output=output))
    first, second = (
        [float(v) for v in re.findall(r"\d\.\d+(?:e-\d+)?", text.decode().split("points[256]")[1].split("}")[0])]
        for text in seen
    )
    assert first != second and len(first) == 256
    assert all(math.floor(256 * x) == i for i, x in enumerate(first))
    assert random.Random(1).random() / 256 == first[0]

"""Number literals of any text language: which are seen, how they are written back, how far they move."""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import statistics
import subprocess
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.mutators import numeric
from evolve.mutators.syntactic import mutate
from evolve.mutators.workpiece import Workpiece

C = b"""#include <stdio.h>
/* tuned for 32 rows */
#define TILE 64 // was 128
static const float SCALE = -0.5f;
static const unsigned SALT = 0x5f3759dfu;
int main(void) { double x = 1e-3, y = x-2.5; printf("%5.2f 77\\n", x * -3.0 + y); return TILE - 1; }
"""
CUDA = b"__global__ void k(float* a) { int i = blockIdx.x * 256 + threadIdx.x; a[i] *= 1.0625f; }\n"
TOML = b'# size 9\n[net]\nrate = -0.003\nlayers = 12\nname = "v1.2.3"\nday = 2026-01-02\nseeds = [1, 2, 3]\n'


def seen(path: str, text: bytes) -> list[str]:
    return [text[n.start : n.end].decode() for n in numeric.scan(path, text)]


def test_what_counts_as_a_number() -> None:
    assert seen("a.c", C) == ["64", "-0.5", "0x5f3759df", "1e-3", "2.5", "-3.0", "1"]
    assert seen("k.cu", CUDA) == ["256", "1.0625"]
    assert seen("a.toml", TOML) == ["-0.003", "12", "1", "2", "3"]
    assert seen("a.json", b'{"a": -1.5, "b": "3", "c": [10, 2e3]}') == ["-1.5", "10", "2e3"]
    assert seen("a.rs", b"let a: f64 = 1.5; let b = 0o17; let c = 1_000; let d = v2;") == ["1.5"]
    assert seen("Makefile", b"CFLAGS = -O2 -funroll-loops=4 # 3\n") == ["4"]
    assert seen("x.unknown", b"1.2.3 a1 1a .5 5. 007") == [".5", "5."]


@settings(max_examples=200, deadline=None)
@given(
    text=st.text(alphabet="0123456789.-+eExXfFuUlL#/*\"'\n aBc=([{,", max_size=80),
    suffix=st.sampled_from([".c", ".toml", ".json", ""]),
)
def test_any_text_is_read_without_error_and_in_order(text: str, suffix: str) -> None:
    content = text.encode()
    numbers = numeric.scan("f" + suffix, content)
    assert all(a.end <= b.start for a, b in itertools.pairwise(numbers))
    for number in numbers:
        literal = content[number.start : number.end]
        assert float(int(literal, 16) if number.kind == "hex" else float(literal)) == number.value


@settings(max_examples=200, deadline=None)
@given(value=st.floats(allow_nan=False, allow_infinity=False), change=st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_stays_a_float_literal(value: float, change: float) -> None:
    text = numeric.spell(value, change).decode()
    assert re.fullmatch(r"-?\d+(\.\d+)?(e[+-]?\d+)?", text) and ("." in text or "e" in text)
    assert text != "-0.0"


def test_digits_follow_the_step() -> None:
    """A coarse move leaves a short literal, a fine one keeps what it needs."""
    assert numeric.spell(0.31521837 + 0.1, 0.1) == b"0.415"
    assert numeric.spell(0.31521837 + 1e-6, 1e-6) == b"0.31521937"
    assert numeric.spell(2.0, 0.5) == b"2.0"
    assert numeric.spell(12345.678, 1000.0) == b"12346.0"


@pytest.mark.parametrize(("path", "text"), [("a.toml", TOML), ("a.json", b'{"a": -1.5, "b": [10, 2e3, 0.25]}')])
def test_mutated_data_still_parses_and_only_numbers_change(path: str, text: bytes) -> None:
    blank = re.compile(rb"-?(?<![\w.])\d+(\.\d+)?(e[+-]?\d+)?")
    for seed in range(100):
        made = mutate({path: text}, "improve", random.Random(seed), 3.0)
        content = made.files[path]
        assert content != text and made.kind == "constant"
        tomllib.loads(content.decode()) if path.endswith("toml") else json.loads(content)
        assert blank.sub(b"N", content) == blank.sub(b"N", text)


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler on the PATH")
def test_mutated_c_still_compiles(tmp_path: Path) -> None:
    for seed in range(6):
        made = mutate({"a.c": C}, "improve", random.Random(seed), 3.0)
        source = tmp_path / f"{seed}.c"
        source.write_bytes(made.files["a.c"])
        done = subprocess.run(["cc", "-fsyntax-only", source], capture_output=True, text=True, check=False)
        assert done.returncode == 0, made.files["a.c"].decode() + done.stderr


def test_a_minus_is_part_of_the_number_only_where_it_is_a_sign() -> None:
    values = {
        "a - 2.0": 2.0,
        "a-2.0": 2.0,
        "a * -2.0": -2.0,
        "return -2.0;": -2.0,
        "f(-2.0)": -2.0,
        "= -2.0": -2.0,
        ")-2.0": 2.0,
    }
    for text, value in values.items():
        (number,) = numeric.scan("a.c", text.encode())
        assert number.value == value, text


def test_a_negative_value_never_meets_an_operator() -> None:
    """`x - 2.0` must not become `x --1.0` in C."""
    rng = random.Random(3)
    (number,) = numeric.scan("a.c", b"y = x - 2.0;")
    assert {number.moved(-4.0, rng), number.moved(-5.0, rng)} == {b"(-6.0)", b"(-8.0)"}
    (python,) = [n for n in Workpiece.of("a.py", b"y = x - 2.0\n").numbers]
    assert python.moved(-4.0, rng) == b"(-6.0)"


def test_whole_numbers_move_by_at_least_one_and_hex_by_a_bit() -> None:
    rng = random.Random(1)
    (whole,) = numeric.scan("a.c", b"x = 1000;")
    assert {whole.moved(1e-9, rng), whole.moved(-1e-9, rng)} == {b"1001", b"999"}
    (salt,) = numeric.scan("a.c", b"x = 0xff;")
    flips = {int(salt.moved(0.1, rng), 16) ^ 0xFF for _ in range(200)}
    assert flips == {1 << bit for bit in range(8)}


def test_a_table_gives_the_scale_of_its_columns_and_rows_move_together() -> None:
    rows = b"T = [\n" + b"".join(b"    (%d.0, 0.00%d),\n" % (1000 * i, i) for i in range(1, 9)) + b"]\n"
    piece = Workpiece.of("t.py", rows)
    assert len({n.row for n in piece.numbers}) == 8 and {n.table for n in piece.numbers} == {piece.numbers[0].table}
    big, small = piece.numbers[0].scale, piece.numbers[1].scale
    assert big == pytest.approx(statistics.pstdev(1000.0 * i for i in range(1, 9)))
    assert small == pytest.approx(statistics.pstdev(0.001 * i for i in range(1, 9)))
    together = [numeric.choose(piece.numbers, random.Random(s)) for s in range(200)]
    assert sum(len(c) == 2 and c[0].row == c[1].row for c in together) > 120


def test_how_many_numbers_move_is_heavy_tailed() -> None:
    numbers = Workpiece.of("t.py", b"T = [" + b", ".join(b"%d.5" % i for i in range(40)) + b"]\n").numbers
    counts = [len(numeric.choose(numbers, random.Random(s))) for s in range(1000)]
    assert 400 < sum(c == 1 for c in counts) < 800 and sum(c > 8 for c in counts) > 10


def test_the_step_is_read_back_from_an_idea() -> None:
    for step in (3.0, 0.013, 1e-9, 1.5e-05):
        made = mutate({"a.toml": TOML}, "improve", random.Random(1), step)
        assert numeric.step_of(made.words) == pytest.approx(step, rel=0.01)
    assert numeric.step_of("a step back") is None and numeric.step_of("") is None

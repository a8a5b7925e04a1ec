"""The judge of circle_packing decides exactly; its seed is honest: direct, poor, and no better than its literals."""

from __future__ import annotations

import ast
import math
import multiprocessing
import random
import resource
import time
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evolve.mutators.random_search import redraw
from tests.tasks.grading import Trial, Wrong, grader, run, seed, task

judge = grader("circle_packing").judge
ULP = 2.0**-53


def grid() -> list[list[float]]:
    """A 6 x 5 grid, 26 of its places, radius 1/12: neighbours in a row touch, the outer ones the border."""
    places = [((2 * i + 1) / 12, (2 * j + 1) / 10) for j in range(5) for i in range(6)]
    return [[x, y, 1 / 16] for x, y in places[:26]]


def exact() -> list[list[float]]:
    """Numbers of few bits: 26 circles of radius 1/16 in columns 1/8 apart, so that tangency is exact."""
    places = [((2 * i + 1) / 16, (2 * j + 1) / 16) for j in range(8) for i in range(8)]
    return [[x, y, 1 / 16] for x, y in places[:26]]


def test_exact_tangency_with_each_other_and_the_border_is_accepted() -> None:
    assert judge(exact()) == 26 / 16


@pytest.mark.parametrize(
    ("number", "place", "value"),
    [
        (0, 2, 1 / 16 + 1 / 16 * ULP * 2),  # one ulp larger: leaves the square and overlaps
        (9, 2, math.nextafter(1 / 16, 1)),  # overlaps its four neighbours by one ulp
        (9, 0, math.nextafter(3 / 16, 0)),  # moved by one ulp towards a neighbour
        (0, 0, math.nextafter(1 / 16, 0)),  # moved by one ulp out of the square
        (7, 0, math.nextafter(15 / 16, 1)),
        (25, 2, 0.0),
        (25, 2, -0.0),
        (25, 2, -1 / 16),
        (25, 2, 5e-324 * -1),
        (3, 1, math.nan),
        (3, 0, math.inf),
        (3, 2, -math.inf),
        (3, 2, 10**400),
        (3, 0, "0.5"),
        (3, 0, None),
        (3, 0, True),
        (3, 0, [0.5]),
        (3, 0, 1e300),
    ],
)
def test_a_packing_that_is_off_by_the_least_is_refused(number: int, place: int, value: Any) -> None:
    circles: list[list[Any]] = exact()
    circles[number][place] = value
    with pytest.raises(Wrong):
        judge(circles, Wrong)


@pytest.mark.parametrize(
    "answer",
    [None, 3, "circles", {}, [], exact()[:25], [*exact(), [0.9, 0.9, 0.01]], [[*c, 0] for c in exact()], [c[:2] for c in exact()],
     [tuple(c) for c in exact()]],
)  # fmt: skip
def test_what_is_no_list_of_26_triples_is_refused(answer: Any) -> None:
    with pytest.raises(Wrong):
        judge(answer, Wrong)


def test_a_circle_inside_another_or_twice_the_same_is_refused() -> None:
    for circle in (exact()[9], [3 / 16, 3 / 16, 1e-9], [3 / 16, 3 / 16, 5e-324]):
        circles = exact()
        circles[25] = circle
        with pytest.raises(Wrong, match="overlap"):
            judge(circles, Wrong)


def test_tiny_and_whole_numbers_are_numbers() -> None:
    circles: list[list[Any]] = [[x, y, 5e-324] for x, y, _ in exact()]
    assert judge(circles) == 26 * 5e-324
    circles = [[x / 4 + 0.7, y / 4 + 0.7, 1e-3] for x, y, _ in exact()]
    circles[0] = [0.25, 0.25, 0.25]
    assert judge(circles) == pytest.approx(0.275)
    circles[0] = [1, 1, 0.1]
    with pytest.raises(Wrong, match="leaves"):
        judge(circles, Wrong)


_coordinate = st.one_of(st.floats(0.01, 0.99), st.integers(1, 63).map(lambda n: n / 64))


@settings(max_examples=150, deadline=None)
@given(
    x=_coordinate, y=_coordinate, u=_coordinate, v=_coordinate, r=st.floats(1e-6, 0.01),
    nudge=st.integers(-3, 3), tiny=st.booleans(),
)  # fmt: skip
def test_the_fast_path_decides_as_rationals_do(
    x: float, y: float, u: float, v: float, r: float, nudge: int, tiny: bool
) -> None:
    """Two circles at the brink: the second one's radius is what is left, give or take three ulps."""
    apart, inside = grader("circle_packing")._apart, grader("circle_packing")._inside
    s = math.hypot(x - u, y - v) - r
    for _ in range(abs(nudge)):
        s = math.nextafter(s, math.copysign(math.inf, nudge))
    if tiny:
        x, y, u, v, r, s = (value * 1e-160 for value in (x, y, u, v, r, s))
    a, b, c, d, e, f = (Fraction(value) for value in (x, y, u, v, r, s))
    assert apart((x, y, r), (u, v, s)) == ((a - c) ** 2 + (b - d) ** 2 >= (e + f) ** 2)
    edge = 1.0 - x
    for _ in range(abs(nudge)):
        edge = math.nextafter(edge, math.copysign(math.inf, nudge))
    wanted = (
        Fraction(edge) + Fraction(x) <= 1 and Fraction(edge) <= Fraction(x) and edge <= y and Fraction(edge) + b <= 1
    )
    if not tiny:
        assert inside(x, y, edge) == wanted


def test_a_check_takes_less_than_2_ms() -> None:
    """Asserted at a third of that speed; the tangencies of `exact` are the slow ones."""
    for circles in (exact(), grid()):
        began = time.process_time()
        for _ in range(50):
            judge(circles)
        assert (time.process_time() - began) / 50 < 6e-3


# ---- the seed --------------------------------------------------------------------------------------------------------


def answer() -> list[list[float]]:
    return [list(circle) for circle in run(seed("circle_packing"), "program.py:pack")]


def test_the_seed_scores_below_one() -> None:
    module = grader("circle_packing")
    found = module.evaluate(Trial(answer()))
    assert set(found) == {m.name for m in task("circle_packing").evaluate.metrics}
    assert 0.9 < found["sum_radii"] < 1.0


def test_the_seed_constructs_its_circles_directly() -> None:
    """No loop that repeats until something, no random numbers, no optimiser: only `math`, and loops over the circles."""
    tree = ast.parse(seed("circle_packing")["program.py"])
    imports = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert imports == ["math"] and not any(isinstance(node, ast.ImportFrom | ast.While) for node in ast.walk(tree))
    loops = [node for node in ast.walk(tree) if isinstance(node, ast.For)]
    assert all("range" not in ast.dump(loop.iter) for loop in loops)
    centres = [(x, y) for x, y, _ in answer()]
    assert len({round(x, 3) for x, _ in centres}) == 6 and len({round(y, 3) for _, y in centres}) == 5  # a plain grid


def _score(source: bytes) -> float:
    """A redrawn seed's score, 0.0 where it fails; called in a child process with limits."""
    space: dict[str, Any] = {}
    try:
        exec(compile(source, "program.py", "exec"), space)
        return float(judge([list(circle) for circle in space["pack"]()], Wrong))
    except (Wrong, ArithmeticError, ValueError, TypeError, AssertionError):
        return 0.0


def _limit() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
    resource.setrlimit(resource.RLIMIT_AS, (2 << 30, 2 << 30))


def _redrawn(number: int) -> float:
    files = seed("circle_packing")
    best = 0.0
    for step in range(1000):
        content = redraw(files, random.Random(number * 1000 + step)).get("program.py")
        best = max(best, _score(content) if content else 0.0)
    return best


def _anywhere(number: int) -> float:
    """All the centres anew, anywhere in the square."""
    rng = random.Random(number)
    source = seed("circle_packing")["program.py"]
    start, end = source.index(b"CENTRES = ["), source.index(b"]\n") + 2
    best = 0.0
    for _ in range(1000):
        rows = b"".join(b"(%r, %r)," % (rng.random(), rng.random()) for _ in range(26))
        best = max(best, _score(source[:start] + b"CENTRES = [" + rows + b"]\n" + source[end:]))
    return best


def test_random_replacement_of_its_literals_stays_below_1_9() -> None:
    """2,000 draws as the control makes them, around their values, and 1,000 with every centre anywhere in the square."""
    with multiprocessing.get_context("spawn").Pool(2, _limit) as pool:
        around = pool.map_async(_redrawn, range(2))
        anywhere = pool.map_async(_anywhere, range(1))
        best = max(around.get(240) + anywhere.get(240))
    assert 0.96 < best < 1.9

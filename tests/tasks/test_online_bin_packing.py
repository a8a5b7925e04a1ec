"""The judge of online_bin_packing packs fresh lists itself; the rule is a table and never sees one."""

from __future__ import annotations

import math
import random
import statistics
import time
from typing import Any

import pytest

from tests.tasks.grading import Trial, Wrong, grader, run, seed

module = grader("online_bin_packing")
CAPACITY = module.CAPACITY


def table(rule: str) -> Any:
    files = {
        **seed("online_bin_packing"),
        "heuristic.py": f"def priority(item, free, capacity):\n    return {rule}\n".encode(),
    }
    return run(files, "table.py:table", CAPACITY)


def excess(answer: Any, number: int = 1) -> float:
    return float(module.evaluate(Trial(answer, number))["excess"])


def by_hand(sizes: list[int], key: Any) -> int:
    """Bins used when each item goes to the open or empty bin with the highest priority; bins held one by one."""
    bins: list[int] = []
    for size in sizes:
        options = [(key(size, free), -free, number) for number, free in enumerate(bins) if free >= size]
        options.append((key(size, CAPACITY), -CAPACITY, -1))
        number = max(options, key=lambda option: option[:2])[2]
        if number < 0:
            bins.append(CAPACITY - size)
        else:
            bins[number] -= size
    return len(bins)


@pytest.mark.parametrize(
    "rule", ["-free", "free", "(free - item) ** 2", "0", "-abs(free - item - 20)", "item % (free + 1)"]
)
def test_packing_by_classes_is_packing_bin_by_bin(rule: str) -> None:
    orders = module.preferences(table(rule))
    key = eval(f"lambda item, free: {rule}")
    for number in range(3):
        sizes = module.items(random.Random(number))[:300]
        least = math.ceil(sum(sizes) / CAPACITY)
        assert module.pack(orders, sizes) == pytest.approx(100 * (by_hand(sizes, key) - least) / least)


def test_sizes_are_those_of_the_stated_distribution() -> None:
    sizes = [size for number in range(20) for size in module.items(random.Random(number))]
    assert min(sizes) >= 1 and max(sizes) <= CAPACITY and all(type(size) is int for size in sizes)
    assert statistics.mean(sizes) == pytest.approx(45 * math.gamma(1 + 1 / 3), rel=0.01)


def test_the_seed_is_best_fit_and_others_are_worse() -> None:
    best_fit = excess(run(seed("online_bin_packing"), "table.py:table", CAPACITY))
    assert 4.0 < best_fit < 5.2
    assert best_fit == excess(table("-free"))
    assert excess(table("free")) > 100 and excess(table("free if free < capacity else -1")) > best_fit + 3


def test_one_block_has_one_set_of_lists_and_another_block_another() -> None:
    answer = table("-free")
    assert excess(answer, 7) == excess(answer, 7) != excess(answer, 8)


def test_the_noise_is_small_against_what_there_is_to_gain() -> None:
    values = [excess(table("-free"), number) for number in range(8)]
    assert statistics.stdev(values) < 0.2
    better = (
        "10 - free + item if free - item < 2 else (free - item) / 100 if 20 < free - item and free < capacity else -1"
    )
    assert excess(table(better)) < statistics.mean(values) - 0.5


def test_a_rule_without_a_value_wants_nothing() -> None:
    rows = table("1 / (free - item)")
    assert rows[5][5] == -1e300 and rows[5][6] == 1.0
    assert table("float('nan')")[3][9] == table("10.0 ** (free * item)")[90][95] == -1e300


@pytest.mark.parametrize(
    "spoil",
    [
        lambda t: None,
        lambda t: t[:-1],
        lambda t: [*t[:50], t[50][:-1], *t[51:]],
        lambda t: [*t[:50], "x" * (CAPACITY + 1), *t[51:]],
        lambda t: [*t[:50], [*t[50][:-1], "9"], *t[51:]],
        lambda t: [*t[:50], [*t[50][:-1], True], *t[51:]],
        lambda t: [*t[:50], [*t[50][:-1], None], *t[51:]],
    ],
)
def test_what_is_no_table_is_refused(spoil: Any) -> None:
    with pytest.raises(Wrong):
        module.evaluate(Trial(spoil(table("-free"))))


def test_a_measurement_is_far_under_a_second() -> None:
    answer = table("-free")
    began = time.process_time()
    for number in range(5):
        excess(answer, number)
    assert (time.process_time() - began) / 5 < 0.2

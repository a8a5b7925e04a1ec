"""Sittings of training runs: which card runs what, and what an earlier sitting leaves to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def sitting(monkeypatch: pytest.MonkeyPatch) -> Any:
    pytest.importorskip("numpy")
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    import training_sitting

    return training_sitting


def line(sitting: Any, variant: str, block: int, card: str, failure: str | None = None) -> dict[str, Any]:
    source = sitting.common.digest("30s", variant)
    return {"kind": "30s", "variant": variant, "source": source, "block": block, "card": card, "failure": failure}


def given(plan: Any, card: str) -> list[tuple[int, list[str]]]:
    return [(block, plan.left(unit, block, card)) for unit, block in plan.blocks(card)]


def test_two_cards_share_whole_blocks(sitting: Any, tmp_path: Path) -> None:
    unit = sitting.Unit.parse("30s:0-3:seed,pairs")
    first = sitting.Plan([unit], [], ["a", "b"], tmp_path / "claims")
    second = sitting.Plan([unit], [], ["a", "b"], tmp_path / "claims")
    turns = [next(first.blocks("a")), next(second.blocks("b"))]
    rest = [*first.blocks("a"), *second.blocks("b")]
    assert sorted(block for _, block in (*turns, *rest)) == [0, 1, 2, 3], "each block once"
    assert first.left(unit, 0, "a") == ["seed", "pairs"] and first.left(unit, 1, "a") == ["pairs", "seed"], (
        "the order turns"
    )


def test_a_block_goes_on_where_it_stopped_on_its_own_card(sitting: Any, tmp_path: Path) -> None:
    unit = sitting.Unit.parse("30s:0-2:seed,pairs,shift")
    lines = [line(sitting, "seed", 0, "a"), line(sitting, "pairs", 0, "a"), line(sitting, "seed", 1, "gone")]
    assert given(sitting.Plan([unit], lines, ["a", "b"], tmp_path / "b"), "b")[0] == (1, ["pairs", "shift", "seed"]), (
        "a block of a card that is not here begins anew, and that of the other card is left to it"
    )
    assert given(sitting.Plan([unit], lines, ["a", "b"], tmp_path / "a"), "a")[0] == (0, ["shift"]), (
        "its own comes first"
    )


def test_a_program_that_fails_is_tried_twice(sitting: Any, tmp_path: Path) -> None:
    unit = sitting.Unit.parse("30s:0:seed,pairs")
    failed = line(sitting, "seed", 0, "a", "it broke")
    assert given(sitting.Plan([unit], [failed], ["a"], tmp_path / "1"), "a") == [(0, ["seed", "pairs"])]
    assert given(sitting.Plan([unit], [failed, failed], ["a"], tmp_path / "2"), "a") == [(0, ["pairs"])]


def test_a_unit_that_means_nothing_is_refused(sitting: Any) -> None:
    with pytest.raises(ValueError, match="the kinds are"):
        sitting.Unit.parse("31s:0:seed")
    with pytest.raises(KeyError):
        sitting.Unit.parse("30s:0:luck")


def test_cards_have_cores_of_their_own(sitting: Any) -> None:
    assert sitting.shares(list(range(32)), 2) == ["0-15", "16-31"]
    assert sitting.shares([0, 1], 2) == ["", ""]

"""The merit factor, in whole numbers, of sequences whose value is known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tasks.grading import Trial, Wrong, grader, run, seed

module = grader("low_autocorrelation")


def test_known_values(monkeypatch: pytest.MonkeyPatch) -> None:
    """Barker sequences of length 13 and 11 have the merit factors 14.08 and 12.1 (Golay 1972)."""
    for signs, merit in (("+++++--++-+-+", 169 / 12), ("+++---+--+-", 121 / 10)):
        monkeypatch.setattr(module, "LENGTH", len(signs))
        assert module.merit(signs) == pytest.approx(merit)
        assert module.merit(signs[::-1]) == module.merit(signs)


def test_the_seed_is_poor() -> None:
    answer = run(seed("low_autocorrelation"), "sequence.py:sequence")
    assert module.evaluate(Trial(answer)) == {"merit": pytest.approx(0.024, abs=0.001)}


@pytest.mark.parametrize(
    "answer", [None, 5, "+" * 63, "+" * 65, "+" * 63 + "0", ["+"] * 64, "+" * 63 + "\n", {"+": 64}]
)
def test_what_is_no_sequence_is_refused(answer: Any) -> None:
    with pytest.raises(Wrong):
        module.merit(answer, Wrong)

"""Lines that come back, and novelty by an embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from evolve.errors import UsageError
from evolve.mutators import Desk
from evolve.mutators.prompting import build
from evolve.population.brief import Brief, Proposal
from evolve.population.embedding import EmbeddedNovelty, Embedder, load
from evolve.returning import deleted
from tests.search.scene import Climb, make_repository, open_toy, run_toy


class Rewriter(Climb):
    """Waits as a model does; replaces its own comment line each time, so that the old one is gone."""

    latency = True

    def __init__(self) -> None:
        self.hints: list[str] = []
        self.prompts: list[str] = []

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        self.hints.append(str(brief.hint.get("returning", "")))
        self.prompts.append(build(brief, desk)[0].text())
        lines = desk.files(brief.parents[0])["program.py"].decode().splitlines()
        kept = [line for line in lines if not line.startswith("STRATEGY")]
        kept[0] = f"X = {float(kept[0][4:]) + brief.number:.1f}"
        return Proposal(
            {"program.py": "\n".join([*kept, f"STRATEGY_{brief.number} = 'ignore'", ""]).encode()}, "rewrite", "m/whole"
        )


def test_what_the_lineage_deleted_is_noted_to_the_mutator(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Rewriter()
    run_toy(place, evaluations=25, mutator=mutator, policy={"opening": 2})
    told = [hint for hint in mutator.hints if hint]
    assert told and all(line.startswith("STRATEGY_") for hint in told for line in hint.splitlines())
    shown = next(prompt for prompt, hint in zip(mutator.prompts, mutator.hints, strict=True) if hint)
    assert "# Lines that were removed before" in shown
    off = Rewriter()
    run_toy(make_repository(tmp_path / "off"), evaluations=10, mutator=off, policy={"opening": 2, "returning": "off"})
    assert not any(off.hints)


def test_a_moved_line_is_not_deleted_and_short_ones_say_nothing() -> None:
    before = {"a.py": b"def compute(x):\n    return x + 12345\n}\n", "b.py": b"import mathematics\n"}
    after = {"a.py": b"import mathematics\ndef compute(x):\n    return x + 54321\n"}
    assert deleted(before, after) == ["return x + 12345"]


class Letters:
    """Counts letters: enough to tell programs apart in a test."""

    name = "letters"

    def __init__(self) -> None:
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        self.texts += texts
        return np.array([[float(text.count(chr(97 + k))) for k in range(26)] for text in texts])


def test_an_embedder_takes_the_place_of_the_fingerprints(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session = open_toy(place, evaluations=25, policy={"climb": 0})  # a climb takes the best and asks no novelty
    embedder = session.search.embedder = Letters()
    asyncio.run(session.run())
    assert any("def value" in text for text in embedder.texts)
    novelty = session.search.asker.population("toy").novelty
    assert isinstance(novelty, EmbeddedNovelty) and all(0 <= value <= 1 for value in novelty.values())


def test_its_distances_are_cosines_of_the_nearest() -> None:
    assert isinstance(Letters(), Embedder)
    found = EmbeddedNovelty(Letters(), {"1": "aaaa", "2": "aa", "3": "bbbb"})
    assert found["1"] == pytest.approx(0.25) and found["3"] == pytest.approx(0.5)
    assert dict(EmbeddedNovelty(Letters(), {"1": "x"})) == {"1": 1.0}

    class Flat(Letters):
        def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
            return np.zeros(3)

    with pytest.raises(ValueError, match="gave shape"):
        EmbeddedNovelty(Flat(), {"1": "x", "2": "y"})["1"]


def test_one_that_is_not_installed_is_named() -> None:
    assert load("") is None
    with pytest.raises(UsageError, match=r"unknown embedder 'bert'.*evolve\.embedders"):
        load("bert")

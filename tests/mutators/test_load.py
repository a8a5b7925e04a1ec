"""Mutators by name, ours and those of an installed distribution."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from evolve.errors import UsageError
from evolve.mutators import load

MODULE = """
from dataclasses import dataclass
from evolve.population.brief import Proposal

@dataclass
class Still:
    name: str = "still"
    operators: tuple = ("improve",)
    latency: bool = False
    async def propose(self, brief, desk):
        return Proposal(stillborn="never moves")

def make():
    return Still(name="made")

ready = Still(name="ready")
nothing = 3
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A distribution as pip lays it out, on sys.path."""
    (tmp_path / "still_mutator.py").write_text(MODULE)
    info = tmp_path / "still_mutator-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: still-mutator\nVersion: 1.0\n")
    names = {"still": "Still", "made": "make", "ready": "ready", "nothing": "nothing"}
    lines = "".join(f"{name} = still_mutator:{what}\n" for name, what in names.items())
    (info / "entry_points.txt").write_text(f"[evolve.mutators]\n{lines}")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "still_mutator", raising=False)


def test_ours_by_name() -> None:
    assert [m.name for m in load(["syntactic", "random-search"])] == ["syntactic", "random-search"]


def test_others_by_entry_point_as_class_function_or_object(distribution: None) -> None:
    assert [m.name for m in load(["still", "made", "syntactic", "ready"])] == ["still", "made", "syntactic", "ready"]


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["sintactic"], "unknown mutator 'sintactic'; known: syntactic"),
        (["nothing"], "mutator 'nothing' is a int without name"),
        (["syntactic", "syntactic"], "given twice"),
    ],
)
def test_what_cannot_be_loaded_says_why(distribution: None, names: list[str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        load(names)

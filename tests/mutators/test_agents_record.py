"""A profile counts where the record holds a real run of its real command line, and docs and profiles say no more."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.agents import real
from evolve.mutators import leash
from evolve.mutators.profiles import PROFILES
from tests.mutators.agents import BRAINS

ROOT = Path(__file__).parents[2]
ROWS = real.read()


def test_profiles_name_the_versions_on_record() -> None:
    assert {name: row["version"] for name, row in ROWS.items()} == {
        p.name: p.tested for p in PROFILES.values() if p.tested
    }
    assert {name: row["package"] for name, row in ROWS.items()} == {name: PROFILES[name].package for name in ROWS}
    assert set(BRAINS) == set(PROFILES), "each profile can be tried"


@pytest.mark.parametrize("name", sorted(ROWS))
def test_each_edit_on_record_was_judged_and_taken(name: str) -> None:
    row = ROWS[name]
    assert real.accepted(row) and row["status"] == "scored" and row["bins"] < row["origin"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", row["date"]) and re.fullmatch(r"[0-9a-f]{40}", row["commit"])
    assert 0 < row["money"] < real.MONEY and 0 < row["agent_seconds"] < real.SECONDS


@pytest.mark.parametrize(
    "change",
    [{"status": "invalid"}, {"champion": False}, {"sandbox": ["bare"]}, {"sandbox": []}, {"leaks": ["agent"]}, {"keyed": 0}, {"requests": 0},
     {"transcript": 0}, {"answers": ["timeout"]}],
    ids=str,
)  # fmt: skip
def test_less_is_not_accepted(change: dict[str, object]) -> None:
    assert ROWS and not real.accepted(next(iter(ROWS.values())) | change)


def test_docs_list_what_is_on_record() -> None:
    text = (ROOT / "docs/mutators.md").read_text(encoding="utf-8").split("## Coding agents")[1]
    listed = {
        m[1]: (m[2], m[3])
        for m in re.finditer(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", text, re.MULTILINE)
    }
    expected = {
        name: (ROWS[name]["version"], ROWS[name]["date"]) if name in ROWS else ("untested", "") for name in PROFILES
    }
    assert {name: tuple(word.strip() for word in words) for name, words in listed.items()} == expected


def test_the_record_names_no_place() -> None:
    text = real.RESULTS.read_text(encoding="utf-8")
    assert not re.search(r"/(?:tmp|home|root|work|usr)\b|\d+\.\d+\.\d+\.\d+", text)


@pytest.mark.parametrize("leaky", [True, False])
def test_the_watch_sees_a_key_that_leaks(leaky: bool) -> None:
    outside = {"KEPT": "nothing"} | ({"API_KEY": real.KEY} if leaky else {})
    with real.Watch() as watch:
        subprocess.run(
            [sys.executable, "-I", leash.__file__, "20", sys.executable, "-c", "import time; time.sleep(0.7)"],
            env=os.environ | outside, check=True,
        )  # fmt: skip
    assert len(watch.seen) >= 2 and watch.leaked is leaky

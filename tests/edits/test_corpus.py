"""Every case of the corpus, and that the corpus is what its generator makes."""

from __future__ import annotations

import fnmatch
import json
import re
from pathlib import Path
from typing import Any

import pytest

from evolve.edits import REASONS, Applied, Rejected, Tier, apply
from tests.edits import generate

CASES: list[dict[str, Any]] = [
    json.loads(line)
    for path in sorted(generate.CORPUS.glob("*.jsonl"))
    for line in path.read_text(encoding="utf-8").split("\n")
    if line
]


def outcome(case: dict[str, Any]) -> Applied | Rejected:
    editable = case.get("editable")
    may_edit = (lambda path: any(fnmatch.fnmatchcase(path, p) for p in editable)) if editable else None
    files = {path: text.encode() for path, text in case["files"].items()}
    return apply(case["answer"], files, calls=case.get("calls", ()), may_edit=may_edit)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(case: dict[str, Any]) -> None:
    got, want = outcome(case), case["expect"]
    if "rejected" in want:
        assert isinstance(got, Rejected), got
        assert got.reason == want["rejected"] and got.reason in REASONS, got.for_model
        assert len(got.for_model) > 20
        return
    assert isinstance(got, Applied), got
    files = {path: None if content is None else content.decode() for path, content in got.files.items()}
    assert files == want["files"]
    assert (got.tier.name.lower(), got.format.value) == (want["tier"], want["format"])


def test_the_corpus_is_large_and_what_its_generator_makes(tmp_path: Path) -> None:
    generate.write(tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {
        p.name: p.read_bytes() for p in generate.CORPUS.iterdir()
    }
    assert len(CASES) >= 150
    refused = [case for case in CASES if "rejected" in case["expect"]]
    assert len(refused) >= 50 and {case["expect"]["rejected"] for case in refused} >= {"ambiguous", "path", "protected"}


def test_a_tier_is_never_reported_better_than_it_was() -> None:
    """Where a lower tier was needed, the text as the model wrote it is not in the file."""
    for case in CASES:
        got = outcome(case)
        if (
            isinstance(got, Applied)
            and got.tier is Tier.EXACT
            and case["name"].startswith("sr/")
            and "SEARCH" in case["answer"]
        ):
            answer = case["answer"].replace("\r\n", "\n")
            searched = re.split(r"\n={5,9}\n", answer.split("SEARCH", 1)[1].split("\n", 1)[1])[0]
            text = "\n".join(case["files"].values()).replace("\r\n", "\n")
            assert searched.strip("\n=") in text or "indented" in case["name"] or searched.startswith("="), case["name"]

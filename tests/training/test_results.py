"""docs/results/training.md is what the committed raw lines give; the report says of made-up lines what they hold."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_the_results_page_is_made_from_the_raw_lines() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/training/report.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, f"run: python benchmarks/training/report.py\n{made.stderr[-2000:]}"


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "training"))
    import report

    return report


def line(kind: str, variant: str, block: int, loss: float, seconds: float, card: str = "one") -> dict[str, Any]:
    names = ("val_bpb", "holdout_bpb") if kind == "30s" else ("val_loss", "holdout_loss")
    metrics = {names[0]: loss, names[1]: loss + 0.01, "seconds": seconds, "tokens_m": 20.0}
    return {"kind": kind, "variant": variant, "source": variant, "block": block, "card": card, "failure": None,
            "metrics": metrics, "cache": "own", "time": 100 * block, "wall": seconds + 10, "facts": {"gpu": {}}}  # fmt: skip


def test_pairs_never_cross_cards(report: Any) -> None:
    lines = [line("30s", "seed", 0, 1.34, 29.0), line("30s", "pairs", 0, 1.32, 29.0), line("30s", "pairs", 1, 1.3, 29.0),
             line("30s", "seed", 1, 1.34, 29.0, card="two")]  # fmt: skip
    assert {variant: len(found) for variant, found in report.pairs(lines, "30s").items()} == {("seed", "pairs"): 1}


def test_a_block_run_again_with_a_newer_seed_makes_pairs_of_its_own(report: Any) -> None:
    old = [line("30s", "seed", 0, 1.34, 29.0), line("30s", "pairs", 0, 1.32, 29.0)]
    new = [
        {**line("30s", "pairs", 0, 1.30, 29.0), "time": 9000},
        {**line("30s", "seed", 0, 1.31, 29.0), "time": 9050, "source": "newer"},
    ]
    found = report.pairs([*old, *new], "30s")
    assert {key: [base["source"] for _, base in those] for key, those in found.items()} == {
        ("seed", "pairs"): ["seed"], ("newer", "pairs"): ["newer"]}  # fmt: skip


def test_a_faster_change_counts_only_where_its_loss_holds_the_target(report: Any) -> None:
    noise = (0.001, -0.001, 0.0005, -0.0005, 0.0)
    lines = [line("mini", "seed", 10 + i, 3.9 + 2 * e, 9.0 + e) for i, e in enumerate(noise)]
    for block, e in enumerate(noise):
        lines += [line("mini", "seed", block, 3.9 + e, 9.0 + e), line("mini", "good", block, 3.899 - e, 8.5 - e),
                  line("mini", "hasty", block, 3.95 + e, 8.0 - e), line("mini", "slow", block, 3.89, 9.1 + e)]  # fmt: skip
    text = report.mini(lines)
    assert "Target from 10 runs" in text
    verdicts = {
        row.split("|")[1].strip(): row.split("|")[-2].strip() for row in text.splitlines() if row.startswith("| ")
    }
    assert verdicts["good"] == "counts"
    assert verdicts["hasty"] == "refused: the loss" and verdicts["slow"] == "refused: not faster beyond the noise"

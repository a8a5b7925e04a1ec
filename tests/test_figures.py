"""The page of recorded figures says what the benchmarks left, and nothing else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_page_of_figures_is_current() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/figures.py"], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (ROOT / "docs/results/figures.md").read_text() == done.stdout, "run python benchmarks/figures.py > docs/results/figures.md"

"""docs/results/kernels.md is what the committed raw lines give."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_results_page_is_made_from_the_raw_lines() -> None:
    made = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/kernels/results.py"), "--check"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert made.returncode == 0, f"run: python benchmarks/kernels/results.py\n{made.stderr[-2000:]}"

"""The short form of benchmarks/resume/kills.py: uniform kills over wall time, every time the same command again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks/resume/kills.py"


def test_kills_lose_nothing() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "3", "--each", "3", "--most", "5", "--seed", "4"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    row = json.loads(done.stdout.splitlines()[-1])
    assert row["kills"] == 3 and row["lost"] == 0 and row["measured_twice"] == 0

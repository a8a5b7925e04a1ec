"""docs/worked-example.md in short form: a small library, its own tests as the gate, its own benchmark as the metric."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

from tests.search.scene import cli, json_lines

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "nearest"


def test_the_worked_example(tmp_path: Path) -> None:
    place = tmp_path / "nearest"
    shutil.copytree(EXAMPLE, place, ignore=shutil.ignore_patterns("__pycache__"))
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qm", "A library"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    done = cli("run", "--evals", "16", "--seed", "1", "--workers", "2", "--no-control", "--json", cwd=place)
    row = json.loads(done.stdout)["tasks"][0]
    assert row["self_reported"] and row["best"] <= row["seed"] * 1.5
    rows = json_lines(cli("log", "--json", cwd=place).stdout)
    gated = [r for r in rows if r["kind"] == "gate"]
    assert gated and all("test_nearest.py" in str(r["reason"]) for r in gated)
    assert all(r["status"] == "scored" for r in rows if r["champion"])

"""docs/worked-example.md in short form: a small library, its own tests as the gate, its own benchmark as the metric."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from evolve.tasks.task import Task
from tests.search.scene import cli, json_lines

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "worked-example.md").read_text(encoding="utf-8")


@pytest.fixture
def near(tmp_path: Path) -> Path:
    place = tmp_path / "near"
    shutil.copytree(ROOT / "docs" / "examples" / "nearest", place, ignore=shutil.ignore_patterns("__pycache__"))
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=U", "-c", "user.email=u@u.invalid", "commit", "-qm", "A library"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    return place


def test_init_writes_what_the_page_shows(near: Path) -> None:
    done = cli("init", cwd=near)
    said, shown = (re.findall(rf"```{start}(.+?)```", PAGE, re.DOTALL)[0] for start in ("\n(?=evolve.toml)", "toml\n"))
    assert done.stdout + done.stderr == said
    assert Task.load(near).digest() == Task.parse(shown, root=near).digest()


def test_the_worked_example(near: Path) -> None:
    cli("init", cwd=near)
    done = cli("run", "--evals", "16", "--seed", "1", "--workers", "2", "--no-control", "--json", cwd=near)
    row = json.loads(done.stdout)["tasks"][0]
    assert row["self_reported"] and row["best"] <= row["seed"] * 1.5
    rows = json_lines(cli("log", "--json", cwd=near).stdout)
    gated = [r for r in rows if r["kind"] == "gate"]
    assert gated and all("test_nearest.py" in str(r["reason"]) for r in gated)
    assert all(r["status"] == "scored" for r in rows if r["champion"])

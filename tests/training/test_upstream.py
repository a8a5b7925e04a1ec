"""Upstream's own repositories as tasks of one's own: their files run as they are in the jail, and are called self-reported."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from evolve.evaluators.command import CommandEvaluator
from evolve.evaluators.evaluator import Site
from evolve.tasks.evidence import FailureKind
from evolve.tasks.task import Task
from tests.evaluators.conftest import MakeTree, bare, job, site, tree

__all__ = ["bare", "site", "tree"]

pytestmark = pytest.mark.jail

TASKS = Path(__file__).resolve().parents[2] / "tasks"

NANOCHAT = """import os
assert open(os.path.expanduser("~/.cache/autoresearch/data/shard")).read() == "text"
print("step 00951 | loss: 3.21", end="\\r")
print("step 00952 | loss: 3.20", end="\\r\\n")
print("---\\nval_bpb:          0.997900\\ntraining_seconds: 300.1\\npeak_vram_mb:     45060.2\\ntotal_tokens_M:   499.6")
"""

SPEEDRUN = """import os, sys
assert open(os.environ["DATA_PATH"] + "/data/shard").read() == "text"
print("step:0/1390 val_loss:10.8258 train_time:0ms step_avg:0.02ms")
print("step:1390/1390 val_loss:3.2775 train_time:79532ms step_avg:57.22ms")
print("peak memory allocated: 30220 MiB reserved: 38672 MiB")
"""


def evaluator(
    site: Callable[..., Site], tree: MakeTree, text: str, files: dict[str, str]
) -> tuple[CommandEvaluator, str]:
    base = tree(**files)
    return CommandEvaluator(site(text, base)), base


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    for name in ("autoresearch", "modded-nanogpt"):
        (folder / ".cache" / name / "data").mkdir(parents=True)
        (folder / ".cache" / name / "data" / "shard").write_text("text")
    monkeypatch.setenv("HOME", str(folder))
    for path in (tmp_path, folder):
        path.chmod(0o755)
    return folder


@pytest.mark.usefixtures("home")
def test_autoresearch_runs_as_it_is(site: Callable[..., Site], tree: MakeTree) -> None:
    text = (TASKS / "nanochat_autoresearch" / "upstream.toml").read_text()
    assert Task.parse(text).self_reported
    made, base = evaluator(site, tree, text, {"train.py": NANOCHAT, "prepare.py": "", "program.md": "Lower val_bpb."})
    try:
        found = made.measure(job(base), lambda _: None)
    finally:
        made.close()
    assert not found.failures and found.self_reported
    assert found.samples[0].metrics == {
        "val_bpb": 0.9979,
        "training_seconds": 300.1,
        "peak_vram_mb": 45060.2,
        "total_tokens_M": 499.6,
    }


@pytest.mark.usefixtures("home")
def test_the_speedrun_runs_as_it_is_with_its_own_validation(
    site: Callable[..., Site], tree: MakeTree, tmp_path: Path
) -> None:
    text = (TASKS / "nanogpt_speedrun" / "upstream.toml").read_text()
    assert "torchrun --standalone --nproc_per_node=8" in text
    one = text.replace("torchrun --standalone --nproc_per_node=8", "python3")  # the launcher is torch's affair
    made, base = evaluator(site, tree, one, {"train_gpt.py": SPEEDRUN, "README.md": "Rules."})
    try:
        found = made.measure(job(base), lambda _: None)
        broken = made.measure(job(tree(**{"train_gpt.py": "raise SystemExit(1)", "README.md": ""})), lambda _: None)
    finally:
        made.close()
    assert not found.failures and found.self_reported
    assert found.samples[0].metrics == {"train_ms": 79532.0, "val_loss": 3.2775, "peak_mib": 30220.0}
    (failure,) = broken.failures.values()
    assert failure.kind is FailureKind.CRASH

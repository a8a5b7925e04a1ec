from __future__ import annotations

import pytest

from evolve.tasks.errors import TaskError
from evolve.tasks.task import Constraint, Task, duration, size

GOOD = """
[task]
name = "autoresearch"
editable = ["train.py", "src/**/*.py"]
context = ["program.md"]
instructions = "program.md"
[environment]
env = { PYTHONUNBUFFERED = "1" }
[evaluate]
gates = ["python -m pyflakes train.py"]
command = "python train.py"
timeout = "10m"
metrics = [
  { name = "val_bpb", pattern = '^val_bpb:\\s+(\\S+)', goal = "min", unit = "bits/byte" },
  { name = "peak_vram_mb", pattern = '^peak_vram_mb:\\s+(\\S+)', goal = "min" },
]
objective = "val_bpb"
constraints = ["peak_vram_mb <= 80000"]
repeats = { screen = 1, confirm = 5 }
[limits]
memory = "64G"
"""


def test_reads_every_section() -> None:
    task = Task.parse(GOOD)
    assert task.evaluate.timeout == 600.0
    assert task.limits.memory == 64 << 30
    assert task.metric("val_bpb").sign == -1
    assert task.objectives[0].unit == "bits/byte"
    assert task.evaluate.constraints == (Constraint("peak_vram_mb", "<=", 80000.0),)
    assert task.self_reported


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ('editabel = ["x"]', "did you mean 'editable'"),
        ("editable = []", "names no file"),
        ('editable = ["/etc/passwd"]', "relative"),
        ('editable = ["../x"]', "without '..'"),
        ('name = "a/b"', "a/b"),
    ],
)
def test_task_table_errors(change: str, says: str) -> None:
    lines = [line for line in GOOD.splitlines() if not line.startswith(change.split(" ")[0])]
    at = lines.index("[task]")
    with pytest.raises(TaskError, match=says):
        Task.parse("\n".join([*lines[: at + 1], change, *lines[at + 1 :]]))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('objective = "val_bpb"', 'objective = "val_bbp"', "did you mean 'val_bpb'"),
        ('goal = "min", unit', 'goal = "low", unit', "must be 'min' or 'max'"),
        ('(\\S+)\', goal = "min", unit', '\\S+\', goal = "min", unit', "must have one group"),
        ('timeout = "10m"', 'timeout = "soon"', "is no duration"),
        ('memory = "64G"', 'memory = "lots"', "is no size"),
        ('command = "python train.py"', "", "needs a command"),
        ("peak_vram_mb <= 80000", "peak_vram_mb <= lots", "is no constraint"),
        ("[limits]", "[limit]", "did you mean 'limits'"),
        ("screen = 1", "screen = 0", "at least 1"),
        ('timeout = "10m"', 'descriptors = ["code_sizes"]', "did you mean 'code_size'"),
        ('timeout = "10m"', 'descriptors = ["val_bpb", "code_size", "code_difference"]', "at most two"),
    ],
)
def test_other_errors_name_the_value(old: str, new: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(TaskError, match=says):
        Task.parse(GOOD.replace(old, new))


def test_metric_named_twice() -> None:
    with pytest.raises(TaskError, match="twice"):
        Task.parse(GOOD.replace('name = "peak_vram_mb", pattern', 'name = "val_bpb", pattern'))


@pytest.mark.parametrize(
    ("path", "may"),
    [
        ("train.py", True),
        ("src/a.py", True),
        ("src/deep/er/a.py", True),
        ("src/a.txt", False),
        ("other/train.py", False),
        ("trainXpy", False),
        ("program.md", False),
    ],
)
def test_editable_globs(path: str, may: bool) -> None:
    assert Task.parse(GOOD).may_edit(path) is may


def test_digest_covers_what_affects_a_score_and_nothing_else() -> None:
    base = Task.parse(GOOD)
    assert base.digest("p") != base.digest("q")
    for old, new in (('timeout = "10m"', 'timeout = "9m"'), ('memory = "64G"', 'memory = "32G"'), ("80000", "70000")):
        assert Task.parse(GOOD.replace(old, new)).digest() != base.digest(), new
    mapped = ("[evaluate]\n", '[evaluate]\ndescriptors = ["val_bpb", "code_size"]\n')
    for old, new in (('name = "autoresearch"', 'name = "other"'), ('instructions = "program.md"', ""), mapped):
        assert Task.parse(GOOD.replace(old, new)).digest() == base.digest(), new


def test_units() -> None:
    assert duration("90s") == duration("1.5m") == 90.0 and duration(3) == 3.0
    assert size("2G") == 2 << 30 and size("512MiB") == 512 << 20 and size(77) == 77

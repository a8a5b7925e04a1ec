"""Significance, logs, record folders, noise floors, holdout agreement, early stopping, the state format."""

from __future__ import annotations

import json
import math
import random
import re
import sys
from pathlib import Path

import pytest

from evolve.evaluators.channel import Refused
from evolve.evaluators.training import curves, noise, screen, speedrun, tracks, wire
from evolve.tasks.errors import BaselineError, TaskError
from evolve.tasks.evidence import Outcome
from evolve.tasks.task import Task
from evolve.tasks.verdict import Decision

ROOT = Path(__file__).parents[2]


# ---- the speedrun's significance rule --------------------------------------------------------------------------------


def test_the_margin_is_what_the_docs_say() -> None:
    assert round(speedrun.margin(5), 2) == 1.68 and round(speedrun.margin(10), 2) == 0.89


def test_the_t_test_agrees_with_the_closed_form() -> None:
    losses = [3.2775, 3.2781, 3.2790, 3.2786, 3.2769]
    found = speedrun.significance(losses, 3.28)
    t = (found.mean - 3.28) / (found.sigma / math.sqrt(5))
    assert t == pytest.approx(-5.2655, abs=1e-3)  # by hand: mean 3.27802, sd 8.408e-4
    u = 1 + t * t / 4  # Student's t with 4 degrees of freedom has a closed form
    assert found.p == pytest.approx(0.5 + 3 / 8 * t / math.sqrt(u) * (1 - t * t / (12 * u)), rel=1e-6) and found.passes


def test_the_published_entry_above_the_target_is_refused() -> None:
    losses = [3.2790, 3.2811, 3.28011]  # three runs whose mean is the published 3.28007
    counts, why = speedrun.check_entry(losses)
    assert sum(losses) / 3 == pytest.approx(3.28007)
    assert not counts and "mean loss 3.28007" in why and "n = 3" in why and "not below the target 3.28" in why
    assert "n = 5 needs 1.68, n = 10 needs 0.89" in why


def test_a_mean_below_the_target_needs_enough_runs() -> None:
    counts, why = speedrun.check_entry([3.279, 3.281, 3.2785])
    assert not counts and "below, but not at p < 0.01" in why
    assert not speedrun.check_entry([3.2])[0]
    assert speedrun.check_entry([3.2790 + 0.0013 * x for x in (-1, 1, 0, 0.5, -0.5, 0.2, -0.2, 0.8, -0.8, 0)])[0]
    waived, why = speedrun.check_entry([3.281, 3.2805], systems_change=True)
    assert waived and "waived for a declared systems change" in why


# ---- logs and the record folder --------------------------------------------------------------------------------------

LOG = """import torch
print("step:1/1 in the source is no line of the log")
""" + "=" * 100 + """
Running Python 3.12
step:0/1390 val_loss:10.8258 train_time:0ms step_avg:nanms
step:250/1390 val_loss:4.1 train_time:14303ms step_avg:57.21ms
step:1390/1390 val_loss:3.2775 train_time:79532ms step_avg:57.22ms
peak memory allocated: 30220 MiB reserved: 38672 MiB
"""  # fmt: skip


def test_upstreams_log_is_read() -> None:
    found = speedrun.parse_log(LOG)
    assert (found.steps, found.loss, found.seconds, found.memory_mib) == (1390, 3.2775, 79.532, 30220)
    assert len(found.validations) == 3 and "import torch" in found.source
    with pytest.raises(TaskError, match="did not finish"):
        speedrun.parse_log(LOG.rpartition("step:1390")[0])
    with pytest.raises(TaskError, match="no line such as"):
        speedrun.parse_log("hello")
    with pytest.raises(TaskError, match="nan"):
        speedrun.parse_log(LOG.replace("3.2775", "nan"))


def runs(seconds: float, loss: float) -> list[speedrun.Run]:
    noisy = random.Random(1)
    return [speedrun.Run(seconds + noisy.gauss(0, 0.1), loss + noisy.gauss(0, 0.001), 1390, 30220) for _ in range(10)]


def test_a_record_folder_has_upstreams_shape(tmp_path: Path) -> None:
    ours, theirs = runs(78.0, 3.2775), runs(79.5, 3.2776)
    speedrun.write_record(
        tmp_path, "Skip a step", ("new code", ours), ("old code", theirs), 3.28, "Running PyTorch 2.11"
    )
    assert {p.name for p in tmp_path.iterdir()} == {"README.md", "statistics.md", "train_gpt.py", "this_pr", "baseline"}
    logs = [speedrun.parse_log(p.read_text()) for p in sorted((tmp_path / "this_pr").iterdir())]
    assert len(logs) == 10 and logs[0].seconds == pytest.approx(ours[0].seconds, abs=1e-3)
    assert logs[0].loss == pytest.approx(ours[0].loss, abs=1e-4) and "new code" in logs[0].source
    assert "Time saved, paired" in (tmp_path / "statistics.md").read_text()
    with pytest.raises(TaskError, match="no record"):
        speedrun.write_record(tmp_path / "x", "Luck", ("c", runs(70.0, 3.2801)), ("o", theirs), 3.28, "")


def test_a_time_gain_has_an_interval() -> None:
    gain, low, high = speedrun.time_gain([1.0, 1.2, 0.9], [2.0, 2.1, 2.1])
    assert low < gain < high and gain == pytest.approx(1.0333, abs=1e-3)
    with pytest.raises(ValueError, match="argument"):
        speedrun.time_gain([1.0], [1.0, 2.0])


# ---- noise floor and holdout -----------------------------------------------------------------------------------------


def floor(tmp_path: Path, n: int) -> noise.Floor:
    kept = noise.FloorFile(tmp_path / "floor.json", "nanochat/30s", "m", "base")
    random_ = random.Random(4)
    for _ in range(n):
        kept.add({"val_bpb": 1.3 + random_.gauss(0, 0.002)}, {"driver": "580"}, {"sm_mhz": 1980.0})
    return kept.read()


def test_no_decision_without_a_noise_floor_of_ten_runs(tmp_path: Path) -> None:
    nine = floor(tmp_path, 9)
    with pytest.raises(BaselineError, match="9 runs"):
        noise.decide([1.0], [1.1], nine, "val_bpb", 1, 5)
    ten = floor(tmp_path, 1)
    assert ten.n == 10 and ten.hardware == {"driver": "580"} and len(ten.clocks) == 10
    assert noise.decide([1.25] * 5, [1.3] * 5, ten, "val_bpb", 1, 5).decision is Decision.PROMOTE
    assert noise.decide([1.2999] * 5, [1.3] * 5, ten, "val_bpb", 1, 5).decision is not Decision.PROMOTE


def test_a_floor_of_another_machine_or_baseline_does_not_count(tmp_path: Path) -> None:
    floor(tmp_path, 10)
    assert noise.FloorFile(tmp_path / "floor.json", "nanochat/30s", "other", "base").read().n == 0
    assert noise.FloorFile(tmp_path / "floor.json", "nanochat/30s", "m", "base2").read().n == 0


def test_a_gain_must_be_there_on_the_holdout() -> None:
    gains = [0.011, 0.009, 0.010, 0.012, 0.010]
    assert noise.agreement(gains, [0.9 * g for g in gains]).outcome is Outcome.PASSED
    assert noise.agreement(gains, [-0.001, 0.0, 0.001, -0.002, 0.0]).outcome is Outcome.AUDIT
    assert noise.agreement(gains, [0.001, 0.0012, 0.0009, 0.001, 0.0011]).outcome is Outcome.AUDIT
    assert noise.agreement([0.001, -0.001, 0.0005], [-0.001, 0.001, 0.0]).outcome is Outcome.PASSED  # no gain, no claim


# ---- early stopping --------------------------------------------------------------------------------------------------


def curve(end: float, points: int = 50) -> list[tuple[float, float]]:
    return [(i / points, end + 3 * math.exp(-4 * i / points)) for i in range(1, points + 1)]


def test_early_stopping_compares_at_equal_share() -> None:
    rule = curves.Rule({0.4: 0.2, 0.8: 0.1})
    assert rule.stops(curve(3.0), curve(3.0)) is None
    assert rule.stops(curve(3.5), curve(3.0)) == 0.4
    assert rule.stops(curve(3.15), curve(3.0)) == 0.8
    assert rule.stops(curve(3.5)[:10], curve(3.0)) is None, "nothing is decided before the first look"
    assert rule.stops([(0.4, math.nan)], curve(3.0)) == 0.4


def test_curves_whose_points_lie_apart_are_compared_over_the_same_stretch() -> None:
    fine = [(i / 40, 6.0 - i / 20) for i in range(1, 41)]  # falls by 2 from beginning to end
    coarse = [(at, curves.over(fine, at - 0.4, at) or 0.0) for at in (0.4, 0.8)]
    assert curves.excess(coarse, fine, 0.4, 0.1) == pytest.approx(0.0)
    assert curves.excess(coarse, fine, 0.6, 0.1) is None, "it said nothing near that look"
    assert curves.excess(fine, coarse, 0.8, 0.1) == pytest.approx(-0.3), "its last tenth, their last two fifths"


def test_the_rule_in_use_is_the_one_fitted_on_record_and_keeps_its_error_rate() -> None:
    lines = [
        json.loads(line) for line in (ROOT / "benchmarks/training/raw/early_stopping.jsonl").read_text().splitlines()
    ]
    sys.path.insert(0, str(ROOT / "benchmarks" / "training"))
    try:
        import early_stopping
    finally:
        sys.path.pop(0)
    rule, _ = early_stopping.fitted(lines)
    assert rule.looks == pytest.approx(curves.RULE.looks, abs=1e-4) and rule.window == curves.RULE.window
    found = early_stopping.verdict(lines)
    assert found["tested_on"] >= 300 and found["better"] >= 100 and found["better_stopped"] <= 1


def test_the_rule_is_fitted_so_that_no_better_run_of_the_training_set_is_stopped() -> None:
    pairs = [(curve(3.0 + 0.1 * k), curve(3.0), k < 2) for k in range(5)]
    rule = curves.fit(pairs, (0.5,), 0.1, slack=0.5)
    assert rule.looks[0.5] == pytest.approx(0.15)
    assert [rule.stops(c, p) is not None for c, p, _ in pairs] == [False, False, True, True, True]


def test_curves_are_kept_by_tree(tmp_path: Path) -> None:
    path = tmp_path / "curves.json"
    assert curves.recall(path, "a") == []
    curves.remember(path, "a", curve(3.0))
    curves.remember(path, "b", curve(2.0))
    assert curves.recall(path, "a") == curve(3.0) and curves.recall(path, "unknown") == []


# ---- the trained state -----------------------------------------------------------------------------------------------


def state(rows: object, body: bytes = b"") -> bytes:
    text = json.dumps(rows).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_a_state_is_read_back() -> None:
    entries: list[wire.Entry] = [("a.weight", "float32", (2, 3)), ("b", "bfloat16", ())]
    data = wire.header_bytes(entries) + bytes(26)
    assert wire.state_size(entries) == len(data)
    assert wire.read_header(data, len(data), 1 << 20) == (entries, len(data) - 26)


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (b"", "0 bytes"),
        (state([["a", "float32", [2]]], bytes(7)), "take"),
        (state([["a", "float32", [2]]], bytes(9)), "take"),
        (state([["a", "object", [1]]], bytes(8)), "no tensor"),
        (state([["a", "float32", [-1]]], b""), "no shape"),
        (state([["a", "float32", [True]]], bytes(4)), "no shape"),
        (state([["a", "float32", [1]], ["a", "float32", [1]]], bytes(8)), "twice"),
        (state({"a": 1}), "list"),
        (state([["a", "float32", [1 << 41]]]), "no shape"),
        ((1 << 62).to_bytes(8, "little") + bytes(100), "header"),
        (state([["x" * 301, "uint8", [0]]]), "name"),
    ],
)
def test_a_state_that_does_not_add_up_is_refused(data: bytes, word: str) -> None:
    with pytest.raises(Refused, match=word):
        wire.read_header(data, len(data), 1 << 20)


def test_a_state_beyond_the_cap_is_refused() -> None:
    data = state([["a", "uint8", [100]]], bytes(100))
    with pytest.raises(Refused, match="allowed"):
        wire.read_header(data, len(data), 50)


# ---- sources and tracks ----------------------------------------------------------------------------------------------


def test_a_program_that_is_none_is_refused_with_its_line() -> None:
    failure = screen.refuse({"train.py": b"def f(:\n"})
    assert failure is not None and failure.kind.value == "parse" and "line 1" in failure.message
    assert screen.refuse({"train.py": b"\xff\xfe"}) is not None
    assert screen.refuse({"train.py": b"x = 1\n" * 60_000}) is not None


def test_comments_and_docstrings_are_no_randomness() -> None:
    base = {"train.py": b"import torch\nx = torch.rand(3)\n"}
    assert not screen.only_randomness({"train.py": b"import torch\n# luck\nx = torch.rand(3)\n"}, base)
    assert not screen.only_randomness({"train.py": b"import torch\nx = torch.rand(4)\n"}, base)
    assert screen.only_randomness({"train.py": b"import torch\ntorch.manual_seed(3)\nx = torch.rand(3)\n"}, base)
    assert screen.only_randomness({"train.py": b"import torch\nSEED = 4\nx = torch.rand(3)\n"},
                                  {"train.py": b"import torch\nSEED = 3\nx = torch.rand(3)\n"})  # fmt: skip


@pytest.mark.parametrize("name", ["nanochat_autoresearch", "nanogpt_speedrun"])
def test_the_bundled_tasks_load_and_name_a_track(name: str) -> None:
    task = Task.load(ROOT / "tasks" / name)
    track = tracks.find(task.evaluate.settings["task"], task.evaluate.settings)
    assert track.gpus >= 1 and task.evaluate.evaluator == "training"
    with pytest.raises(TaskError, match="tracks are"):
        tracks.find(track.task, {"track": "nothing"})


def test_the_mini_track_needs_a_measured_target() -> None:
    with pytest.raises(TaskError, match="no target"):
        tracks.find("speedrun", {"track": "mini"})
    assert tracks.find("speedrun", {"track": "mini", "target": 3.9}).target == 3.9


# ---- upstream's own repository, and the benchmark scripts ------------------------------------------------------------

SUMMARY = """step 00951 (99.8%) | loss: 3.21\rstep 00952 (100.0%) | loss: 3.20\r
---
val_bpb:          0.997900
training_seconds: 300.1
total_seconds:    325.9
peak_vram_mb:     45060.2
total_tokens_M:   499.6
"""


def test_upstreams_repository_is_a_task_of_ones_own_and_self_reported() -> None:
    text = (ROOT / "tasks" / "nanochat_autoresearch" / "upstream.toml").read_text()
    task = Task.parse(text)
    assert task.self_reported and task.editable == ("train.py",)
    found = {}
    for metric in task.evaluate.metrics:
        assert metric.pattern is not None
        found[metric.name] = [m[1] for line in SUMMARY.splitlines() if (m := re.search(metric.pattern, line))]
    assert found == {"val_bpb": ["0.997900"], "training_seconds": ["300.1"], "peak_vram_mb": ["45060.2"],
                     "total_tokens_M": ["499.6"]}  # fmt: skip


def test_every_change_of_the_benchmarks_fits_the_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "gpu"))
    import training_variants as variants

    for task, known in (("nanochat", variants.NANOCHAT), ("speedrun", variants.SPEEDRUN)):
        for name in known:
            files = {"train.py": variants.source(task, name).encode()}
            assert screen.refuse(files) is None and screen.reaches(files) is None
    monkeypatch.setitem(variants.NANOCHAT, "stale", (("not in the seed", ""),))
    with pytest.raises(ValueError, match="stale"):
        variants.source("nanochat", "stale")


def test_the_early_stopping_verdict_counts_wrong_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks" / "training"))
    pytest.importorskip("numpy")
    import early_stopping

    lines = []
    for parent in range(early_stopping.PARENTS):
        lines.append({"parent": parent, "child": -1, "curve": curve(3.0), "bpb": 3.0})
        for child, end in enumerate((2.9, 2.95, 3.05, 3.5, 4.0)):
            lines.append({"parent": parent, "child": child, "curve": curve(end), "bpb": end})
    found = early_stopping.verdict(lines)
    assert found["tested_on"] == 5 * (early_stopping.PARENTS - early_stopping.FITTED)
    assert (
        found["better_stopped"] == 0
        and found["worse_stopped"] == found["worse"]
        and found["time_saved"] == pytest.approx(0.48)
    )
    for line in lines:
        if line["parent"] >= early_stopping.FITTED and line["child"] == 4:
            line["bpb"] = 1.0  # a run that looks bad and ends well
    found = early_stopping.verdict(lines)
    assert found["better_stopped"] == early_stopping.PARENTS - early_stopping.FITTED

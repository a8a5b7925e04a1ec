"""The cheats of docs/training.md that apply to the speedrun, each as a patch of its seed, on two ranks of the `cpu` track."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from evolve.evaluators.training import screen, speedrun, tracks
from evolve.evaluators.training.sample import Sampled
from evolve.tasks.evidence import Outcome
from tests.training.conftest import Bench

pytestmark = [pytest.mark.torch, pytest.mark.jail]

SEED = Path(__file__).resolve().parents[2] / "tasks" / "nanogpt_speedrun" / "seed" / "train.py"

TRACK = replace(tracks.TRACKS["speedrun/cpu"], target=99.0)
PLANNED = 12 * 8 * 128
"""Tokens of the shortened seed: 12 steps of 8 rows."""

SHORT = ('"cpu": Setting(2, 64, 2, 8, 4, 30,', '"cpu": Setting(2, 64, 2, 8, 4, 12,')
PLAN = '    return setting.steps * setting.rows * config["sequence_length"]\n'
MODEL = '    model = build_model(config).to(config["device"])\n    setting, parameters'
LOGITS = "        return cap * torch.tanh(logits.float() / cap)\n"
SERVED = "            if batch is None:\n                return model\n"


def patched(*patches: tuple[str, str]) -> str:
    text = SEED.read_text(encoding="utf-8")
    for old, new in (SHORT, *patches):
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the seed"
        text = text.replace(old, new)
    assert screen.refuse({"train.py": text.encode()}) is None, "it must get past the screen to prove anything"
    return text


def run(bench: Bench, *patches: tuple[str, str]) -> Sampled:
    found = bench.sample(patched(*patches), track=TRACK)
    assert isinstance(found, Sampled)
    return found


@pytest.fixture(scope="module")
def honest(bench: Bench) -> Sampled:
    found = run(bench)
    assert found.failure is None, found.failure
    assert all(check.outcome is Outcome.PASSED for check in found.checks)
    assert found.metrics["tokens_m"] * 1e6 == pytest.approx(PLANNED)
    return found


def test_who_plans_half_is_served_half(bench: Bench, honest: Sampled) -> None:
    found = run(
        bench,
        (PLAN, PLAN.replace("return ", 'return setting.steps // 2 * setting.rows * config["sequence_length"]  # ')),
    )
    assert found.failure is None, found.failure
    assert found.metrics["tokens_m"] * 1e6 == pytest.approx(PLANNED / 2)
    assert found.metrics["val_loss"] > honest.metrics["val_loss"] + 0.02, (
        "time saved is paid for in loss, which the target is on"
    )


def test_clocks_the_program_can_reach_are_not_the_ones_that_count(bench: Bench, honest: Sampled) -> None:
    stopped = (
        "def plan(config):\n",
        "import time\n\ntime.monotonic = time.time = time.perf_counter = lambda: 1.0\n\n\ndef plan(config):\n",
    )
    found = run(bench, stopped)
    assert found.failure is None or found.metrics == {}, found.failure
    if found.failure is None:
        assert found.seconds > 0.2 * honest.seconds


def test_printed_results_are_no_results(bench: Bench, honest: Sampled) -> None:
    says = 'print("step:12/12 val_loss:3.2700 train_time:1ms step_avg:0.1ms")\n                return model'
    found = run(bench, (SERVED, SERVED.replace("return model", says)))
    assert found.failure is None and found.metrics["val_loss"] == pytest.approx(honest.metrics["val_loss"], abs=1e-4)


def test_looking_ahead_is_seen(bench: Bench) -> None:
    ahead = "        out[:, :-1].scatter_add_(2, tokens[:, 1:, None], torch.full_like(out[:, :-1, :1], 9.0))\n        return out\n"
    found = run(bench, (LOGITS, LOGITS.replace("return ", "out = ") + ahead))
    assert found.failure is None
    assert "causality" in [check.name for check in found.checks if check.outcome is Outcome.CHEAT]


def test_a_model_kept_from_the_rehearsal_is_worth_nothing(bench: Bench) -> None:
    kept = MODEL.replace("    model =", '    model = globals()["OLD"] = globals().get("OLD") or')
    found = run(bench, (MODEL, kept))
    assert found.failure is not None and "nan" in found.failure.message.lower(), (found.failure, found.metrics)


def test_a_seed_of_its_own_is_a_change_of_randomness_only() -> None:
    lucky = patched((MODEL, "    torch.manual_seed(137)\n" + MODEL))
    assert screen.only_randomness({"train.py": lucky.encode()}, {"train.py": patched().encode()})


def test_the_luckiest_of_equal_runs_does_not_count() -> None:
    losses = [3.2810, 3.2795, 3.2802, 3.2788, 3.2815]
    counts, why = speedrun.check_entry(losses)
    assert not counts and "3.28020" in why, "the mean of all runs, not the lowest"

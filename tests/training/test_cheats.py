"""Every cheat of the table that can be tried on the `cpu` track, as a patch of the seed; honest variants beside them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evolve.evaluators.training import scoring, screen, tracks
from evolve.tasks.evidence import Outcome
from tests.training.conftest import Bench
from tests.training.gallery import CARRIED, CHEATS, END, HONEST, LOOKS, SEED, Cheat, program

pytestmark = [pytest.mark.torch, pytest.mark.jail]

GATED = [cheat for cheat in CHEATS if cheat.outcome == "gate"]
TRIED = [cheat for cheat in CHEATS if cheat.outcome != "gate"]


@pytest.fixture(scope="module")
def seed_score(bench: Bench) -> float:
    found = bench.sample(program(()))
    assert found.failure is None, found.failure
    assert all(check.outcome is Outcome.PASSED for check in found.checks), found.checks
    return float(found.metrics["val_bpb"])


@pytest.mark.parametrize("cheat", GATED, ids=lambda cheat: f"{cheat.number}-{cheat.name}")
def test_a_cheat_that_is_never_run(cheat: Cheat) -> None:
    files = {"train.py": program(cheat.patches).encode()}
    failure = screen.refuse(files)
    if cheat.word == "randomness":
        assert failure is None
        assert screen.only_randomness(files, {"train.py": SEED.read_bytes()})
    else:
        assert failure is not None and cheat.word in failure.message


@pytest.mark.parametrize("cheat", TRIED, ids=lambda cheat: f"{cheat.number}-{cheat.name}")
def test_a_cheat_is_refused_or_gains_nothing(cheat: Cheat, bench: Bench, seed_score: float) -> None:
    counts = np.bincount(bench.data.train[:, 1:].ravel(), minlength=512) + 0.5
    source = program(cheat.patches).replace("UNIGRAM", " ".join(f"{4 * x:.0f}" for x in np.log(counts)))
    assert screen.refuse({"train.py": source.encode()}) is None, "it must get past the screen to prove anything"
    found = bench.sample(source)
    if cheat.outcome == "failure":
        assert found.failure is not None and cheat.word in found.failure.message, found.failure
    elif cheat.outcome == "check":
        assert found.failure is None, (found.failure, found.outcome.stderr)
        shown = [check.name for check in found.checks if check.outcome is Outcome.CHEAT]
        assert cheat.word in shown, found.checks
    else:
        if found.failure is not None:
            assert cheat.outcome == "worse", found.failure
            return
        assert all(check.outcome is Outcome.PASSED for check in found.checks)
        if cheat.outcome == "same":
            assert found.metrics["val_bpb"] == seed_score
        else:
            assert found.metrics["val_bpb"] >= seed_score - 1e-9


def test_nothing_of_earlier_runs_of_the_validation_or_of_the_network_is_there(
    bench: Bench, port: int, seed_score: float
) -> None:
    source = program(((END, LOOKS.replace("PORT", str(port))),))
    for _ in range(2):  # the second would find what the first left
        found = bench.sample(source)
        assert found.failure is None, found.failure
    assert found.metrics["val_bpb"] == seed_score


@pytest.mark.parametrize("variant", HONEST)
def test_an_honest_variant_passes(variant: str, bench: Bench, seed_score: float) -> None:
    source = program(HONEST[variant])
    assert screen.refuse({"train.py": source.encode()}) is None
    assert not screen.only_randomness({"train.py": source.encode()}, {"train.py": SEED.read_bytes()})
    found = bench.sample(source)
    assert found.failure is None, (found.failure, found.outcome.stderr if found.outcome else "")
    assert all(check.outcome is Outcome.PASSED for check in found.checks), found.checks
    assert found.metrics["val_bpb"] != seed_score


CLOCKED = replace(tracks.TRACKS["nanochat/cpu"], seconds=2.0, tokens=None)


@pytest.mark.parametrize(
    "patches",
    [
        (("    while not budget.done():", "    while True:"),),
        ((END, "\nimport time\ntime.monotonic = time.time = time.perf_counter = lambda: 1.0\n"),),
    ],
    ids=["13-ignores the budget", "14-stops the clocks it can reach"],
)
def test_the_clock_is_the_referees(patches: tuple[tuple[str, str], ...], bench: Bench) -> None:
    found = bench.sample(program(patches), track=CLOCKED)
    assert found.failure is not None and "2 s" in found.failure.message, found.failure
    assert found.seconds == 0.0


def test_what_the_rehearsal_made_cannot_be_trained_on(bench: Bench) -> None:
    found = bench.sample(program(CARRIED), track=CLOCKED)
    assert found.failure is not None and "nan" in found.failure.message, found.failure


@pytest.mark.parametrize(
    "source",
    [
        "from pydoc_data import topics",
        "import os\nos.listdir('/')",
        "text = open('/etc/passwd').read()",
        "import torch\ntext = torch.nn.__doc__",
        "import numpy as np\ntext = np.fromfile('/usr/lib/x')",
        "import torch\nx = torch.load('/tmp/x')",
        "import math\nx = getattr(math, '__lo' + 'ader__')",
        "from os import listdir",
    ],
)
def test_a_source_may_not_reach_for_other_text(source: str) -> None:
    failure = screen.reaches({"train.py": source.encode()})
    assert failure is not None and "train.py:" in failure.message


def test_the_seeds_and_the_honest_variants_reach_for_nothing() -> None:
    for patches in ((), *HONEST.values()):
        assert screen.reaches({"train.py": program(patches).encode()}) is None
    speedrun = SEED.parents[2] / "nanogpt_speedrun" / "seed" / "train.py"
    assert screen.reaches({"train.py": speedrun.read_bytes()}) is None


def test_a_program_that_minds_the_clock_is_in_time(bench: Bench) -> None:
    found = bench.sample(program(()), track=CLOCKED)
    assert found.failure is None, found.failure
    assert 1.0 < found.metrics["seconds"] <= 2.0


def test_the_same_seed_gives_the_same_score_and_another_another(bench: Bench, seed_score: float) -> None:
    assert bench.sample(program(())).metrics["val_bpb"] == seed_score
    assert bench.sample(program(()), seed=8).metrics["val_bpb"] != seed_score


def test_a_look_ahead_that_rounding_could_hide_is_found_in_the_mean(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(scoring.TOLERANCE, "cpu", scoring.TOLERANCE["cuda"])
    line = "        return cap * torch.tanh(logits.float() / cap)\n"
    faint = "        out[:, :-1].scatter_add_(2, tokens[:, 1:, None], torch.full_like(out[:, :-1, :1], 0.05))\n        return out\n"
    found = bench.sample(program(((line, line.replace("return ", "out = ") + faint),)))
    assert found.failure is None, found.failure
    causality = next(check for check in found.checks if check.name == "causality")
    assert causality.outcome is Outcome.CHEAT and found.facts["differences"]["causality"] < scoring.TOLERANCE["cuda"][0]
    honest = bench.sample(program(()))
    assert all(check.outcome is Outcome.PASSED for check in honest.checks)

"""A model in a real run: what it answers becomes candidates and costs, an outage holds nobody else up, and what was
answered before a kill is not asked again."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve.models.prefix import report
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.search import MOST_CALLS
from tests.edits.generate import sr
from tests.models.server import Bench, Fault, Sent
from tests.outside.scene import command, project

pytest.importorskip("openai", reason="the openai SDK is not installed")


class Better:
    """A model that raises one weight further with each answer; every third answer does not apply at first."""

    def __init__(self) -> None:
        self.count = itertools.count(1)

    def __call__(self, sent: Sent) -> str:
        line = next(line for line in sent.text.split("\n") if line.startswith("WEIGHTS = ["))
        n = next(self.count)
        if n % 3 == 0 and "Send the whole answer again" not in sent.text:
            return sr("WEIGHTS = [0]\n", "WEIGHTS = [1]\n", "prog.py")
        return f"IDEA: raise a weight ({n})\n\n" + sr(line + "\n", f"WEIGHTS = [{n * 100}.0, 2.0, 3.0]\n", "prog.py")


def models(path: Path, url: str) -> dict[str, str]:
    path.write_text(
        f'[loop]\napi = "openai"\nid = "loop"\nbase_url = "{url}/v1"\nprice = {{ input = 1.0, output = 2.0 }}\nlongest_wait = 0.2\n'
    )
    return {"EVOLVE_MODELS": str(path)}


def test_answers_become_candidates_and_costs(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    with Bench(Better()) as bench:
        done = command(where, "run", "--evals", "7", "--no-control", "--workers", "1", "--proposals", "1", "--seed", "1",
                       "--mutator", "model:loop", "--json", **models(tmp_path / "m.toml", bench.url))  # fmt: skip
        asked = len(bench.sent)
    assert json.loads(done.stdout)
    rows = [json.loads(line) for line in command(where, "log", "--json").stdout.splitlines()]
    assert len(rows) == 7 and all(row["status"] == "scored" for row in rows)
    assert {row["model"] for row in rows[1:]} == {"loop"} and rows[1]["idea"] == "raise a weight (1)"
    with Archive.open(where) as archive:
        state = archive.state("sum")
        assert state.ledger.money > 0 and state.ledger.calls == asked > 6 and state.ledger.unknown == 0
        sent = report(archive, "sum")
        assert [row.model for row in sent] == ["loop"] and sent[0].requests == asked and sent[0].common > 0.5
        best = state.champion("sum")
        assert best is not None and best.fitness is not None and best.fitness > 500


def test_an_outage_holds_nobody_else_up(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    with Bench(faults=[Fault(529)] * 10_000) as bench:
        done = command(where, "run", "--time", "8s", "--no-control", "--workers", "1", "--seed", "2", "--mutator", "syntactic",
                       "--mutator", "model:loop", "--json", code=None, **models(tmp_path / "m.toml", bench.url))  # fmt: skip
    rows = [json.loads(line) for line in command(where, "log", "--json").stdout.splitlines()]
    assert len(rows) >= 8, done.stderr
    assert len(bench.sent) > 4
    assert {row["model"] for row in rows} <= {"", "seed"}


def test_a_model_that_says_nothing_of_use_is_not_paid_for_ever(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    with Bench(lambda sent: "I would rather not.") as bench:
        done = command(where, "run", "--no-control", "--workers", "1", "--proposals", "4", "--seed", "1", "--json",
                       "--mutator", "model:loop", **models(tmp_path / "m.toml", bench.url))  # fmt: skip
        assert MOST_CALLS <= len(bench.sent) < MOST_CALLS + 20
    assert "became no candidate" in json.loads(done.stdout)["reason"]


def test_what_was_answered_before_a_kill_is_not_asked_again(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    run = [
        "run",
        "--evals",
        "6",
        "--no-control",
        "--workers",
        "1",
        "--proposals",
        "1",
        "--seed",
        "3",
        "--mutator",
        "model:loop",
    ]
    with Bench(Better()) as bench:
        environment = models(tmp_path / "m.toml", bench.url)
        process = subprocess.Popen([sys.executable, "-m", "evolve", *run], cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, **environment})  # fmt: skip
        until = time.monotonic() + 60
        while len(bench.sent) < 3 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        command(where, *run, **environment)
        bodies = [json.dumps(sent.body, sort_keys=True) for sent in bench.sent]
    with Archive.open(where) as archive:
        events = [recorded.event for recorded in archive.events("sum")]
    answered = [event for event in events if isinstance(event, ev.Answered) and event.outcome != "lost"]
    lost = [event for event in events if isinstance(event, ev.Answered) and event.outcome == "lost"]
    assert len(bodies) <= len(answered) + len(lost) and len(lost) <= 1
    requested = [(event.brief, event.call) for event in events if isinstance(event, ev.Requested)]
    assert len(requested) == len(set(requested))


def test_a_batch_under_way_at_a_kill_is_polled_and_not_paid_for_again(tmp_path: Path) -> None:
    """The batch's id is durable before it is waited for: a resume asks for the very batch and sends none of it again."""
    pytest.importorskip("anthropic", reason="the anthropic SDK is not installed")
    where = project(tmp_path / "repo")
    run = ["run", "--evals", "4", "--no-control", "--workers", "1", "--proposals", "2", "--seed", "3", "--mutator", "model:slow"]
    with Bench(Better()) as bench:
        path = tmp_path / "m.toml"
        path.write_text(
            f'[slow]\napi = "anthropic"\nid = "slow"\nbase_url = "{bench.url}"\nprice = {{ input = 1.0, output = 2.0 }}\n'
            "batch = { window = 0.3, most = 2, poll = 0.1 }\n"
        )
        environment = {"EVOLVE_MODELS": str(path)}
        bench.batch_ready_after = 10**9
        process = subprocess.Popen([sys.executable, "-m", "evolve", *run], cwd=where, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                   env={**os.environ, **environment})  # fmt: skip
        until = time.monotonic() + 60
        while not bench.batch_polls and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (first,) = bench.batches
        bench.batch_ready_after = 0
        command(where, *run, **environment)
        sent = [json.dumps(request["params"], sort_keys=True) for batch in bench.batches.values() for request in batch]
    with Archive.open(where) as archive:
        events = [recorded.event for recorded in archive.events("sum")]
        state = archive.state("sum")
    assert next(event.batch for event in events if isinstance(event, ev.Batched)) == first
    assert len(sent) == len(set(sent)), "a request of the batch under way was sent again"
    assert not [event for event in events if isinstance(event, ev.Answered) and event.outcome == "lost"]
    assert state.ledger.evaluations == 4 and state.ledger.money > 0

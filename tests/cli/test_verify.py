"""evolve verify: measured again in the sandbox, judged again from the record, marked and released by a person."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.candidate import Standing
from evolve.tasks.evidence import Evidence
from evolve.tasks.verdict import Status, Verdict
from tests.search.scene import Numbers, cli, events_of, make_repository, open_toy, run_toy, state_of


@pytest.fixture
def toy(tmp_path: Path) -> Path:
    place = make_repository(tmp_path / "toy")
    run_toy(place, evaluations=12, seed=3)
    return place


def append(place: Path, *events: ev.Event) -> None:
    archive = Archive.open(place)
    writer = archive.writer("toy")
    for event in events:
        writer.append(event)
    writer.close()
    archive.close()


def test_a_true_score_is_borne_out_and_nothing_is_recorded(toy: Path) -> None:
    before = events_of(toy)
    done = cli("verify", "--json", cwd=toy)
    found = json.loads(done.stdout)
    assert found["word"] == "verified" and found["fitness"] == pytest.approx(found["recorded"])
    assert "verified" in done.stderr and events_of(toy) == before


class Flatterer(Numbers):
    """Says a hundred more than it is; the sandbox, later, does not."""

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        evidence = super().measure(job, progress)
        more = tuple(replace(s, metrics={"score": s.metrics["score"] + 100}) for s in evidence.samples)
        return replace(evidence, samples=more)


def test_a_score_that_is_not_borne_out(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "toy")
    session = open_toy(place, evaluations=5)
    session.executor = InProcessExecutor({"toy": Flatterer(session.opened)}, 1)
    asyncio.run(session.run())
    done = cli("verify", "best", cwd=place, ok=False)
    assert done.returncode == 1 and "not verified" in done.stderr and "on record: score 10" in done.stderr


def test_marked_rerun_on_record_and_released_by_a_person(toy: Path) -> None:
    state = state_of(toy)
    marked = next(c for c in state.candidates.values() if c.number and c.children)
    child = state.lineage.children[marked.commit][0]
    done = cli("verify", marked.commit[:10], "--suspect", "a table of answers", cwd=toy)
    assert f"#{marked.number} in quarantine" in done.stderr
    assert state_of(toy).candidates[child].standing is Standing.QUARANTINED
    assert cli("verify", "#0", "--suspect", "x", cwd=toy, ok=False).returncode == 128, "the seed is everybody's ancestor"

    archive = Archive.open(toy)
    writer = archive.writer("toy", exclusive=True)  # as a run that goes on holds it
    done = cli("verify", child[:10], "--record", cwd=toy, ok=False)
    assert done.returncode == 128 and "being searched" in done.stderr
    writer.close()
    archive.close()

    cli("verify", child[:10], "--record", cwd=toy)
    assert state_of(toy).candidates[child].standing is Standing.RELEASED
    cli("verify", marked.commit[:10], "--record", cwd=toy)
    assert state_of(toy).candidates[marked.commit].standing is Standing.QUARANTINED, "a re-run does not clear the cause"
    cli("verify", marked.commit[:10], "--release", "read it, it is fine", cwd=toy)
    assert state_of(toy).candidates[marked.commit].standing is Standing.RELEASED


def test_stored_evidence_judged_again(toy: Path) -> None:
    assert "0 of 12" in cli("verify", "--rejudge", cwd=toy).stderr
    state = state_of(toy)
    one, two = [c for c in state.candidates.values() if c.fitness is not None][1:3]
    epoch = state.lineage.epochs["toy"].epoch
    wrong = Verdict(Status.INVALID, stage="run", kind="metric", reason="as an older rule had it")
    assert two.verdict is not None and two.fitness is not None
    append(toy, ev.Judged("toy", one.commit, epoch, wrong), ev.Judged("toy", two.commit, epoch, replace(two.verdict, fitness=0.0)))
    before = events_of(toy)
    done = cli("verify", "--rejudge", cwd=toy, ok=False)
    assert done.returncode == 1 and "2 of 12" in done.stderr and "older rule" in done.stdout
    assert events_of(toy) == before
    done = cli("verify", "--rejudge", "--record", "--json", cwd=toy, ok=False)
    assert {row["commit"] for row in json.loads(done.stdout)["changed"]} == {one.commit, two.commit}
    after = state_of(toy)
    assert after.candidates[one.commit].verdict == one.verdict and after.candidates[two.commit].verdict == two.verdict
    cli("verify", "--rejudge", cwd=toy)


def test_one_thing_at_a_time(toy: Path) -> None:
    done = cli("verify", "--rejudge", "--suspect", "x", cwd=toy, ok=False)
    assert done.returncode == 128 and "one of them" in done.stderr


GRADER = """
def evaluate(trial):
    return {"score": -abs(trial.call("program.py:value", 7) - 49)}

def impossible(trial):
    return trial.call("program.py:value", 1001) == PLANTED
"""
SCRIPT = """
[task]
name = "squares"
editable = ["program.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "score", goal = "max" }]
timeout = "5s"
[environment]
data = ["DATA:ro"]
"""


def squares(tmp_path: Path, planted: str) -> Path:
    """A task that mounts its own answers where a candidate reads them."""
    answers = tmp_path / "answers"
    answers.mkdir()
    (answers / "answers.json").write_text('{"7": 49, "1001": 123456}')
    place = make_repository(
        tmp_path / "squares", SCRIPT.replace("DATA", str(answers)), "def value(x):\n    return x * 6.5\n"
    )
    (place / "evaluate.py").write_text(GRADER.replace("PLANTED", planted))
    subprocess.run(["git", "add", "."], cwd=place, check=True)
    subprocess.run(["git", "commit", "-qm", "grader"], cwd=place, check=True)
    return place


def test_a_seed_that_solves_the_impossible_stops_the_check(tmp_path: Path) -> None:
    done = cli("check", cwd=squares(tmp_path, "6506.5"), ok=False)
    assert done.returncode == 3 and "impossible variant" in done.stderr and "seed itself" in done.stderr


def test_who_reads_the_answers_is_shown_a_cheat_and_leaves_with_its_children(tmp_path: Path) -> None:
    place = squares(tmp_path, "123456")
    cli("run", "--evals", "1", "--no-control", "--no-publish", cwd=place)
    git = lambda *words: subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)  # noqa: E731
    (place / "program.py").write_text(
        f"import json\ndef value(x):\n    return json.load(open('{tmp_path}/answers/answers.json'))[str(x)]\n"
    )
    git("commit", "-qam", "read the answers")
    cli("add", "HEAD", cwd=place)
    (place / "program.py").write_text("def value(x):\n    return x * 6.9\n")
    git("commit", "-qam", "something of one's own")
    cli("run", "--evals", "2", "--no-control", "--no-publish", "--mutator", "random-search", cwd=place)  # judged, and a gate
    archive = Archive.open(place)
    state = archive.state("squares")
    archive.close()
    cheat = next(c for c in state.candidates.values() if c.idea == "read the answers")
    assert cheat.verdict is not None and cheat.verdict.status is Status.CHEAT and cheat.standing is Standing.QUARANTINED
    assert "impossible variant" in cheat.verdict.reason
    champion = state.champion("squares")
    assert champion is not None and champion.number == 0

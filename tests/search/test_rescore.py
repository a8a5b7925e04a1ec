"""A changed task, grader or machine: the run stops and says so, and goes on in a new epoch with --rescore."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from evolve import api
from evolve.errors import RepositoryError, UsageError
from evolve.evaluators.executors import InProcessExecutor
from evolve.population import events as ev
from evolve.replay import Replay
from evolve.session import Result, Session
from evolve.settings import RunSettings
from evolve.tasks.verdict import Status
from tests.search.scene import TOML, Climb, Numbers, cli, events_of, json_lines, make_repository, run_toy


def again(place: Path, evaluations: int, **settings: object) -> tuple[Session, Numbers, Result]:
    made: list[Numbers] = []
    wanted = RunSettings(
        where=place, evaluations=evaluations, control=False, publish=False, workers=1, seed=1, rescore=True, **settings  # type: ignore[arg-type]
    )  # fmt: skip
    session = api.open_session(
        wanted, mutators={"climb": Climb()},
        executor=lambda opened: InProcessExecutor({"toy": made.append(Numbers(opened)) or made[0]}, 1),  # type: ignore[func-returns-value, dict-item]
    )  # fmt: skip
    return session, made[0], asyncio.run(session.run())


def change(place: Path, old: str, new: str) -> None:
    text = (place / "evolve.toml").read_text()
    assert old in text
    (place / "evolve.toml").write_text(text.replace(old, new))


def test_without_the_flag_the_run_stops_and_offers_it(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=5)
    change(place, 'timeout = "5s"', 'timeout = "9s"')
    before = events_of(place)
    with pytest.raises(RepositoryError, match=r"--rescore.* or give a new --name"):
        run_toy(place, evaluations=9)
    assert events_of(place) == before


def test_what_only_judging_reads_is_judged_again_and_nothing_is_measured(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    first, _ = run_toy(place, evaluations=30, seed=3)
    scored = {c.commit: c.fitness for c in first.state.candidates.values() if c.fitness is not None}
    bar = sorted(scored.values())[len(scored) // 2]
    change(place, "[evaluate]", f'[evaluate]\nconstraints = ["score <= {bar}"]')
    session, numbers, result = again(place, 30)
    state = session.state
    assert result.evaluations == 30 and state.lineage.evaluated["toy"] == 30, "nobody counts twice"
    assert not [job for job in numbers.measured if job.stage not in ("confirm", "verify")], "but for the gate and re-runs"
    for commit, fitness in scored.items():
        verdict = state.candidates[commit].verdict
        assert verdict is not None and (verdict.status is Status.SCORED) == (fitness <= bar)
    champion = state.champion("toy")
    assert champion is not None and champion.fitness == bar and champion.was_champion, "crowned by a gate of this epoch"
    with pytest.raises(UsageError, match="one epoch only"):
        Replay(session.opened.archive, "toy", {"climb": Climb()})
    assert any("judged again" in warning for warning in session.opened.warnings)
    _, _, result = again(place, 40)
    assert result.evaluations == 40
    assert sum(isinstance(e, ev.Rescored) for e in events_of(place)) == 1, "a second time there is nothing to do"


def test_where_measuring_changed_the_best_are_measured_again(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    first, _ = run_toy(place, evaluations=40, seed=3)
    best = first.state.champion("toy")
    assert best is not None
    change(place, 'timeout = "5s"', 'timeout = "9s"')
    session, numbers, result = again(place, 40)
    state = session.state
    (event,) = [e for e in events_of(place) if isinstance(e, ev.Rescored)]
    trees = [state.candidates[c].tree for c in event.again]
    assert event.again[:2] == (state.lineage.seeds["toy"], best.commit) and len(event.again) <= 26
    screened = [
        job for job in numbers.measured if job.stage == "run" and job.trees[0] in trees and "calibrate" not in job.id
    ]
    assert sorted(job.trees[0] for job in screened) == sorted(trees) and screened[0].trees[0] == trees[0]
    assert all(state.candidates[c].verdict is not None for c in event.again)
    assert result.best["toy"].commit == best.commit and result.evaluations == 40
    epochs = {e.epoch for e in events_of(place) if isinstance(e, ev.Calibrated)}
    assert len(epochs) == 2, "the noise floor is measured anew"
    jobs = [e.job for e in events_of(place) if isinstance(e, ev.Measured) and "calibrate" not in e.job]
    assert len(jobs) == len(set(jobs))
    left = [row for row in json_lines(cli("log", "--json", cwd=place).stdout) if row["status"] == "unjudged"]
    assert len(left) == 40 - len(event.again)
    for words in (("log",), ("log", "--graph"), ("status",), ("best", "--why"), ("show", str(left[0]["commit"])[:10])):
        cli(*words, cwd=place)


def test_a_change_taken_back_makes_the_old_evidence_count_again(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    first, _ = run_toy(place, evaluations=20, seed=3)
    known = {c.commit: c.fitness for c in first.state.candidates.values()}
    change(place, 'timeout = "5s"', 'timeout = "9s"')
    again(place, 22)
    change(place, 'timeout = "9s"', 'timeout = "5s"')
    session, _, _ = again(place, 22)
    assert {c: session.state.candidates[c].fitness for c in known} == known


def test_killed_right_after_the_new_epoch_began(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=20, seed=3)
    change(place, 'timeout = "5s"', 'timeout = "9s"')
    from evolve.opening import open_run

    opened = open_run(RunSettings(where=place, rescore=True, publish=False))
    opened.writer.close()
    opened.archive.close()
    session, result = run_toy(place, evaluations=25, seed=3)
    (event,) = [e for e in events_of(place) if isinstance(e, ev.Rescored)]
    assert result.evaluations == 25 and all(session.state.candidates[c].verdict is not None for c in event.again)


GRADER = "def evaluate(trial):\n    return {'score': trial.call('program.py:value')}\n"


def test_a_grader_committed_later_is_adopted_with_the_other_protected_files(tmp_path: Path) -> None:
    place = make_repository(
        tmp_path / "r", TOML.replace('command = "python3 program.py"', 'script = "evaluate.py"').replace(", pattern = '^score: (.+)'", "")
    )  # fmt: skip
    git = lambda *words: subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)  # noqa: E731
    (place / "evaluate.py").write_text(GRADER)
    git("add", ".")
    git("commit", "-qm", "grader")
    first, _ = run_toy(place, evaluations=10, seed=3)
    (place / "evaluate.py").write_text(GRADER + "# stricter\n")
    (place / "program.py").write_text((place / "program.py").read_text().replace("X = 1.0", "X = 50.0"))
    git("commit", "-qam", "stricter grader, and the user's own program moved on")
    run_toy(place, evaluations=12, seed=3)  # without --rescore it keeps the base, grader included
    session, _, result = again(place, 14)
    site, archive = session.opened.sites["toy"], session.opened.archive
    assert archive.store.file(site.base, "evaluate.py") == (GRADER + "# stricter\n").encode()
    assert archive.store.file(site.base, "program.py") == archive.store.file(
        first.opened.grounds["toy"].base_tree, "program.py"
    )
    assert result.evaluations == 14
    exported = Path(session.opened.grounds["toy"].task.root) / "evaluate.py"
    assert exported.read_text().endswith("# stricter\n")
    run_toy(place, evaluations=16, seed=3)  # and from here on without it

"""The loop end to end on a small world: real repository, real archive, real events; only the evaluator is in process."""

from __future__ import annotations

import asyncio
import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from evolve import api
from evolve.errors import BaselineError, GraderError, InfrastructureError, RepositoryError, TaskError, UsageError
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk
from evolve.population import checkpoint, replay
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.population.folds import RunState
from evolve.population.selection import Choice, Population
from evolve.settings import RunSettings
from evolve.tasks.evidence import Evidence
from tests.search.scene import TOML, Climb, Numbers, history, make_repository, open_toy, run_toy


def test_a_run_improves_on_its_seed_and_records_everything(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, result = run_toy(place, evaluations=60)
    assert result.reason == "evaluations" and result.evaluations == 60
    best = result.best["toy"]
    assert best.fitness is not None and best.fitness > 3.0
    kinds = {recorded.event.kind for recorded in Archive.open(place).events("toy")}
    assert {"run_opened", "epoch_opened", "imported", "calibrated", "asked", "born", "started", "measured", "judged",
            "promoted", "session", "closed"} <= kinds  # fmt: skip
    assert session.state.lineage.reigns["toy"][-1].candidate == best.commit


def test_every_candidate_is_a_commit_whose_diff_is_the_mutation(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=12)
    archive = Archive.open(place)
    state = archive.state("toy")
    for candidate in list(state.candidates.values())[1:]:
        message = archive.store.message_of(candidate.commit)
        assert "Evolve-Run: toy" in message and f"Evolve-Brief: {candidate.brief}" in message
        assert archive.store.parents_of(candidate.commit) == candidate.parents
        changed = {e.path for e in archive.store.entries(candidate.tree)} ^ {"program.py", "other.txt", "evolve.toml"}
        assert not changed
        assert archive.store.file(candidate.tree, "other.txt") == b"protected\n"


def test_two_runs_of_one_seed_are_the_same_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_toy(make_repository(tmp_path / name), evaluations=40, seed=5)
    assert history(tmp_path / "a") == history(tmp_path / "b")
    run_toy(make_repository(tmp_path / "c"), evaluations=40, seed=6)
    assert history(tmp_path / "c") != history(tmp_path / "a")


def test_fixed_dates_give_the_same_commit_ids(tmp_path: Path) -> None:
    ids = []
    for name in ("a", "b"):
        place = make_repository(tmp_path / name)
        env = {"GIT_AUTHOR_DATE": "2026-01-01T00:00:00Z", "GIT_COMMITTER_DATE": "2026-01-01T00:00:00Z"}
        subprocess.run(
            ["git", "commit", "--quiet", "--amend", "--reset-author", "-m", "Start", "--date", "2026-01-01T00:00:00Z"],
            cwd=place, check=True, env={**env, "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        session, _ = run_toy(place, evaluations=15, seed=5, fixed_dates=True)
        ids.append(list(session.state.candidates))
    assert ids[0] == ids[1]


def test_replaying_the_log_rebuilds_every_brief(tmp_path: Path) -> None:
    """Each `asked` names the positions it saw; folding up to them and asking again gives the same brief."""
    from evolve.population.folds import RunState
    from evolve.search import Search

    place = make_repository(tmp_path / "r")
    session, _ = run_toy(place, evaluations=50, seed=9, workers=3)
    archive = Archive.open(place)
    recorded = list(archive.events("toy"))
    checked = 0
    state = RunState()
    for item in recorded:
        if isinstance(item.event, ev.Asked):
            assert dict(item.event.brief.saw) == state.seen
            fresh = RunState()
            for earlier in recorded:
                if earlier.position < item.event.brief.saw.get(earlier.log, 0):
                    fresh.apply(earlier)
            kept: list[ev.Event] = []

            class Tape:
                def append(self, event: ev.Event, artifacts: object = (), kept: list[ev.Event] = kept) -> ev.Recorded:
                    kept.append(event)
                    return ev.Recorded(event, "tape", len(kept) - 1, 10**9, 0.0)

            search = Search(
                Tape(), archive.store, fresh, session.opened.grounds, session.selector, {"climb": ("improve",)},
                evidence=lambda commit: [], dates=lambda: 0.0, timer=lambda: 0.0,
            )  # fmt: skip
            if checked % 7 == 0:
                assert search.ask("climb") == item.event.brief
            checked += 1
        state.apply(item)
    assert checked >= 49


def test_a_resume_goes_on_where_it_was_and_measures_nothing_twice(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=20)
    session, result = run_toy(place, evaluations=45)
    assert session.opened.resumed and result.evaluations == 45
    archive = Archive.open(place)
    jobs = [r.event.job for r in archive.events("toy") if isinstance(r.event, ev.Measured)]
    assert len(jobs) == len(set(jobs))
    state = archive.state("toy")
    numbers = [c.number for c in state.candidates.values()]
    assert numbers == list(range(len(numbers)))
    briefs = sorted(r.event.brief.number for r in archive.events("toy") if isinstance(r.event, ev.Asked))
    assert briefs == list(range(1, len(briefs) + 1))


class _Duplicates(Climb):
    """Every second proposal is the parent with a comment added: the same program."""

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        if brief.number % 2:
            text = desk.files(brief.parents[0])["program.py"]
            return Proposal({"program.py": text + b"# a remark\n"}, "remark", "climb")
        return await super().propose(brief, desk)


def test_the_same_program_in_other_words_is_refused_and_names_the_earlier(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = run_toy(place, evaluations=10, mutator=_Duplicates())
    refused = [r.event for r in Archive.open(place).events("toy") if isinstance(r.event, ev.Refused)]
    assert refused and all(
        event.reason == "duplicate" and event.earlier in session.state.candidates for event in refused
    )
    assert session.state.ledger.evaluations == 10


class _Trespasser(Climb):
    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        if brief.number % 2:
            return Proposal({"other.txt": b"mine now\n"}, "trespass", "climb")
        return await super().propose(brief, desk)


def test_an_edit_of_a_protected_file_is_refused_by_name(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=6, mutator=_Trespasser())
    refused = [r.event for r in Archive.open(place).events("toy") if isinstance(r.event, ev.Refused)]
    assert any(event.reason == "policy" and "other.txt" in event.why for event in refused)


def test_noise_alone_crowns_nobody(tmp_path: Path) -> None:
    """A mutator that changes nothing that counts, under noise: no champion but the seed (the rate is tested elsewhere)."""

    class Idle(Climb):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            text = desk.files(brief.parents[0])["program.py"].decode()
            return Proposal({"program.py": f"{text}Z{brief.number} = 1\n".encode()}, "idle", "climb")

    place = make_repository(tmp_path / "r", toml=TOML.replace("confirm = 1", "confirm = 3"))
    session, _ = run_toy(place, evaluations=60, noise=0.5, mutator=Idle())
    assert not session.state.lineage.reigns.get("toy")
    assert session.state.pending.tries.get("toy", 0) > 0


def test_a_real_gain_under_noise_is_promoted_with_a_lower_bound(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", toml=TOML.replace("confirm = 1", "confirm = 3"))
    session, _ = run_toy(place, evaluations=80, noise=0.05)
    reigns = session.state.lineage.reigns["toy"]
    assert reigns and all(reign.low is not None and reign.low > 0 for reign in reigns)


# ---- a baseline that is none -----------------------------------------------------------------------------------------


def test_a_seed_that_does_not_score_stops_the_run_with_the_reason(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", program="X = 1.0\n")
    with pytest.raises(BaselineError, match="does not score"):
        run_toy(place, evaluations=5)


def test_a_grader_that_scores_anything_stops_the_run(tmp_path: Path) -> None:
    class Blind(Numbers):
        def _value(self, tree: str) -> float:
            return 1.0

    place = make_repository(tmp_path / "r")
    session = open_toy(place, evaluations=5)
    session.executor = InProcessExecutor({"toy": Blind(session.opened)}, 1)
    with pytest.raises(BaselineError, match="a broken candidate scores"):
        asyncio.run(session.run())


# ---- our own failures ------------------------------------------------------------------------------------------------


class _Broken(Numbers):
    """Fails for reasons of our own from the `after`-th job on, or only now and then."""

    def __init__(self, *arguments: object, every: int = 0, after: int = 10**9) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.every, self.after = every, after

    def measure(self, job: Job, progress: object) -> Evidence:
        evidence = super().measure(job, progress)  # type: ignore[arg-type]
        count = len(self.measured)
        if count > self.after or (self.every and count > 6 and count % self.every == 0):
            raise InfrastructureError("the disk is on fire")
        return evidence


def test_our_failures_are_retried_and_never_charged_to_a_candidate(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session = open_toy(place, evaluations=25)
    session.executor = InProcessExecutor({"toy": _Broken(session.opened, every=4)}, 1)
    result = asyncio.run(session.run())
    assert result.evaluations == 25 and session.state.ledger.errors > 3
    assert not session.state.lineage.failures


def test_a_burst_of_our_failures_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session = open_toy(place, evaluations=25)
    session.executor = InProcessExecutor({"toy": _Broken(session.opened, after=8)}, 1)
    with pytest.raises(InfrastructureError, match="the disk is on fire"):
        asyncio.run(session.run())
    session, result = run_toy(place, evaluations=25)  # the cause is gone: the same command resumes
    assert result.evaluations == 25


# ---- the user's repository -------------------------------------------------------------------------------------------


def test_dirty_editable_file_is_an_error_and_other_changes_a_warning(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    (place / "program.py").write_text("X = 5.0\n")
    with pytest.raises(RepositoryError, match=r"program\.py is editable and has uncommitted changes"):
        open_toy(place)
    subprocess.run(["git", "checkout", "--quiet", "program.py"], cwd=place, check=True)
    (place / "other.txt").write_text("changed\n")
    session = open_toy(place, evaluations=3)
    assert any("other.txt" in warning for warning in session.opened.warnings)
    session.opened.writer.close()


def test_an_editable_pattern_that_matches_nothing_names_what_is_there(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", toml=TOML.replace('["program.py"]', '["src/*.py"]'))
    with pytest.raises(TaskError, match=r"src/\*\.py.*matches no file.*program\.py"):
        open_toy(place)


def test_a_repository_without_a_commit_says_so(tmp_path: Path) -> None:
    place = tmp_path / "r"
    place.mkdir()
    subprocess.run(["git", "init", "--quiet"], cwd=place, check=True)
    (place / "evolve.toml").write_text(TOML)
    with pytest.raises(RepositoryError, match="no commit yet"):
        open_toy(place)


def test_a_run_keeps_its_base_when_the_user_commits_on(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = run_toy(place, evaluations=5)
    base = session.opened.grounds["toy"].base
    (place / "other.txt").write_text("newer\n")
    subprocess.run(["git", "commit", "--quiet", "-am", "Go on"], cwd=place, check=True)
    session, _ = run_toy(place, evaluations=8)
    assert session.opened.grounds["toy"].base == base
    assert any("HEAD has moved on" in warning for warning in session.opened.warnings)


def test_a_changed_task_does_not_go_on_under_the_old_name(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=5)
    (place / "evolve.toml").write_text(TOML.replace('timeout = "5s"', 'timeout = "50s"'))
    with pytest.raises(RepositoryError, match="would not compare"):
        open_toy(place, evaluations=8)


def test_two_processes_cannot_search_one_run(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    first = open_toy(place, evaluations=5)
    with pytest.raises(RepositoryError):
        open_toy(place, evaluations=5)
    first.opened.writer.close()


def test_steering_from_another_process(tmp_path: Path) -> None:
    """A stop written to another log ends a live run; a directive reaches later briefs."""
    place = make_repository(tmp_path / "r")
    seen: list[tuple[str, ...]] = []

    class Listener(Climb):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            seen.append(brief.directives)
            await asyncio.sleep(0.01)
            if brief.number == 20:
                other = Archive.open(place)
                writer = other.writer("toy")
                writer.append(ev.Directive("try larger steps"))
                writer.append(ev.BudgetChanged(evaluations=90.0))
                writer.flush()
                writer.close()
            if brief.number == 80:
                other = Archive.open(place)
                writer = other.writer("toy")
                writer.append(ev.Paused("stopping"))
                writer.flush()
                writer.close()
            return await super().propose(brief, desk)

    session, result = run_toy(place, evaluations=1000, mutator=Listener())
    assert result.reason in ("stopped", "evaluations") and result.evaluations <= 140
    assert ("try larger steps",) in seen and session.state.ledger.limits["evaluations"] == 90.0


def test_a_run_that_ends_leaves_a_checkpoint_for_the_next_reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replay, "WORTH_KEEPING", 10)
    toy = make_repository(tmp_path / "r")
    run_toy(toy, evaluations=6)
    with Archive.open(toy) as archive:
        kept = checkpoint.read_cache(archive.home, "toy")
        assert kept and checkpoint.count(kept) == sum(1 for _ in archive.events("toy"))
        older = RunState()
        for recorded in list(archive.events("toy"))[:5]:
            older.apply(recorded)
        archive.save(older)  # as maintenance that began before the end
        assert checkpoint.read_cache(archive.home, "toy") == kept


class _Named:
    """A selector of somebody's own with islands of these names."""

    name = "own"

    def __init__(self, *islands: str, declared: bool = False) -> None:
        self.islands = islands
        if declared:
            self.names = islands

    def choose(self, population: Population, operators: Sequence[str], rng: random.Random) -> Choice:
        return Choice(operators[0], (population.seed.commit,), self.islands[0])


@pytest.mark.parametrize("declared", [True, False])
@pytest.mark.parametrize(("island", "says"), [("best", "cannot be called 'best'"), ("a/b", "a/b")])
def test_an_island_that_cannot_be_a_branch_is_an_error_at_the_start(
    tmp_path: Path, island: str, says: str, declared: bool
) -> None:
    place = make_repository(tmp_path / "r")
    settings = RunSettings(where=place, evaluations=5, control=False, workers=1)
    with pytest.raises(UsageError, match=says):
        session = api.open_session(
            settings, mutators={"climb": Climb()}, selector=_Named(island, declared=declared),
            executor=lambda opened: InProcessExecutor({"toy": Numbers(opened)}, 1),
        )  # fmt: skip
        asyncio.run(session.run())
    run_toy(place, evaluations=5)  # and the run's lock is free again


def test_a_grader_that_fails_on_the_seed_stops_the_run_at_once(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session = open_toy(place, evaluations=25)
    numbers = Numbers(session.opened)
    measure = numbers.measure

    def fail(job: Job, progress: object) -> Evidence:
        if len(numbers.measured) >= 9:
            raise GraderError("evaluate.py raised KeyError: 'x' on the unchanged seed: mend it, then start again")
        return measure(job, progress)  # type: ignore[arg-type]

    numbers.measure = fail  # type: ignore[method-assign, assignment]
    session.executor = InProcessExecutor({"toy": numbers}, 1)
    with pytest.raises(GraderError, match="mend it"):
        asyncio.run(session.run())
    assert session.state.ledger.errors == 1 and GraderError.exit_code == 3
    _, result = run_toy(place, evaluations=25)
    assert result.evaluations == 25


def test_a_run_that_takes_duplicates_still_refuses_the_very_same_files(tmp_path: Path) -> None:
    """Kills: a second candidate with a tree that has evidence already, which no verdict ever reached: the run waited for ever."""

    class Twice(Climb):
        """Each file twice, then the same program with another comment."""

        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            n = (brief.number + 1) // 3
            note = "# again\n" if brief.number % 3 == 2 else ""
            text = f"{note}X = {n}.5\nY = 2.0\n".encode()
            return Proposal({"program.py": text}, f"number {n}", "improve", parents=(brief.parents[0],))

    place = make_repository(tmp_path / "r")
    session, result = run_toy(place, mutator=Twice(), evaluations=12, policy={"duplicates": False})
    assert result.reason == "evaluations" and result.evaluations == 12 and not session.state.pending.candidates
    shapes = [session.state.candidates[c].tree for c in session.state.lineage.verdict_order]
    assert len(set(shapes)) == 12 and session.state.lineage.refused["duplicate"] >= 3

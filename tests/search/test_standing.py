"""Suspension, quarantine and the re-run that releases, in real runs: only the evaluator is in process."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from evolve import api
from evolve.evaluators.evaluator import Job
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk
from evolve.mutators.prompting import scored
from evolve.opening import Opened
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.population.candidate import Candidate, Standing
from evolve.population.folds import RunState
from evolve.replay import Replay
from evolve.session import Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Check, Evidence, Outcome
from evolve.tasks.verdict import VERIFY, Status
from tests.search.scene import Climb, Numbers, cli, json_lines, make_repository, state_of


class Leap(Climb):
    """Climbs by small steps; the brief of number `at` multiplies X by `times`."""

    def __init__(self, at: int = 12, times: float = 100.0) -> None:
        self.at, self.times = at, times

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        rng = random.Random(brief.seed)
        lines = desk.files(brief.parents[0])["program.py"].decode().splitlines(keepends=True)
        value = float(lines[0].partition(" = ")[2])
        value = value * self.times if brief.number == self.at else value + 0.02 * rng.random()
        lines[0] = f"X = {value:.6f}\n"
        return Proposal({"program.py": "".join(lines).encode()}, "leap" if brief.number == self.at else "step", "climb")


class Watchful(Numbers):
    """Numbers, with checks: `find(x, stage)` says what a check finds about a program with this X."""

    def __init__(self, opened: Opened, find: Callable[[float, str], Outcome]) -> None:
        super().__init__(opened)
        self.find = find

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        evidence = super().measure(job, progress)
        found = []
        for tree in job.trees:
            if tree in evidence.failures:
                continue
            text = (self.opened.archive.store.file(tree, "program.py") or b"").decode()
            outcome = self.find(float(text.split("\n")[0].partition(" = ")[2]), job.stage)
            if outcome is not Outcome.PASSED:
                found.append(Check("clock", outcome, "it says 1 s, the referee's clock 9 s", tree))
        return replace(evidence, checks=tuple(found))


def opened(
    place: Path,
    mutator: object,
    find: Callable[[float, str], Outcome] = lambda x, stage: Outcome.PASSED,
    **settings: object,
) -> tuple[Session, Watchful]:
    wanted = {"control": False, "publish": False, "workers": 1, "seed": 1, **settings}
    made: list[Watchful] = []

    def executor(run: Opened) -> InProcessExecutor:
        made.append(Watchful(run, find))
        return InProcessExecutor({"toy": made[0]}, 1)

    session = api.open_session(
        RunSettings(where=place, **wanted), mutators={"climb": mutator}, executor=executor,  # type: ignore[arg-type, dict-item]
    )  # fmt: skip
    return session, made[0]


def of_kind(place: Path, *kinds: str) -> list[ev.Event]:
    return [r.event for r in Archive.open(place).events("toy") if r.event.kind in kinds]


def leap_of(state: RunState) -> Candidate:
    return next(c for c in state.candidates.values() if c.idea == "leap")


def test_an_honest_leap_is_measured_again_at_once_and_reigns(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, evaluator = opened(place, Leap(), evaluations=20)
    result = asyncio.run(session.run())
    leap = leap_of(session.state)
    assert leap.standing is Standing.RELEASED and leap.was_champion
    assert result.best["toy"].fitness is not None and result.best["toy"].fitness > 100
    assert result.evaluations == 20, "a re-run is no evaluation of the budget"
    jobs = [job for job in evaluator.measured if leap.tree in job.trees]
    assert [job.stage for job in jobs[:2]] == ["run", VERIFY]
    at = evaluator.measured.index(jobs[0])
    assert evaluator.measured[at + 1] is jobs[1], "nothing else is measured before it"
    kinds = [e.kind for e in of_kind(place, "suspended", "judged", "released") if e.candidate == leap.commit]  # type: ignore[attr-defined]
    assert kinds[:3] == ["suspended", "judged", "released"], "in doubt before anybody could choose it"


def test_while_it_waits_it_is_neither_parent_nor_champion(tmp_path: Path) -> None:
    """Killed before the re-run: the record says suspended, and a resume re-runs it before anything else."""
    place = make_repository(tmp_path / "r")
    session, evaluator = opened(place, Leap(), evaluations=20)
    measure = evaluator.measure

    def stop_at_the_rerun(job: Job, progress: Callable[[str], None]) -> Evidence:
        if job.stage == VERIFY and not job.id.startswith("probe"):
            raise KeyboardInterrupt
        return measure(job, progress)

    evaluator.measure = stop_at_the_rerun  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        asyncio.run(session.run())
    session.opened.archive.close()
    state = state_of(place)
    leap = leap_of(state)
    assert leap.standing is Standing.SUSPENDED and leap.fitness is not None and not leap.eligible
    assert state.champion("toy") is not leap and leap.commit not in state.live.islands["toy"][leap.island].members
    assert "plausible" in state.lineage.doubts[leap.commit].reason
    session, evaluator = opened(place, Leap(), evaluations=20)
    asyncio.run(session.run())
    assert evaluator.measured[0].stage == VERIFY
    assert leap_of(session.state).was_champion


def test_a_leap_that_the_rerun_does_not_bear_out_stays_out(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = opened(
        place, Leap(), lambda x, stage: Outcome.AUDIT if stage == VERIFY else Outcome.PASSED, evaluations=20
    )
    result = asyncio.run(session.run())
    leap = leap_of(session.state)
    assert leap.standing is Standing.SUSPENDED and leap.verdict is not None and leap.verdict.status is Status.AUDIT
    assert not leap.was_champion and leap.children == 0 and result.evaluations == 20
    assert not of_kind(place, "released")


def test_an_audit_is_measured_again_and_a_clean_rerun_gives_it_a_score(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = opened(
        place,
        Leap(times=1.2),
        lambda x, stage: Outcome.AUDIT if stage == "run" and x > 1.2 else Outcome.PASSED,
        evaluations=20,
    )
    asyncio.run(session.run())
    leap = leap_of(session.state)
    assert leap.standing is Standing.RELEASED and leap.fitness is not None
    assert leap.commit in session.state.live.islands["toy"][leap.island].members


def caught_late(place: Path, evaluations: int = 40) -> tuple[Session, Watchful, Candidate]:
    """A run in which a candidate with X above 1.2 is shown to cheat only at the champion gate, with children by then."""
    session, evaluator = opened(
        place, Leap(at=10, times=1.2), lambda x, stage: Outcome.PASSED, evaluations=evaluations,
        policy={"exact": False},
    )  # fmt: skip
    asyncio.run(session.run())
    session.opened.archive.close()
    leap = leap_of(session.state)
    assert leap.children > 0 and leap.was_champion
    return session, evaluator, leap


def test_a_marked_candidate_takes_its_descendants_along_and_they_come_back_one_by_one(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    _, _, leap = caught_late(place)
    archive = Archive.open(place)
    writer = archive.writer("toy")
    writer.append(ev.Quarantined("toy", leap.commit, "looks like a table of answers", leap.commit))
    writer.close()
    archive.close()
    state = state_of(place)
    family = state.lineage.descendants(leap.commit)
    assert family and all(state.candidates[c].standing is Standing.QUARANTINED for c in (leap.commit, *family))
    assert state.champion("toy").commit not in (leap.commit, *family)  # type: ignore[union-attr]
    assert not set(family) & {m for island in state.live.islands["toy"].values() for m in island.members}
    before = {c for c in family if state.candidates[c].fitness is not None}

    session, evaluator = opened(place, Leap(at=10, times=1.2), evaluations=60)
    asyncio.run(session.run())
    stages = [job.stage for job in evaluator.measured]
    reruns = [i for i, stage in enumerate(stages) if stage == VERIFY]
    assert len(reruns) >= 5 and all("run" in stages[a:b] for a, b in pairwise(reruns)), stages
    first = session.state.candidates[
        session.state.lineage.by_tree[("toy", bytes.fromhex(evaluator.measured[reruns[0]].trees[0]))]
    ]
    best = max(state.candidates[c].fitness or 0.0 for c in before)
    assert first.fitness == pytest.approx(best, rel=1e-12), "the best one comes first"
    released = [c for c in session.state.candidates.values() if c.standing is Standing.RELEASED]
    events = [e for e in of_kind(place, "released") if e.candidate != leap.commit]  # type: ignore[attr-defined]
    assert len(released) == len(events) == len(reruns)
    assert session.state.candidates[leap.commit].standing is Standing.QUARANTINED, "only a person releases the cause"
    champion = session.state.champion("toy")
    assert champion is not None and champion.commit != leap.commit


def test_a_cheat_shown_at_the_gate_loses_its_throne_and_its_children(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    seen: list[float] = []

    def find(x: float, stage: str) -> Outcome:
        if x < 1.15 or x > 1.5:
            return Outcome.PASSED
        if stage == "confirm":
            seen.append(x)
        return Outcome.CHEAT if stage == "confirm" and len(seen) > 3 else Outcome.PASSED

    session, _ = opened(place, Leap(at=8, times=1.2), find, evaluations=40, policy={"exact": False})
    asyncio.run(session.run())
    state = session.state
    cheats = [c for c in state.candidates.values() if c.verdict and c.verdict.status is Status.CHEAT]
    assert cheats, "the scene shows a cheat at a gate"
    for cheat in cheats:
        assert cheat.standing is Standing.QUARANTINED and state.lineage.champions["toy"] != cheat.commit
    champion = state.champion("toy")
    assert champion is not None and champion.eligible
    assert not any(c.commit in island.members for island in state.live.islands["toy"].values() for c in cheats)
    desk = session.desk(Brief(1, "toy", "improve", (cheats[0].commit,), 1))
    text = scored(desk, cheats[0])
    assert "integrity" in text and "clock" not in text and "referee" not in text


def test_a_child_born_after_its_parent_was_caught_is_quarantined(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _, leap = caught_late(place, 25)
    state = session.state
    n = max(c.number for c in state.candidates.values())

    def apply(event: ev.Event, position: int) -> None:
        state.apply(ev.Recorded(event, "log", position, state.clock + 1, 0.0, f"{position:040x}"))

    apply(ev.Quarantined("toy", leap.commit, "shown", leap.commit), 0)
    child, graft = "c" * 40, "d" * 40
    seed = state.lineage.seeds["toy"]
    apply(ev.Born(900, "toy", child, "1" * 40, (leap.commit,), n + 1), 1)
    apply(ev.Born(901, "toy", graft, "2" * 40, (seed,), n + 2, "transplant", inspired_by=(child,)), 2)
    apply(ev.Born(902, "toy", "e" * 40, "3" * 40, (seed,), n + 3, "improve", inspired_by=(child,)), 3)
    assert state.candidates[child].standing is Standing.QUARANTINED
    assert state.candidates[graft].standing is Standing.QUARANTINED, "it took code from one"
    assert state.candidates["e" * 40].standing is Standing.ACTIVE, "having been shown one is no descent"
    assert set(state.lineage.descendants(leap.commit)) >= {child, graft}
    apply(ev.Released("toy", child, "clean"), 4)
    apply(ev.Born(903, "toy", "f" * 40, "4" * 40, (child,), n + 4), 5)
    assert state.candidates["f" * 40].standing is Standing.ACTIVE, "what was released has honest children"


def test_people_see_who_is_in_doubt_and_why(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    _, _, leap = caught_late(place, 25)
    archive = Archive.open(place)
    writer = archive.writer("toy")
    writer.append(ev.Quarantined("toy", leap.commit, "a table of answers", leap.commit))
    writer.close()
    archive.close()
    child = state_of(place).lineage.children[leap.commit][0]
    assert "quarantined" in cli("log", cwd=place).stdout
    assert "in doubt    quarantined" in cli("status", cwd=place).stdout
    assert "only a person releases it" in cli("show", leap.commit[:10], cwd=place).stdout
    assert f"descends from #{leap.number}: a table of answers" in cli("show", child[:10], cwd=place).stdout
    (row,) = [r for r in json_lines(cli("log", "--json", cwd=place).stdout) if r["commit"] == leap.commit]
    assert row["standing"] == "quarantined" and "table" in str(row["doubt"])


def test_a_replay_decides_on_standing_again(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    seen: list[float] = []

    def find(x: float, stage: str) -> Outcome:
        if stage == "confirm" and x > 50:
            seen.append(x)
        return Outcome.CHEAT if len(seen) > 2 and stage == "confirm" and x > 50 else Outcome.PASSED

    session, _ = opened(place, Leap(), find, evaluations=30, policy={"exact": False})
    asyncio.run(session.run())
    session.opened.archive.close()
    kinds = {e.kind for e in of_kind(place, "suspended", "released", "quarantined")}
    assert kinds == {"suspended", "released", "quarantined"}
    found = asyncio.run(Replay(Archive.open(place), "toy", {"climb": Leap()}).run())
    assert found.difference == "" and found.briefs >= 29
    assert found.champions == session.state.lineage.champions


class Once(Climb):
    """Climbs by small steps for `until` briefs, then writes a program with a hopeless X each time."""

    until = 24

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        lines = desk.files(brief.parents[0])["program.py"].decode().splitlines(keepends=True)
        value = float(lines[0].partition(" = ")[2])
        value = value + 0.01 + 1e-5 * brief.number if brief.number <= self.until else 0.001 * brief.number
        lines[0] = f"X = {value:.6f}\n"
        return Proposal({"program.py": "".join(lines).encode()}, "step", "climb")


def test_an_exact_gain_reigns_at_once_and_a_champion_that_stands_is_measured_again(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, evaluator = opened(place, Once(), evaluations=40)
    asyncio.run(session.run())
    state = session.state
    stages = [(job.stage, job.trees[0]) for job in evaluator.measured]
    champion = state.champion("toy")
    assert champion is not None and champion.fitness and not any(stage == "confirm" for stage, _ in stages)
    assert len(state.lineage.reigns["toy"]) >= 4, "each gain of the climb reigned"
    reruns = [tree for stage, tree in stages if stage == VERIFY]
    assert reruns[-1] == champion.tree and len(set(reruns)) == len(reruns) < len(state.lineage.reigns["toy"]) / 2, (
        "those that gave way within ten evaluations were not, and none is twice"
    )
    session.opened.archive.close()
    found = asyncio.run(Replay(Archive.open(place), "toy", {"climb": Once()}).run())
    assert found.difference == "" and found.champions == state.lineage.champions


@pytest.mark.parametrize("outcome", [Outcome.CHEAT, Outcome.AUDIT])
def test_a_champion_caught_when_it_is_measured_again_gives_way(tmp_path: Path, outcome: Outcome) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = opened(
        place, Once(), lambda x, stage: outcome if stage == VERIFY and x > 1.08 else Outcome.PASSED, evaluations=40
    )
    asyncio.run(session.run())
    champion = session.state.champion("toy")
    caught = [c for c in session.state.candidates.values() if c.verdict and c.verdict.status.value == outcome.value]
    assert caught and all(not c.eligible for c in caught)
    assert champion is not None and champion.eligible and champion not in caught

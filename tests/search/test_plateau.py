"""The plateau ladder in whole runs: each step an event, what its orders become, the handover, tactics, repairs, ports."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Mapping
from pathlib import Path

from evolve import api
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import Desk
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Family, Proposal
from evolve.population.checkpoint import Checkpoint, dump, load
from evolve.population.folds.credit import Arm
from evolve.population.selection import bandit
from evolve.session import Session
from evolve.settings import RunSettings
from tests.search.scene import TOML, Climb, Numbers, make_repository

FLAT = {"ladder": "on", "lineages": "on", "opening": 3, "patience": 0.0, "handover": 0.0}


class Idle(Climb):
    """Changes the program and gains nothing; answers what a model answers, and keeps the briefs it saw."""

    name = "idle"
    operators = ("improve", "explore", "resample", "tactic", "fix", "port")
    models: Mapping[str, None] = {"cheap": None, "strong": None}

    def __init__(self) -> None:
        self.briefs: list[Brief] = []

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        self.briefs.append(brief)
        if brief.operator == "tactic":
            number = sum(b.operator == "tactic" for b in self.briefs)
            return Proposal(
                families=(Family(f"family {number}", "how"), Family("family 1", "again")), operator="tactic"
            )
        text = desk.files(brief.parents[0])["program.py"].decode()
        files = {"program.py": f"{text}Z{brief.number} = 0\n".encode()}
        return Proposal(files, "idle", f"{brief.operator}/whole", str(brief.hint.get("model", "")))


class Lucky(Idle):
    """Gains once, with its eighth brief."""

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        made = await super().propose(brief, desk)
        if brief.number == 8 and made.files:
            content = made.files["program.py"] or b""
            return Proposal({"program.py": content.replace(b"X = 1.0", b"X = 9.0")}, "leap", "improve/whole")
        return made


def searched(place: Path, mutator: Idle, evaluations: int, **policy: object) -> Session:
    settings = RunSettings(
        where=place, control=False, publish=False, workers=1, seed=1, evaluations=evaluations, policy={**FLAT, **policy}
    )
    made = api.open_session(
        settings, mutators={"idle": mutator}, executor=lambda opened: InProcessExecutor({"toy": Numbers(opened)}, 1)
    )
    asyncio.run(made.run())
    return made


def steps(place: Path) -> list[str]:
    events = (recorded.event for recorded in Archive.open(place).events("toy"))
    return [event.rung for event in events if isinstance(event, ev.Plateau)]


def test_the_ladder_is_climbed_in_order_and_begins_anew(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Lucky()
    made = searched(place, mutator, 170)
    taken = steps(place)
    after = taken[taken.index("resample") :]
    assert after[:5] == ["resample", "tactic", "lineage", "restart", "resample"], taken
    again = [b for b in mutator.briefs if b.operator == "resample"]
    leap = next(c for c in made.state.candidates.values() if c.idea == "leap")
    assert len(again) >= 3 and all(b.parents == leap.parents[:1] and b.hint["operator"] == "improve" for b in again)
    families = [b for b in mutator.briefs if b.hint.get("family")]
    assert families and families[0].operator == "explore" and families[0].hint["family"] == "family 1: how"
    assert families[0].island == "f1" and made.state.plateaus.families["toy"] == len(made.state.memory.tactics)
    assert load(dump(Checkpoint(made.state, {}))) is not None


def test_a_tactic_call_is_told_of_the_tactics_tried_and_a_known_one_is_not_taken_again(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Idle()
    made = searched(place, mutator, 90, resample=0)
    asked = [b for b in mutator.briefs if b.operator == "tactic"]
    assert asked[0].hint["tactics"] == [] and asked[1].hint["tactics"] == ["family 1: how"]
    assert [t.family for t in made.state.memory.tactics] == [f"family {n + 1}" for n in range(len(asked))]
    assert not made.state.pending.briefs


def test_a_lineage_starts_from_the_seed_and_a_restart_leaves_all_islands_but_the_champions(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Lucky()
    made = searched(place, mutator, 70, resample=0, tactics="off")
    assert steps(place)[-2:] == ["lineage", "restart"] or steps(place)[-2:] == ["restart", "lineage"]
    fresh = [b for b in mutator.briefs if b.island.startswith("l")]
    assert fresh[0].parents == (made.state.lineage.seeds["toy"],)
    live = made.state.live.islands["toy"]
    home = made.state.champion("toy").island  # type: ignore[union-attr]
    old = {name for name, island in live.items() if name.startswith("i") and island.members}
    assert old <= {home} and live[home].members


def test_parts_are_off_where_the_policy_says_so(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    searched(place, Idle(), 40, ladder="off")
    assert not steps(place)


def test_the_cheap_model_hands_over_once(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    mutator = Idle()
    searched(place, mutator, 40, ladder="off", handover=0.5)
    used = [b.hint["model"] for b in mutator.briefs]
    assert set(used[:15]) == {"cheap"} and set(used[-10:]) == {"strong"}
    events = [r.event for r in Archive.open(place).events("toy")]
    assert [e.model for e in events if isinstance(e, ev.HandedOver)] == ["strong"]


def test_a_failed_candidate_is_mended_once(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")

    class Fragile(Lucky):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            made = await super().propose(brief, desk)
            if brief.number == 12:
                return Proposal({"program.py": b"X = 1.0\n"}, "broken", "improve/whole")
            return made

    mutator = Fragile()
    made = searched(place, mutator, 60, ladder="off", fix=0.5)
    fixes = [b for b in mutator.briefs if b.operator == "fix"]
    broken = next(c for c in made.state.candidates.values() if c.idea == "broken")
    assert [b.parents for b in fixes] == [(broken.commit,)], "asked once: it has a child then"
    assert not [b for b in mutator.briefs if b.operator == "port"], "there is one task"


def test_the_bandit_prefers_what_gains_for_its_cost() -> None:
    arms = {"operator:a": Arm(20, 10, 0.0, 20), "operator:b": Arm(20, 2, 0.0, 20), "operator:c": Arm(20, 10, 2.0, 20)}
    assert bandit.pick("operator", ["a", "b", "c"], arms) == "a"
    assert bandit.pick("operator", ["b", "c"], arms) == "b", "c gains five times as much for 360 times the cost"
    assert bandit.pick("operator", ["a", "new"], arms) == "new"
    assert bandit.pick("model", ["a"], {}) == "a"


def test_a_bandit_run_uses_the_operator_that_gains(tmp_path: Path) -> None:
    class Two(Climb):
        name = "idle"
        operators = ("improve", "explore")

        def __init__(self) -> None:
            self.seen: list[str] = []

        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            self.seen.append(brief.operator)
            if brief.operator == "improve":
                text = desk.files(brief.parents[0])["program.py"].decode()
                return Proposal({"program.py": f"{text}Z{brief.number} = 0\n".encode()}, "idle", "idle")
            return await super().propose(brief, desk)

    mutator = Two()
    place = make_repository(tmp_path / "r")
    made = searched(place, mutator, 80, ladder="off", bandit="on")  # type: ignore[arg-type]
    assert mutator.seen[40:].count("explore") > 2 * mutator.seen[40:].count("improve")
    assert made.state.credit.arms["toy"]["operator:explore"].gains > 0


def test_what_gained_on_one_task_is_offered_to_the_other(tmp_path: Path) -> None:
    """Kills: a port that names no candidate of another task, or is asked for before anything gained there."""
    place = make_repository(tmp_path / "r")
    (place / "second.toml").write_text(TOML.replace('name = "toy"', 'name = "second"'))
    for words in (["add", "."], ["commit", "-qm", "A second task"]):
        subprocess.run(["git", *words], cwd=place, check=True, capture_output=True)
    mutator = Lucky()
    settings = RunSettings(
        tasks=(str(place / "evolve.toml"), str(place / "second.toml")), where=place, name="both", control=False, publish=False,
        workers=1, seed=1, evaluations=60, policy={**FLAT, "ladder": "off", "port": 0.4},
    )  # fmt: skip
    session = api.open_session(
        settings, mutators={mutator.name: mutator},
        executor=lambda opened: InProcessExecutor({n: Numbers(opened, name=n) for n in ("toy", "second")}, 1),
    )  # fmt: skip
    asyncio.run(session.run())
    candidates = session.state.candidates
    leap = next(c for c in candidates.values() if c.idea == "leap")
    ports = [b for b in mutator.briefs if b.operator == "port"]
    assert ports and all(candidates[str(b.hint["candidate"])].task != b.task for b in ports)
    other = [b for b in ports if b.task != leap.task and b.number > 12]
    assert other and all(b.hint["candidate"] == leap.commit for b in other)
    assert any(c.operator == "port/whole" and c.verdict is not None for c in candidates.values()), "its answers are judged"

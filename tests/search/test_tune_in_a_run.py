"""The numeric tuner in whole runs: when studies open and end, what they are charged, that a replay of the log agrees."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from evolve.errors import UsageError
from evolve.mutators.tune import Tune
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.population.checkpoint import Checkpoint, dump, load
from evolve.population.policy import Policy
from evolve.session import Session
from evolve.tasks.evidence import Failure, FailureKind
from tests.search.scene import TOML, Climb, Numbers, history, make_repository, open_toy

PEAK = 'X = 50.0\nY = 20.0\n\n\nprint(f"score: {X + Y}")\n'


class Peak(Numbers):
    """Best where X is 57 and Y is 23."""

    def _value(self, tree: str) -> float | Failure:
        found = super()._value(tree)
        if isinstance(found, Failure):
            return found
        text = (self.opened.archive.store.file(tree, "program.py") or b"").decode()
        x, y = (float(line.split(" = ")[1].strip("()")) for line in text.splitlines()[:2])
        return -((x - 57.0) ** 2) - (y - 23.0) ** 2


class Structural(Climb):
    """One structural change that gains nothing by itself; then nothing new."""

    async def propose(self, brief: Brief, desk: object) -> Proposal:
        text = desk.files(brief.parents[0])["program.py"].decode()  # type: ignore[attr-defined]
        line = f"# {brief.number}\nZ{brief.number} = 0\n"
        return Proposal({"program.py": (text + line).encode()}, "grow", "grow")


def session(place: Path, mutator: object, **settings: object) -> Session:
    from evolve import api
    from evolve.evaluators.executors import InProcessExecutor
    from evolve.settings import RunSettings

    wanted = {"control": False, "publish": False, "workers": 1, "seed": 1, "evaluations": 60, **settings}
    return api.open_session(
        RunSettings(where=place, **wanted),  # type: ignore[arg-type]
        mutators={"grow": mutator, "tune": Tune()},  # type: ignore[dict-item]
        executor=lambda opened: InProcessExecutor({"toy": Peak(opened)}, 1),
    )


def test_a_new_best_is_tuned_and_the_gain_is_the_tuners(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", program=PEAK)
    made = session(place, Structural(), policy={"opening": 2, "tune": 0.5})
    result = asyncio.run(made.run())
    state = made.state
    events = [recorded.event for recorded in Archive.open(place).events("toy")]
    opened = [e for e in events if isinstance(e, ev.StudyOpened)]
    closed = [e for e in events if isinstance(e, ev.StudyClosed)]
    assert opened and len(opened[0].knobs) == 2 and opened[0].why.startswith("an island's best")
    assert closed and closed[0].gain > 0 and closed[0].study == opened[0].study
    best = result.best["toy"]
    assert (
        best.fitness is not None
        and best.fitness > -40
        and any(c.operator.startswith("tune/") for c in state.lineage.path_to(best.commit))
    )
    trials = [c for c in state.candidates.values() if c.operator.startswith("tune/")]
    tuning, work = state.ledger.spent_on("tuning"), state.ledger.spent_on("work")
    assert tuning["evaluations"] == len([c for c in trials if c.verdict]) > 8
    assert all(e.radius > 0 and e.opening == 0 for e in opened), "near ones"
    assert not any(_overlapping(events, e.study) for e in opened), "a trial is asked for when the one before has an end"
    assert tuning["evaluations"] + work["evaluations"] == state.ledger.evaluations == 60
    assert load(dump(Checkpoint(state, {}))) is not None


def _overlapping(events: list[ev.Event], study: str) -> bool:
    under_way: set[int] = set()
    briefs: dict[str, int] = {}
    for event in events:
        if isinstance(event, ev.Asked) and event.brief.hint.get("study") == study:
            if under_way:
                return True
            under_way.add(event.brief.number)
        elif isinstance(event, ev.Born) and event.brief in under_way:
            briefs[event.candidate] = event.brief
        elif isinstance(event, ev.Refused):
            under_way.discard(event.brief)
        elif isinstance(event, ev.Judged):
            under_way.discard(briefs.pop(event.candidate, -1))
    return False


def test_no_more_than_its_share_goes_to_tuning(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", program=PEAK)
    made = session(place, Climb(), evaluations=120, policy={"opening": 2, "tune": 0.1})
    asyncio.run(made.run())
    spent = made.state.studies.evaluations.get("toy", 0)
    assert 0 < spent <= 24 + 0.1 * 120


def test_tuning_is_off_where_the_policy_says_so(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", program=PEAK)
    made = session(place, Structural(), policy={"tune": "off", "opening": 2})
    asyncio.run(made.run())
    assert not made.state.studies.count


def test_the_tuner_alone_goes_from_study_to_study(tmp_path: Path) -> None:
    from evolve import api
    from evolve.evaluators.executors import InProcessExecutor
    from evolve.settings import RunSettings

    place = make_repository(tmp_path / "r", program=PEAK)
    settings = RunSettings(
        where=place, mutators=("tune",), evaluations=60, seed=1, control=False, publish=False, workers=1
    )
    made = api.open_session(settings, executor=lambda opened: InProcessExecutor({"toy": Peak(opened)}, 1))
    result = asyncio.run(made.run())
    assert result.evaluations == 60 and made.state.studies.count["toy"] > 1
    assert (result.best["toy"].fitness or -100) > -20


def test_a_resume_goes_on_with_the_study(tmp_path: Path) -> None:
    """The same trials whether or not the process ended in the middle of one."""
    policy = {"opening": 2, "tune": 0.5}
    for name, stops in (("whole", (50,)), ("halved", (12, 50))):
        place = make_repository(tmp_path / name, program=PEAK)
        for evaluations in stops:
            asyncio.run(session(place, Structural(), evaluations=50, policy=policy).run()) if evaluations == 50 else (
                asyncio.run(_stopped_at(session(place, Structural(), evaluations=50, policy=policy), evaluations))
            )
    assert history(tmp_path / "whole") == history(tmp_path / "halved")


async def _stopped_at(made: Session, evaluations: int) -> None:
    def watch(at: Session) -> None:
        if at.state.ledger.evaluations >= evaluations:
            at.search.stop_reason = "stopped"

    made.progress = watch
    await made.run()


def test_a_run_keeps_its_policy_and_an_unknown_part_is_named(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    first = open_toy(place, evaluations=3, policy={"elite": "0.9"})
    assert first.search.policy == Policy(elite=0.9)
    asyncio.run(first.run())
    again = open_toy(place, evaluations=5, policy={"elite": 0.2})
    assert again.search.policy.elite == 0.9 and any("elite stays 0.9" in warning for warning in again.opened.warnings)
    again.opened.writer.close()
    with pytest.raises(UsageError, match="did you mean 'islands'"):
        Policy.of({"iland": 2})
    with pytest.raises(UsageError, match=r"must be 0\.\.1"):
        Policy.of({"elite": 2})


HOOK = '''
TABLE = "program.py:XY"

def problem(numbers):
    x, y = numbers
    return {"start": [x, y], "objective": lambda v: ((v[0] - 57) ** 2 + (v[1] - 23) ** 2, [2 * (v[0] - 57), 2 * (v[1] - 23)]),
            "numbers": lambda v: v.tolist()}
'''


class Pair(Peak):
    """The peak of a pair XY."""

    def _value(self, tree: str) -> float | Failure:
        text = (self.opened.archive.store.file(tree, "program.py") or b"").decode()
        match = re.match(r"XY = \[([^,]+), ([^\]]+)\]", text)
        if match is None:
            return Failure(FailureKind.METRIC, "no pair")
        x, y = float(match[1]), float(match[2])
        return -((x - 57.0) ** 2) - (y - 23.0) ** 2


class Nudge(Climb):
    async def propose(self, brief: Brief, desk: object) -> Proposal:
        text = desk.files(brief.parents[0])["program.py"].decode()  # type: ignore[attr-defined]
        x, _, y = text.splitlines()[0].partition("[")[2].rstrip("]").partition(",")
        return Proposal({"program.py": f"XY = [{float(x) + 0.5 + brief.number / 1000}, {y}]\n".encode()}, "nudge", "nudge")


def test_a_task_that_says_how_is_polished_with_gradients(tmp_path: Path) -> None:
    """One candidate a polish, charged as tuning, its request on record."""
    from evolve import api
    from evolve.evaluators.executors import InProcessExecutor
    from evolve.settings import RunSettings

    toml = TOML + '[evaluate.settings]\npolish = "polish.py"\n'
    place = make_repository(tmp_path / "r", toml=toml, program="XY = [50.0, 20.0]\n")
    (place / "polish.py").write_text(HOOK)
    settings = RunSettings(where=place, evaluations=12, seed=1, control=False, publish=False, workers=1, policy={"opening": 2})
    made = api.open_session(
        settings, mutators={"grow": Nudge(), "tune": Tune()}, executor=lambda opened: InProcessExecutor({"toy": Pair(opened)}, 1)
    )
    result = asyncio.run(made.run())
    fitness = result.best["toy"].fitness
    assert fitness is not None and fitness > -1e-6, "the peak, by one polish"
    events = [recorded.event for recorded in Archive.open(place).events("toy")]
    opened = [e for e in events if isinstance(e, ev.StudyOpened)]
    asked = [e for e in events if isinstance(e, ev.Requested) and e.model == "slsqp"]
    assert opened and all(e.polish and e.trials == 1 and not e.knobs for e in opened) and len(asked) == len(opened)
    assert made.state.ledger.spent_on("tuning")["evaluations"] >= 1

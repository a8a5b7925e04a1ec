"""Behavioural fingerprints in a run: stored at birth, compared before an evaluation is paid for."""

from __future__ import annotations

from pathlib import Path

from evolve.mutators import Desk
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from tests.search.scene import TOML, Climb, make_repository, run_toy

PROBED = TOML + '[evaluate.settings]\nprobes = { target = "program.py:value", inputs = [[]] }\n'


class Same(Climb):
    """Every second proposal is another program of the same value; keeps what the desk says of it."""

    def __init__(self) -> None:
        self.told: list[str] = []

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        if brief.number % 2:
            return await super().propose(brief, desk)
        text = desk.files(brief.parents[0])["program.py"]
        files = {"program.py": text.replace(b"return X + Y", b"return Y + X + %d - %d" % (brief.number, brief.number))}
        twin = await desk.behaves_as(files)  # type: ignore[attr-defined]
        self.told.append(twin.commit if twin else "")
        return Proposal(files, "the same in other words", "same")


def test_a_program_that_behaves_as_a_known_one_costs_no_evaluation(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", toml=PROBED)
    mutator = Same()
    session, result = run_toy(place, evaluations=6, mutator=mutator, unsafe=True)
    events = [r.event for r in Archive.open(place).events("toy")]
    refused = [e for e in events if isinstance(e, ev.Refused) and e.reason == "behaviour"]
    assert len(refused) >= 3 and all(
        e.earlier in session.state.candidates and "answers the probes" in e.why for e in refused
    )
    assert set(mutator.told) - {""} <= set(session.state.candidates) and mutator.told.count("") <= len(mutator.told) // 4 + 1
    prints = [e for e in events if isinstance(e, ev.Fingerprinted)]
    assert {e.candidate for e in prints} == set(session.state.candidates) and result.evaluations == 6


def test_they_are_off_where_the_policy_says_so(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", toml=PROBED)
    session, _ = run_toy(place, evaluations=6, mutator=Same(), unsafe=True, policy={"fingerprints": "off"})
    assert not session.state.lineage.by_behaviour and "behaviour" not in session.state.lineage.refused


def test_a_trespasser_is_not_run(tmp_path: Path) -> None:
    class Trespasser(Climb):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            if brief.number % 2:
                return Proposal({"other.txt": b"mine\n", "../out": b"x"}, "trespass", "same")
            return await super().propose(brief, desk)

    place = make_repository(tmp_path / "r", toml=PROBED)
    session, _ = run_toy(place, evaluations=3, mutator=Trespasser(), unsafe=True)
    assert session.state.lineage.refused["policy"] > 0
    assert set(session.state.lineage.by_behaviour.values()) == set(session.state.candidates)


BLIND = TOML + '[evaluate.settings]\nprobes = { target = "program.py:blind", inputs = [[]] }\n'
BLIND_PROGRAM = "X = 1.0\nY = 2.0\n\n\ndef blind():\n    return 1\n\n\nprint(f\"score: {X + Y}\")\n"


def test_probes_that_take_different_programs_for_one_are_found_out(tmp_path: Path) -> None:
    """Two audited twins with other scores, and the fingerprints are believed no longer: the search goes on."""
    place = make_repository(tmp_path / "r", toml=BLIND, program=BLIND_PROGRAM)
    session, result = run_toy(place, evaluations=12, mutator=Climb(), unsafe=True)
    lineage = session.state.lineage
    assert result.evaluations == 12 and 2 <= lineage.mistaken["toy"] <= 4
    numbers = [r.event.brief for r in Archive.open(place).events("toy") if isinstance(r.event, ev.Refused) and r.event.reason == "behaviour"]
    assert len(numbers) >= 10 and not any(number % 8 == 0 for number in numbers)
    first = next(iter(lineage.by_behaviour))
    assert lineage.known_behaviour("toy", first[1].hex()) is None

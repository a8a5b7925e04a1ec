"""A search run again from its archive: the same for any number of workers, with no network; a change is found."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from evolve.mutators import Desk
from evolve.mutators.tune import Tune
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief, Proposal
from evolve.replay import Replay
from tests.edits.generate import sr
from tests.models.server import Bench, Sent
from tests.outside.scene import command, project
from tests.search.scene import TOML, Climb, cli, make_repository, run_toy
from tests.search.test_tune_in_a_run import PEAK, session


def replayed(place: Path, run: str = "toy", mutators: dict[str, object] | None = None):  # type: ignore[no-untyped-def]
    with Archive.open(place) as archive:
        return asyncio.run(Replay(archive, run, mutators).run())  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [1, 3])
def test_every_decision_is_the_same_again(tmp_path: Path, workers: int) -> None:
    place = make_repository(tmp_path / "r", toml=TOML.replace("confirm = 1", "confirm = 3"))
    made, _ = run_toy(
        place, evaluations=40, noise=0.05, workers=workers, policy={"ladder": "on", "lineages": "on", "opening": 3}
    )
    found = replayed(place, mutators={"climb": Climb()})
    assert found.difference == "" and found.taken == 0
    assert found.briefs >= 39 and found.proposals >= 39 and found.decided > 120
    assert found.champions == made.state.lineage.champions


def test_a_resumed_run_with_studies_too(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", program=PEAK)
    policy = {"opening": 2, "tune": 0.5, "ladder": "on", "lineages": "on", "patience": 0.0}
    for evaluations in (15, 50):
        made = session(place, Climb(), evaluations=evaluations, policy=policy)
        asyncio.run(made.run())
    found = replayed(place, mutators={"grow": Climb(), "tune": Tune()})
    assert found.difference == "" and made.state.studies.count and made.state.plateaus.count
    assert found.champions == made.state.lineage.champions


def test_a_mutator_that_answers_otherwise_is_found(tmp_path: Path) -> None:
    class Changed(Climb):
        async def propose(self, brief: Brief, desk: Desk) -> Proposal:
            made = await super().propose(brief, desk)
            text = made.files["program.py"] or b""
            return Proposal({"program.py": text + b"Z = 1\n"}, made.idea, made.operator) if brief.number == 7 else made

    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=20)
    found = replayed(place, mutators={"climb": Changed()})
    assert "the record has born" in found.difference and found.briefs == 7


class Raises:
    """A model that raises a weight, with a repair turn now and then."""

    def __call__(self, sent: Sent) -> str:
        line = next(line for line in sent.text.split("\n") if line.startswith("WEIGHTS = ["))
        first = float(line.split("[")[1].split(",")[0])
        if first == 2.0 and "Send the whole answer again" not in sent.text:
            return sr("NOTHING = 1\n", "NOTHING = 2\n", "prog.py")
        return "IDEA: raise\n\n" + sr(line + "\n", f"WEIGHTS = [{first + 1}, 2.0, 3.0]\n", "prog.py")


def test_a_run_with_a_model_is_replayed_with_no_network_and_no_key(tmp_path: Path) -> None:
    where = project(tmp_path / "repo")
    models = tmp_path / "m.toml"
    with Bench(Raises()) as bench:
        models.write_text(f'[loop]\napi = "openai"\nid = "loop"\nbase_url = "{bench.url}/v1"\nkey_env = "LOOP_KEY"\n')
        command(where, "run", "--evals", "9", "--no-control", "--workers", "2", "--proposals", "2", "--seed", "1",
                "--mutator", "model:loop", EVOLVE_MODELS=str(models), LOOP_KEY="secret")  # fmt: skip
        asked = len(bench.sent)
    with Archive.open(where) as archive:
        before = archive.heads("sum")
    done = command(where, "run", "--replay", "--name", "sum", "--json", EVOLVE_MODELS=str(models))
    found = json.loads(done.stdout)
    assert found["difference"] == "" and found["proposals"] >= 8 and asked > 8
    with Archive.open(where) as archive:
        assert archive.heads("sum") == before, "a replay writes nothing"


def test_the_command_says_where_it_parts(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    run_toy(place, evaluations=5)
    done = cli("run", "--replay", "--name", "toy", cwd=place, ok=False)
    assert done.returncode == 2 and "mutator 'climb', an object of the caller's own" in done.stderr
    command(
        place, "run", "--evals", "6", "--no-control", "--no-publish", "--workers", "1", "--name", "plain", "--seed", "3"
    )
    assert "run plain: the same result" in cli("run", "--replay", "--name", "plain", cwd=place).stdout
    with Archive.open(place) as archive:
        writer = archive.writer("plain", exclusive=True)
        champion = archive.state("plain").lineage.seeds["toy"]
        writer.append(ev.Asked(Brief(99, "toy", "improve", (champion,), 1, mutator="syntactic")))
        writer.flush()
        writer.close()
    done = cli("run", "--replay", "--name", "plain", cwd=place, ok=False)
    assert done.returncode == 1 and "it differs: event" in done.stdout and "number=99" in done.stdout

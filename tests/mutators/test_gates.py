"""Gates: each catches what it is for, and lets through what it cannot be sure of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from evolve.evaluators.sandbox import Sandbox
from evolve.evaluators.sandbox.ladder import open_sandbox
from evolve.gates import Probes, Smoke, duplicate, unparsable
from evolve.models.scripted import Scripted
from evolve.mutators.model import ModelMutator
from evolve.tasks.task import Task
from tests.edits.generate import sr
from tests.mutators.scene import C2, OTHER, PROGRAM, P, brief, candidate, desk, invalid

TASK = Task.parse('[task]\nname = "t"\neditable = ["*.py"]\n[evaluate]\nscript = "e.py"\nmetrics = [{ name = "x" }]\n'
                  '[evaluate.settings]\nprobes = { target = "p.py:f", inputs = [[1], [2]] }\n')  # fmt: skip


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    made = open_sandbox(tmp_path_factory.mktemp("gate"), unsafe=True)
    yield made
    made.close()


def test_what_no_longer_parses_is_caught_with_its_place() -> None:
    found = unparsable({"p.py": b"x = 1\n"}, {"p.py": b"x = 1\ny = (2\n"})
    assert found and found.reason == "parse" and "'(' was never closed at line 2" in found.for_model
    assert unparsable({"p.py": b"x = (\n"}, {"p.py": b"x = ((\n"}) is None
    assert unparsable({}, {"p.txt": b"x = (\n", "gone.py": None}) is None


def test_a_module_that_fails_to_load_is_caught(sandbox: Sandbox) -> None:
    gate, before = Smoke(sandbox), {"p.py": b"import q\n\n\ndef f(x):\n    return q.y + x\n", "q.py": b"y = 1\n"}
    found = gate.check(before, {"p.py": b"import q\n\nz = q.nothing\n"}, TASK)
    assert found and found.reason == "load"
    assert "p.py fails as it is loaded, at line 3: AttributeError" in found.for_model
    assert gate.check(before, {"p.py": b"import q\n\n\ndef f(x):\n    return q.y - x\n"}, TASK) is None


def test_what_the_gate_cannot_be_sure_of_passes(sandbox: Sandbox) -> None:
    gate = Smoke(sandbox, seconds=1.0)
    broken = {"p.py": b"import no_such_module\n"}
    assert (
        gate.check(broken, {"p.py": b"import no_such_module\nx = 1\n"}, TASK) is None
    )  # the parent does not load here
    slow = {"p.py": b"import time\ntime.sleep(0.6)\n"}
    assert gate.check(slow, {"p.py": b"import time\ntime.sleep(0.6)\nraise ValueError\n"}, TASK) is None
    quick = {"p.py": b"x = 1\n"}
    assert gate.check(quick, {"p.py": b"import time\ntime.sleep(60)\n"}, TASK) is None  # judging has more time
    assert gate.check(quick, {"new.py": b"raise ValueError\n"}, TASK) is None  # nothing to compare with
    assert gate.check(quick, {"notes.txt": b"x\n"}, TASK) is None


def test_a_claim_of_the_candidate_is_no_more_than_that(sandbox: Sandbox) -> None:
    """Code that runs in the gate can at worst be let through: what it says has the gate's shape or counts as nothing."""
    gate = Smoke(sandbox)
    odd = b"import os\nos._exit(0)\n"
    assert gate.check({"p.py": b"x = 1\n"}, {"p.py": odd}, TASK) is None


def test_equal_behaviour_has_one_fingerprint(sandbox: Sandbox) -> None:
    probes = Probes.of(TASK)
    assert probes is not None and probes.inputs == ((1,), (2,))
    one = probes.fingerprint(sandbox, {"p.py": b"def f(x):\n    return [x + 1, 0.5]\n"}, TASK)
    same = probes.fingerprint(sandbox, {"p.py": b"def f(y):\n    out = [1 + y]\n    return out + [1 / 2]\n"}, TASK)
    other = probes.fingerprint(sandbox, {"p.py": b"def f(x):\n    return [x + 1, 0.25]\n"}, TASK)
    assert one and one == same != other
    assert probes.fingerprint(sandbox, {"p.py": b"def f(x):\n    return 1 / 0\n"}, TASK) == ""
    assert Probes.of(Task.parse(TASK.source.split("[evaluate.settings]")[0])) is None


def test_a_known_program_is_told_with_what_came_of_it() -> None:
    found = duplicate(candidate(C2, 2, invalid("NameError"), "best fit"))
    assert (
        found
        and found.reason == "duplicate"
        and "candidate #2 ('best fit'); it was invalid: NameError" in found.for_model
    )
    assert duplicate(None) is None


def test_the_mutator_is_told_and_tries_something_else(sandbox: Sandbox) -> None:
    """The other lineage's program again, then one that does not load, in two repair turns; then a new one."""
    known = sr("    for size in sizes:\n", "    for size in sorted(sizes):\n", "program.py")
    crash = sr("LIMIT = 100\n", "LIMIT = BOUND\n", "program.py")
    fresh = sr("LIMIT = 100\n", "LIMIT = 99\n", "program.py")
    answers, seen = [known, crash, fresh], list[str]()

    def next_answer(request: str) -> str:
        seen.append(request)
        return answers.pop(0)

    mutator = ModelMutator({"m": Scripted(next_answer)}, repairs=2, gate=Smoke(sandbox))
    made = asyncio.run(mutator.propose(brief(), desk()))
    assert made.files == {"program.py": PROGRAM.replace("100", "99").encode()}
    assert "candidate #3 ('sort first'); it scored score = 6" in seen[1] and OTHER not in seen[1]
    assert "NameError: name 'BOUND' is not defined" in seen[2]


def test_a_known_program_twice_is_left_to_the_search(tmp_path: Path) -> None:
    """The search refuses it, naming the earlier one: that is on record, where a stillbirth would not say which."""
    known = sr("    for size in sizes:\n", "    for size in sorted(sizes):\n", "program.py")
    made = asyncio.run(ModelMutator({"m": Scripted(lambda _: known)}).propose(brief(), desk()))
    assert made.files and not made.stillborn and P


def test_the_benchmark_of_false_refusals_runs() -> None:
    import runpy

    found = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "gates" / "false_rejects.py"))
    row = found["measure"]("circle_packing", 6)
    assert row["scored"] + row["invalid"] == 5 and row["false"] == 0
    assert found["pool"]([row, {"false": 1, "scored": 100}])["upper95_false"] > 0.01

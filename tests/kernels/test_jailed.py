"""Kernel workers in the jail: measured as outside, and confined."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import referee as referees  # noqa: E402
from evolve.evaluators.kernels import testing as gallery  # noqa: E402
from evolve.evaluators.kernels.jailed import Ward  # noqa: E402
from evolve.evaluators.kernels.judge import judge_kernel  # noqa: E402
from evolve.evaluators.kernels.plan import Plan  # noqa: E402
from evolve.evaluators.kernels.referee import Referee  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch
SMALL = gallery.toy(24, 64)
PLAN = Plan(calls=4, blocks=2, keep=True)


@pytest.fixture(scope="module")
def jailed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    require("jail")
    ward = Ward(tmp_path_factory.mktemp("ward"))
    made = Referee(ward, clock="work", env={"TRITON_INTERPRET": "1"})
    yield made
    made.close()
    ward.close()


def test_the_honest_kernel_scores_half_and_the_label_is_the_rungs(jailed: Any) -> None:
    evidence = jailed.measure(SMALL, from_files({"k.py": gallery.HONEST}, "k.py::run"), PLAN)
    verdict = judge_kernel(evidence)
    assert verdict.status is Status.SCORED, verdict.reason
    assert evidence.sandbox in ("jailed", "jailed-user", "confined", "separate-uid")
    assert evidence.census["end"] == {**evidence.census["end"], "processes": 1}


def test_a_triton_kernel_runs_in_the_jail(jailed: Any) -> None:
    pytest.importorskip("triton")
    # a library function of Triton's (tl.sum) is compiled or interpreted as was decided when triton was imported
    source = gallery.TRITON.replace("tl.store(", "h = h + 0.0 * tl.sum(h, 0)\n    tl.store(")
    verdict = judge_kernel(jailed.measure(SMALL, from_files({"k.py": source}, "k.py::run"), PLAN))
    assert verdict.status is Status.SCORED and (verdict.score or 0) > 0.5, verdict.reason


def test_the_hosts_files_and_network_are_out_of_reach(
    jailed: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the screen; each attempt says on success what it got, by failing the call."""
    secret = tmp_path / "secret"
    secret.write_text("the referee's")
    secret.chmod(0o644)
    monkeypatch.setattr(referees.screen, "screen", lambda solution: [])
    attempt = f"""
import os, socket
got = []
try:
    got.append(open({str(secret)!r}).read())
except OSError:
    pass
try:
    open({str(tmp_path / "left")!r}, "w").write("here")
    got.append("wrote")
except OSError:
    pass
try:
    os.kill({os.getpid()}, 0)
    got.append("saw the referee")
except OSError:
    pass
try:
    socket.create_connection(("192.0.2.1", 80), 0.3)
    got.append("connected")
except OSError as error:
    if error.errno is None:
        got.append("packets leave")
if got:
    raise RuntimeError(str(got))
"""
    evidence = jailed.measure(SMALL, from_files({"k.py": attempt + gallery.HONEST}, "k.py::run"), PLAN)
    if evidence.sandbox in ("confined", "separate-uid"):
        pytest.skip(f"the rung {evidence.sandbox!r} does not hide what all users may read")
    assert evidence.fault is None, evidence.fault
    assert not (tmp_path / "left").exists()


def test_a_child_left_behind_is_counted_and_dies_with_the_jail(jailed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referees.screen, "screen", lambda solution: [])
    source = "import os, time\nif os.fork() == 0:\n    time.sleep(300)\n    os._exit(0)\n" + gallery.HONEST
    evidence = jailed.measure(SMALL, from_files({"k.py": source}, "k.py::run"), PLAN)
    # it was forked while loading, so that both counts see it
    assert evidence.fault is None and evidence.census["end"]["processes"] == 2
    assert jailed.nursery._taken == [side.link for side, _ in jailed.sides.kept.values()], "the candidate's jail has ended"


def test_a_crash_is_the_candidates_and_the_next_is_measured(jailed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(referees.screen, "screen", lambda solution: [])
    crash = "import os\ndef run(x, w):\n    os.abort()\n"
    evidence = jailed.measure(SMALL, from_files({"k.py": crash}, "k.py::run"), PLAN)
    assert evidence.fault is not None and evidence.fault.kind == "crash"
    loud = "def run(x, w):\n    print('x' * 1_000_000)\n    return work(x, w)\n"
    loud += gallery.HONEST.replace("def run", "def work")
    verdict = judge_kernel(jailed.measure(SMALL, from_files({"k.py": loud}, "k.py::run"), PLAN))
    assert verdict.status is Status.SCORED, verdict.reason


def test_a_baseline_that_died_is_started_again(jailed: Any) -> None:
    honest = from_files({"k.py": gallery.HONEST}, "k.py::run")
    assert judge_kernel(jailed.measure(SMALL, honest, PLAN)).status is Status.SCORED
    (side, _) = next(iter(jailed.sides.kept.values()))
    os.kill(side.link.pid, 9)
    from evolve.tasks.errors import InfrastructureError

    with pytest.raises(InfrastructureError, match="baseline"):
        jailed.measure(SMALL, honest, PLAN)
    assert judge_kernel(jailed.measure(SMALL, honest, PLAN)).status is Status.SCORED

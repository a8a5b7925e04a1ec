"""Each check catches its planted fault alone, passes the good case beside it, and is listed so in docs/kernels.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import admission, matrix, pack, screen  # noqa: E402
from evolve.evaluators.kernels.checks import REGISTRY, Rules  # noqa: E402
from evolve.evaluators.kernels.judge import judge_kernel  # noqa: E402
from evolve.evaluators.kernels.matrix import ROWS, Row, evidence  # noqa: E402
from evolve.evaluators.kernels.solution import from_files  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch
PAGE = Path(__file__).resolve().parents[2] / "docs/kernels.md"
PLANTED = [row for row in ROWS if row.fault is not None]


def test_every_check_has_a_row() -> None:
    assert set(REGISTRY) | {"D6", "D9", "D11", "D16", "N1", "N5"} == {row.check for row in ROWS}


def test_the_good_evidence_is_scored() -> None:
    verdict = judge_kernel(evidence(), Rules(hidden=True))
    assert verdict.status is Status.SCORED and 0.7 < (verdict.score or 0) < 0.8, verdict.reason


@pytest.mark.parametrize("row", PLANTED, ids=lambda row: row.check)
def test_the_planted_fault_is_caught_by_this_check_alone(row: Row) -> None:
    assert row.fault is not None
    planted = row.fault(evidence())
    on = judge_kernel(planted, Rules(hidden=True))
    off = judge_kernel(planted, Rules(hidden=True, off=frozenset({row.check})))
    assert off.status is Status.SCORED, f"{off.kind}: {off.reason}"
    if row.verdict == "the time":
        assert on.status is Status.SCORED and (on.score or 0) < 0.97 * (off.score or 0)
    else:
        assert on.status.value == row.verdict and on.reason.startswith(f"{row.check}:"), f"{on.status} {on.reason}"


@pytest.mark.parametrize("row", PLANTED, ids=lambda row: row.check)
def test_the_good_case_is_scored(row: Row) -> None:
    assert row.good is not None
    verdict = judge_kernel(row.good(evidence()), Rules(hidden=True))
    assert verdict.status is Status.SCORED, f"{verdict.kind}: {verdict.reason}"


def test_the_screen_and_the_admission() -> None:
    blocked = screen.screen(from_files({"k.py": "import ctypes\ndef run(x):\n    return x\n"}, "k.py::run"))
    assert any(finding.level == "block" for finding in blocked)
    words = screen.screen(from_files({"k.py": "# import ctypes\ndef run(x):\n    return x\n"}, "k.py::run"))
    assert not any(finding.level == "block" for finding in words)
    assert admission.slipping(pack.get("softmax")) == []


def test_the_page_has_the_table() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert matrix.table() in text, "put the output of 'python -m evolve.evaluators.kernels.matrix' into docs/kernels.md"

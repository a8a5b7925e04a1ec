"""Attacks on the jail. Each is held by the rungs that claim it, and works where only the wall under test is open."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.attacks.catalogue import ATTACKS, Attack
from tests.support import missing

ROOT = Path(__file__).parents[2]

EVERYONES = "/usr/bin/python3"

ON_SOME_KERNELS = {"open_perf_event", "open_fanotify", "open_userfaultfd", "open_secret_memory", "open_io_uring",
                   "use_the_other_system_call_table", "pin_another"}  # fmt: skip
"""What a kernel may be built or set to refuse to everyone, or a machine of one CPU cannot show."""

pytestmark = pytest.mark.jail


class Arena:
    """The arena's process in its own disposable machine, as root or as a plain user."""

    def __init__(self, python: str, user: str) -> None:
        start = f"import sys; sys.path.append({str(ROOT)!r}); from tests.attacks.arena import main; main()"
        self._process = subprocess.Popen(
            [python, "-I", "-c", start, user], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            cwd="/", env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8"},
        )  # fmt: skip
        self.why = "" if self._read() else self._said()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        answer: dict[str, Any] = json.loads(line) if line else {}
        return answer

    def _said(self) -> str:
        assert self._process.stderr is not None
        return (self._process.stderr.read().strip().splitlines() or ["it said nothing"])[-1]

    def fight(self, attack: Attack, rung: str, opened: tuple[str, ...] = ()) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"attack": attack.name, "rung": rung, "open": opened}) + "\n")
        self._process.stdin.flush()
        answer = self._read()
        assert answer, f"the arena ended: {self._said()}"
        if "unavailable" in answer:
            if rung == "native":  # what the mark "jail" stands for, as root
                missing("jail", answer["unavailable"])
            pytest.skip(answer["unavailable"])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _arena(python: str, user: str) -> Iterator[Arena]:
    if os.getuid() != 0:
        pytest.skip("the disposable outer jail needs root")
    if not os.access(python, os.X_OK):
        pytest.skip(f"there is no {python}, an interpreter that another user may read")
    made = Arena(python, user)
    if "No module named" in made.why or "SyntaxError" in made.why:
        pytest.skip(f"{python}: {made.why}")
    assert not made.why, made.why
    yield made
    made.close()


@pytest.fixture(scope="module")
def arena() -> Iterator[Arena]:
    yield from _arena(sys.executable, "root")


@pytest.fixture(scope="module")
def plain() -> Iterator[Arena]:
    """As a plain user, whose interpreter is one that everyone may read."""
    yield from _arena(EVERYONES, "plain")


@pytest.fixture(scope="module")
def separate() -> Iterator[Arena]:
    """As root with an interpreter that another user id may read, as the rung of separate user ids needs."""
    yield from _arena(EVERYONES, "root")


def test_the_gallery_is_large_enough() -> None:
    assert len(ATTACKS) >= 70 and sum(bool(a.opened) for a in ATTACKS) >= 55
    assert len({a.name for a in ATTACKS}) == len(ATTACKS) and all(a.opened or a.why for a in ATTACKS)


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_held(attack: Attack, arena: Arena) -> None:
    answer = arena.fight(attack, "native")
    assert not answer["worked"], answer


@pytest.mark.parametrize("attack", [a for a in ATTACKS if a.opened], ids=lambda a: a.name)
def test_works_with_the_wall_open(attack: Attack, arena: Arena) -> None:
    assert attack.opened
    answer = arena.fight(attack, "native", attack.opened)
    if attack.name in ON_SOME_KERNELS and not answer["worked"]:
        pytest.skip(f"this kernel refuses it by itself: {answer['detail']}")
    assert answer["worked"], answer


@pytest.mark.parametrize("rung", ["userns", "bubblewrap", "landlock"])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_held_for_a_plain_user(attack: Attack, rung: str, plain: Arena) -> None:
    if rung not in attack.rungs:
        pytest.skip(f"the rung {rung!r} does not claim to hold it")
    answer = plain.fight(attack, rung)
    assert not answer["worked"], answer


@pytest.mark.parametrize("attack", [a for a in ATTACKS if "process" in a.rungs], ids=lambda a: a.name)
def test_held_by_a_separate_user_id(attack: Attack, separate: Arena) -> None:
    answer = separate.fight(attack, "process")
    assert not answer["worked"], answer

"""Supervisors that die: nothing of theirs or of a candidate is left, at once or after the next start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evolve.evaluators.bench import _claim
from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.local import LocalSandbox, python
from evolve.evaluators.testing import tree_of

pytestmark = [pytest.mark.jail, pytest.mark.skipif(os.getuid() != 0, reason="needs root")]

SUPERVISE = """
import sys
from pathlib import Path
from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.local import LocalSandbox
sandbox = LocalSandbox(sys.argv[1], sys.argv[2], preload=("ctypes",))
print(sandbox._start() and sandbox._launcher.pid, flush=True)
sandbox.call(Command((), Path(sys.argv[3]), wall=30, frame=100), "program.py:f", ())
"""


def named(comm: str) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if Path(f"/proc/{name}/comm").read_text().strip() == comm:
                    found.append(int(name))
            except OSError:
                continue
    return found


def wait_for(what: object, seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():  # type: ignore[operator]
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize("rung", ["native", "userns", "process"])
@pytest.mark.parametrize("victim", ["supervisor", "launcher", "keeper"])
def test_a_killed_supervisor_leaves_nothing(rung: str, victim: str, tmp_path: Path) -> None:
    if rung == "process" and victim == "keeper":
        pytest.skip("without a pid namespace a killed keeper's candidates wait for the next start: see the janitor")
    comm = f"sv{os.getpid() % 10000}{rung[0]}{victim[0]}"
    text = (
        "import ctypes, os, time\n"
        "def f():\n"
        "    if os.fork() == 0:\n        os.setsid()\n"
        f"    ctypes.CDLL(None).prctl(15, b'{comm}', 0, 0, 0)\n    time.sleep(20)\n"
    )
    tmp_path.chmod(0o755)
    interpreter = "/usr/bin/python3" if rung == "process" else sys.executable
    root = str(Path(__file__).parents[2])
    script = f"import sys; sys.path.append({root!r})\n{SUPERVISE}"
    process = subprocess.Popen(
        [interpreter, "-c", script, rung, str(tmp_path / "s"), str(tree_of(tmp_path / "t", program=text))],
        stdout=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert process.stdout is not None
    said = process.stdout.readline()
    if not said and rung == "process":
        pytest.skip("no interpreter that other users may read and that runs our code")
    launcher = int(said)
    assert wait_for(lambda: len(named(comm)) == 2), "the candidate did not start"
    pid = {"supervisor": process.pid, "launcher": launcher}.get(victim)
    if pid is None:
        pid = int(Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert wait_for(lambda: not named(comm), 2.0), f"{named(comm)} outlived the {victim}"
    process.kill()
    process.wait()


def test_the_next_start_clears_what_a_crash_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process under a leased uid, and a process in the group of that lease, are of a supervisor that is gone."""
    tmp_path.chmod(0o755)
    monkeypatch.setattr("evolve.evaluators.sandbox.local.FIRST_UID", 64_800)  # away from the tests beside this one
    first = LocalSandbox("native", tmp_path / "a")
    uid, group = first.uid, first._group
    os.close(first._lease or -1)  # as if it had crashed: its lock is gone, its group and its word of it are not
    left = subprocess.Popen(["setpriv", f"--reuid={uid}", "--clear-groups", "sleep", "60"])
    assert wait_for(lambda: Path(f"/proc/{left.pid}").stat().st_uid == uid)
    grouped = None
    if group is not None:
        group.limit(1 << 30, 100)
        grouped = subprocess.Popen(["sleep", "60"], preexec_fn=group.enter)
    second = LocalSandbox("native", tmp_path / "b")
    others = []
    while second.uid != uid and len(others) < 30:  # tests beside this one lease and give back user ids too
        others.append(second)
        second = LocalSandbox("native", tmp_path / f"b{len(others)}")
    assert second.uid == uid
    assert left.wait(5) == -9 and (grouped is None or grouped.wait(5) == -9)
    for other in others:
        other.close()
    second.close()
    assert not any(Path(folder).exists() for folder in (group.folders if group else ()))


def test_two_supervisors_never_share_a_uid(tmp_path: Path) -> None:
    first, second = LocalSandbox("native", tmp_path / "a"), LocalSandbox("native", tmp_path / "b")
    assert first.uid != second.uid
    first.close()
    second.close()


def test_folders_of_dead_slots_are_removed_and_of_living_ones_kept(tmp_path: Path) -> None:
    dead, living = tmp_path / "slot-1-a", tmp_path / "slot-2-b"
    os.close(_claim(dead))
    held = _claim(living)  # removes the dead one already, and is held
    assert not dead.exists()
    other = _claim(tmp_path / "slot-3-c")
    assert living.exists()
    os.close(held)
    os.close(other)


def test_a_launcher_that_was_lost_is_replaced(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    sandbox = LocalSandbox("native", tmp_path / "s")
    tree = tree_of(tmp_path / "t")
    assert sandbox.run(Command(("/bin/true",), tree)).failure is None
    assert sandbox._launcher is not None
    sandbox._launcher.kill()
    sandbox._launcher.wait()
    assert sandbox.run(Command(("/bin/true",), tree)).failure is None
    sandbox.close()


def test_our_modules_start_from_anywhere() -> None:
    done = subprocess.run(
        [*python("evolve.evaluators.slot"), "no-number"], cwd="/", capture_output=True, text=True, check=False, env={}
    )
    assert "ValueError" in done.stderr and "ModuleNotFoundError" not in done.stderr

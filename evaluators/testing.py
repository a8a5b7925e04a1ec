"""Contract tests that every sandbox, channel, evaluator and executor must pass: subclass one and supply its fixture.

    class TestMySandbox(SandboxContract):
        @pytest.fixture
        def sandbox(self, tmp_path): ...

pytest collects the inherited tests. The classes assert behaviour seen from outside, never a candidate's own words.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evolve.evaluators.channel import Refused, pack, unpack
from evolve.evaluators.evaluator import Evaluator, Executor, Job
from evolve.evaluators.sandbox import Command, Sandbox
from evolve.tasks.errors import InfrastructureError
from evolve.tasks.evidence import Evidence, FailureKind
from evolve.tasks.task import Limits

EAT = """
import os, time
for _ in range(4):
    if os.fork() == 0:
        block = bytearray(60 << 20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(5)
        os._exit(0)
for _ in range(4):
    os.wait()
def f():
    return 1
"""


LOOK = """
def ignore(x):
    return 0

def look(prefix, own):
    prefix, found = bytes.fromhex(prefix), set()
    with open("/proc/self/maps") as maps, open("/proc/self/mem", "rb", 0) as memory:
        for line in maps:
            if " rw-p " in line:
                start, end = (int(part, 16) for part in line.split()[0].split("-"))
                try:
                    memory.seek(start)
                    block = memory.read(end - start)
                except (OSError, ValueError, OverflowError):
                    continue
                at = block.find(prefix)
                while at >= 0:
                    found.add(block[at : at + 22].split(bytes(1))[0].decode("latin-1"))
                    at = block.find(prefix, at + 1)
    return sorted(found)[:5000]
"""


NEST = """
import os
def nest():
    for place in (".", os.environ["HOME"], os.environ["TMPDIR"]):
        os.chdir(place)
        for _ in range(1200):
            os.mkdir("d" * 200)
            os.chdir("d" * 200)
        os.chmod("..", 0)
"""


def tree_of(folder: Path, **files: str) -> Path:
    """A candidate's folder with the given files (name without .py -> text)."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def alive(comm: str) -> bool:
    """Whether any process of this machine has that name (its first 15 bytes), set by the candidate itself."""
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                with open(f"/proc/{name}/comm", encoding="utf-8", errors="replace") as file:
                    if file.read().strip() == comm[:15]:
                        return True
            except OSError:
                continue
    return False


class SandboxContract:
    """What a sandbox does whatever its rung. `sandbox` is a fixture that closes it afterwards."""

    def test_a_label_is_shown(self, sandbox: Sandbox) -> None:
        assert sandbox.label

    def test_output_and_exit_code_come_back(self, sandbox: Sandbox, tmp_path: Path) -> None:
        outcome = sandbox.run(Command(("/bin/sh", "-c", "echo out; echo err >&2; exit 3"), tree_of(tmp_path / "t")))
        assert (outcome.code, outcome.stdout, outcome.stderr) == (3, "out\n", "err\n")
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.CRASH

    def test_a_clean_end_has_no_failure(self, sandbox: Sandbox, tmp_path: Path) -> None:
        outcome = sandbox.run(Command(("/bin/true",), tree_of(tmp_path / "t")))
        assert outcome.code == 0 and outcome.failure is None

    def test_stdin_is_fed_whole(self, sandbox: Sandbox, tmp_path: Path) -> None:
        data = b"x" * 300_000
        outcome = sandbox.run(Command(("/usr/bin/wc", "-c"), tree_of(tmp_path / "t"), stdin=data))
        assert outcome.stdout.strip() == "300000"

    def test_a_program_that_is_not_there(self, sandbox: Sandbox, tmp_path: Path) -> None:
        outcome = sandbox.run(Command(("no-such-program",), tree_of(tmp_path / "t")))
        assert outcome.code == 127 and outcome.failure is not None

    def test_the_tree_is_the_candidates_own_copy(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="x = 1\n")
        outcome = sandbox.run(Command(("/bin/sh", "-c", "echo y > program.py; cat program.py"), tree))
        assert outcome.stdout == "y\n"
        assert (tree / "program.py").read_text() == "x = 1\n"

    def test_environment_is_exactly_what_was_given(self, sandbox: Sandbox, tmp_path: Path, monkeypatch: Any) -> None:
        monkeypatch.setenv("A_KEY_OF_OURS", "hidden")
        outcome = sandbox.run(Command(("/usr/bin/env",), tree_of(tmp_path / "t"), env={"GIVEN": "yes"}))
        names = {line.partition("=")[0] for line in outcome.stdout.splitlines()}
        assert "GIVEN" in names and "A_KEY_OF_OURS" not in names
        assert names <= {"GIVEN", "PATH", "HOME", "TMPDIR", "LANG", "PYTHONDONTWRITEBYTECODE", "PWD", "SHLVL", "_", "OLDPWD"}

    def test_a_hang_costs_its_limit_and_a_second_at_most(self, sandbox: Sandbox, tmp_path: Path) -> None:
        began = time.monotonic()
        outcome = sandbox.run(Command(("/bin/sleep", "30"), tree_of(tmp_path / "t"), wall=0.3))
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.TIMEOUT
        assert 0.3 <= time.monotonic() - began < 1.3

    def test_daemons_are_gone_when_the_outcome_is_there(self, sandbox: Sandbox, tmp_path: Path) -> None:
        name = f"dm{os.getpid() % 100000}x{int(time.time()) % 1000}"
        line = f"(setsid setsid /bin/sh -c 'exec -a x sh -c \"cp /bin/sleep {name}; exec ./{name} 30\"' &) ; sleep 0.2"
        sandbox.run(Command(("/bin/bash", "-c", line), tree_of(tmp_path / "t"), wall=5))
        assert not alive(name)

    def test_a_flood_is_cut_and_stopped(self, sandbox: Sandbox, tmp_path: Path) -> None:
        limits = Limits(output=4096)
        outcome = sandbox.run(Command(("/bin/sh", "-c", "yes head"), tree_of(tmp_path / "t"), wall=10, limits=limits))
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.OUTPUT
        assert len(outcome.stdout) < 3 * 4096 and outcome.cut > 0 and "bytes cut" in outcome.stdout

    def test_memory_of_the_whole_tree_is_limited(self, sandbox: Sandbox, tmp_path: Path) -> None:
        command = Command((), tree_of(tmp_path / "t", program=EAT), wall=10, limits=Limits(memory=128 << 20), frame=1024)
        outcome = sandbox.call(command, "program.py:f", ())
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.MEMORY

    def test_a_segfault_is_the_candidates_crash(self, sandbox: Sandbox, tmp_path: Path) -> None:
        boom = "import ctypes\ndef f():\n    ctypes.string_at(0)\n"
        outcome = sandbox.call(Command((), tree_of(tmp_path / "t", program=boom), frame=1024), "program.py:f", ())
        assert outcome.failure is not None and outcome.failure.kind is FailureKind.CRASH
        again = sandbox.run(Command(("/bin/true",), tree_of(tmp_path / "t")))
        assert again.failure is None

    def test_a_call_returns_one_frame(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="def double(x):\n    return {'twice': [2 * v for v in x]}\n")
        outcome = sandbox.call(Command((), tree, frame=1 << 16), "program.py:double", ([1, 2.5],))
        assert unpack(outcome.frame)[0] == {"value": {"twice": [2, 5.0]}}

    def test_an_exception_is_a_crash_with_its_text(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="def f():\n    raise RuntimeError('the reason')\n")
        outcome = sandbox.call(Command((), tree, frame=1024), "program.py:f", ())
        assert outcome.frame is None and outcome.failure is not None and "the reason" in outcome.failure.message

    def test_an_exit_without_a_frame_has_no_frame(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="import os\ndef f():\n    os._exit(0)\n")
        outcome = sandbox.call(Command((), tree, frame=1024), "program.py:f", ())
        assert outcome.frame is None

    def test_a_frame_larger_than_allowed_is_a_failure(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="def f():\n    return 'x' * 100000\n")
        outcome = sandbox.call(Command((), tree, frame=1024), "program.py:f", ())
        assert outcome.frame is None and outcome.failure is not None and outcome.failure.kind is FailureKind.OUTPUT

    def test_nothing_persists(self, sandbox: Sandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t")
        sandbox.run(Command(("/bin/sh", "-c", 'echo x > "$HOME/left"; echo x > "$TMPDIR/left"; echo x > left'), tree))
        outcome = sandbox.run(Command(("/bin/sh", "-c", 'cat "$HOME/left" "$TMPDIR/left" left'), tree))
        assert "x" not in outcome.stdout

    def test_folders_that_are_hard_to_remove(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """Nested deeper than a path may be long, closed to their owner: the candidate's affair, and gone afterwards."""
        tree = tree_of(tmp_path / "t", program=NEST)
        command = Command((), tree, wall=10, frame=1024)
        outcome = sandbox.call(command, "program.py:nest", ())
        assert outcome.failure is None or outcome.failure.kind is FailureKind.LIMIT
        assert sandbox.run(Command(("/bin/true",), tree)).failure is None

    def test_nothing_of_an_earlier_call_is_in_its_memory(self, sandbox: Sandbox, tmp_path: Path) -> None:
        """A worker that is forked rather than started has the memory of the process it was forked from."""
        command = Command((), tree_of(tmp_path / "t", program=LOOK), frame=1 << 20)
        for _ in range(2):
            sandbox.call(command, "program.py:ignore", ([f"hidden{os.urandom(8).hex()}" for _ in range(300)],))
        outcome = sandbox.call(command, "program.py:look", (b"hidden".hex(), "hidden-of-this-call"))
        found = unpack(outcome.frame)[0]["value"]
        assert [text for text in found if re.fullmatch("hidden[0-9a-f]{16}", text)] == []
        assert "hidden-of-this-call" in "".join(found)  # it can look

    def test_wall_time_is_the_candidates(self, sandbox: Sandbox, tmp_path: Path) -> None:
        outcome = sandbox.run(Command(("/bin/sleep", "0.3"), tree_of(tmp_path / "t")))
        assert 0.29 <= outcome.cost.wall < 0.8


class ChannelContract:
    """What a channel's two ends agree on: `send(header, body) -> bytes` packs, `receive(data)` unpacks or refuses."""

    send: Callable[..., bytes] = staticmethod(pack)
    receive: Callable[[bytes | None], tuple[Any, bytes]] = staticmethod(unpack)

    def test_what_is_sent_arrives(self) -> None:
        header = {"value": [1, 2.5, "x", None, True]}
        assert self.receive(self.send(header, b"raw")) == (header, b"raw")

    @pytest.mark.parametrize("value", [float("nan"), float("inf")])
    def test_what_is_not_finite_is_not_sent(self, value: float) -> None:
        with pytest.raises(ValueError, match="JSON"):
            self.send({"value": value})

    def _framed(self, text: bytes, tail: bytes = b"") -> bytes:
        return b"EVOLVE\x00\x01" + len(text).to_bytes(8, "little") + text + bytes(8) + tail

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (b"[" * 100 + b"]" * 100, "deeper"),
            (b'{"a":' * 100 + b"1" + b"}" * 100, "deeper"),
            (b'{"a":NaN}', "NaN"),
            (b'{"a":-Infinity}', "Infinity"),
            (b'{"a":1e999}', "range"),
            (b'{"a":' + b"9" * 5000 + b"}", "digits"),
            (b'{"a":1,"a":2}', "twice"),
            (b'{"a":1', "JSON"),
            (b"\xff\xfe", "JSON"),
            (b"", "JSON"),
        ],
    )
    def test_refused_by_content(self, text: bytes, why: str) -> None:
        with pytest.raises(Refused, match=why):
            self.receive(self._framed(text))

    @pytest.mark.parametrize("data", [None, b"", b"{}", b"EVOLVE\x00\x01", b"EVOLVE\x00\x01" + (1 << 60).to_bytes(8, "little")])
    def test_refused_by_form(self, data: bytes | None) -> None:
        with pytest.raises(Refused):
            self.receive(data)

    def test_trailing_bytes_are_refused(self) -> None:
        with pytest.raises(Refused, match="too many"):
            self.receive(self._framed(b"{}", b"x"))


class EvaluatorContract:
    """What an evaluator promises. Fixtures: `evaluator`, `good` and `bad` (jobs whose first tree scores and fails)."""

    def test_the_digest_is_stable(self, evaluator: Evaluator) -> None:
        assert evaluator.digest() == evaluator.digest() and len(evaluator.digest()) >= 16

    def test_stages_have_names_and_seconds(self, evaluator: Evaluator) -> None:
        stages = evaluator.stages()
        assert stages and len({s.name for s in stages}) == len(stages) and all(s.seconds > 0 and s.blocks > 0 for s in stages)

    def test_a_good_tree_is_measured(self, evaluator: Evaluator, good: Job) -> None:
        evidence = evaluator.measure(good, lambda _: None)
        self._belongs(evidence, good)
        assert not evidence.failures
        assert [s.block for s in evidence.of(good.trees[0])] == list(range(good.first_block, good.first_block + good.blocks))

    def test_a_bad_tree_is_evidence_and_no_exception(self, evaluator: Evaluator, bad: Job) -> None:
        evidence = evaluator.measure(bad, lambda _: None)
        self._belongs(evidence, bad)
        assert bad.trees[0] in evidence.failures and evidence.failures[bad.trees[0]].message
        assert not evidence.of(bad.trees[0])

    def test_secrets_are_fresh_for_each_job(self, evaluator: Evaluator, good: Job) -> None:
        first, second = (evaluator.measure(good, lambda _: None).secret for _ in range(2))
        assert first == second == "" or first != second

    def _belongs(self, evidence: Evidence, job: Job) -> None:
        assert (evidence.job, evidence.trees, evidence.stage) == (job.id, job.trees, job.stage)
        assert evidence.machine and evidence.evaluator and evidence.task and evidence.cost.wall > 0


class ExecutorContract:
    """What an executor promises. Fixtures: `executor`, `good` (a job that scores), and, where jobs can be killed,
    `slow` (a job of several seconds) and `deadly` (one whose evaluator ends its own process); else None."""

    def test_a_job_gives_evidence(self, executor: Executor, good: Job) -> None:
        evidence = self._run(executor, good)
        assert evidence.job == good.id and evidence.samples

    def test_more_jobs_than_slots_all_end(self, executor: Executor, good: Job) -> None:
        async def many() -> list[Evidence]:
            handles = [await executor.start(good) for _ in range(2 * executor.slots + 1)]
            return list(await asyncio.gather(*(handle.result() for handle in handles)))

        results = self._within(executor, many())
        assert len(results) == 2 * executor.slots + 1 and all(e.samples for e in results)

    def test_a_killed_job_ends_within_a_second_and_the_slot_serves_on(
        self, executor: Executor, good: Job, slow: Job | None
    ) -> None:
        if slow is None:
            pytest.skip("this executor runs jobs in its own process")

        async def kill() -> tuple[float, Evidence]:
            handle = await executor.start(slow)
            await asyncio.sleep(1.0)
            began = time.monotonic()
            handle.kill()
            with pytest.raises(asyncio.CancelledError):
                await handle.result()
            took = time.monotonic() - began
            return took, await (await executor.start(good)).result()

        took, evidence = self._within(executor, kill())
        assert took < 1.0 and evidence.samples

    def test_a_lost_slot_is_our_failure_and_is_replaced(self, executor: Executor, good: Job, deadly: Job | None) -> None:
        if deadly is None:
            pytest.skip("this executor runs jobs in its own process")

        async def lose() -> Evidence:
            with pytest.raises(InfrastructureError):
                await (await executor.start(deadly)).result()
            return await (await executor.start(good)).result()

        assert self._within(executor, lose()).samples

    def _run(self, executor: Executor, job: Job) -> Evidence:
        async def one() -> Evidence:
            return await (await executor.start(job)).result()

        evidence: Evidence = self._within(executor, one())
        return evidence

    def _within(self, executor: Executor, work: Any) -> Any:
        async def whole() -> Any:
            try:
                return await work
            finally:
                await executor.close()

        return asyncio.run(whole())

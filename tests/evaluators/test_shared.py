"""The shared-memory channel, honest and hostile, through a real jail."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from evolve.evaluators.channel import Tensor
from evolve.evaluators.referee.bench import PRELOAD, SharedCalls
from evolve.evaluators.referee.shared import Region, views
from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.ladder import strongest
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.testing import tree_of
from evolve.tasks.evidence import Failure, FailureKind

INPUTS = {"x": Tensor("float32", (64, 8)), "n": Tensor("int64", (1,))}
OUTPUTS = {"y": Tensor("float32", (64, 8))}


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalSandbox]:
    made = LocalSandbox(strongest(), tmp_path_factory.mktemp("shared") / "s", preload=PRELOAD)
    yield made
    made.close()


def results(sandbox: LocalSandbox, folder: Path, text: str, calls: int = 2) -> list[dict[str, np.ndarray] | Failure]:
    tree = tree_of(folder / "t", program=text)
    rng = np.random.default_rng(1)
    out: list[dict[str, np.ndarray] | Failure] = []
    with SharedCalls(sandbox, Command((), tree, wall=20), "program.py:f", INPUTS, OUTPUTS) as calls_of:
        for i in range(calls):
            out.append(calls_of(1.0, x=rng.random((64, 8), dtype="float32"), n=np.array([i])))
    return out


@pytest.mark.jail
class TestThroughTheJail:
    def test_an_honest_worker(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        first, second = results(sandbox, tmp_path, "def f(x, n):\n    return 2 * x + n\n")
        rng = np.random.default_rng(1)
        for i, got in enumerate((first, second)):
            assert not isinstance(got, Failure)
            assert np.allclose(got["y"], 2 * rng.random((64, 8), dtype="float32") + i)

    @pytest.mark.parametrize(
        ("text", "kind", "says"),
        [
            ("def f(x, n):\n    return x * float('nan')", FailureKind.OUTPUT, "NaN"),
            ("def f(x, n):\n    return x[:3]", FailureKind.CRASH, "exit code 1"),
            ("def f(x, n):\n    raise ValueError('no')", FailureKind.CRASH, "no"),
            ("import os\ndef f(x, n):\n    os._exit(0)", FailureKind.OUTPUT, "ended"),
            ("def f(x, n):\n    while True: pass", FailureKind.TIMEOUT, "no answer"),
            ("def f(x, n):\n    x[:] = 0\n    return x", FailureKind.CRASH, "read-only"),
            ("import os\ndef f(x, n):\n    os.write(3, b'garbage!' * 9)\n    return x", FailureKind.OUTPUT, "no frame"),
            ("import os\ndef f(x, n):\n    os.write(3, b'EVOLVE\\0\\1' + b'\\xff' * 8)\n    return x", FailureKind.OUTPUT,
             "header"),
            ("raise SystemExit(3)", FailureKind.CRASH, "exit code 3"),
        ],
    )
    def test_failures(self, sandbox: LocalSandbox, tmp_path: Path, text: str, kind: FailureKind, says: str) -> None:
        first, second = results(sandbox, tmp_path, text + "\n")
        assert isinstance(first, Failure) and first.kind is kind and says in first.message, first
        assert second == first

    def test_done_without_doing_is_nothing(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        """It answers the first call in its name, without the outputs: they still hold the poison."""
        text = (
            "import os, json\ndef f(x, n):\n    text = json.dumps({'done': 1}).encode()\n"
            "    os.write(3, b'EVOLVE\\0\\1' + len(text).to_bytes(8, 'little') + text + bytes(8))\n"
            "    import time; time.sleep(0.5)\n    return x\n"
        )
        first = results(sandbox, tmp_path, text)[0]
        assert isinstance(first, Failure) and "NaN" in first.message

    def test_an_early_answer_to_the_next_call_is_refused(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        text = (
            "import os, json\ndef f(x, n):\n    text = json.dumps({'done': 2}).encode()\n"
            "    os.write(3, b'EVOLVE\\0\\1' + len(text).to_bytes(8, 'little') + text + bytes(8))\n    return x\n"
        )
        first = results(sandbox, tmp_path, text)[0]
        assert isinstance(first, Failure) and "answered" in first.message

    def test_the_memory_cannot_be_cut_or_grown(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        """Cutting it would kill the referee with SIGBUS when it reads."""
        text = (
            "import os\ndef f(x, n):\n"
            "    for fd in (4, 5):\n        for size in (0, 1 << 24):\n            try:\n                os.ftruncate(fd, size)\n"
            "            except OSError: pass\n    return x\n"
        )
        first, second = results(sandbox, tmp_path, text)
        assert not isinstance(first, Failure) and not isinstance(second, Failure)

    def test_inputs_cannot_be_mapped_writable(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        text = (
            "import mmap, os\ndef f(x, n):\n    try:\n        handle = os.open('/proc/self/fd/4', os.O_RDWR)\n"
            "        mmap.mmap(handle, 4096)[:4] = b'edit'\n        return x * 0 + 1\n"
            "    except (OSError, ValueError): return x * 0\n"
        )
        first = results(sandbox, tmp_path, text)[0]
        assert not isinstance(first, Failure) and not first["y"].any()

    def test_the_worker_is_seen_from_outside(self, sandbox: LocalSandbox, tmp_path: Path) -> None:
        tree = tree_of(tmp_path / "t", program="def f(x, n):\n    return x\n")
        with SharedCalls(sandbox, Command((), tree, wall=20), "program.py:f", INPUTS, OUTPUTS) as calls:
            pid = calls._session.pid
            status = Path(f"/proc/{pid}/status").read_text()
            assert f"Uid:\t{sandbox.uid}" in status and not calls._session.ended
        assert not os.path.exists(f"/proc/{pid}")


def test_a_region_round_trips_and_refuses() -> None:
    region = Region({"a": Tensor("float64", (3,)), "b": Tensor("bfloat16", (5,))}, worker_writes=True)
    theirs = views(region.fd, region.layout, writable=True)
    region.poison()
    with pytest.raises(ValueError, match="NaN"):
        region.take()
    theirs["a"][...] = [1, 2, 3]
    theirs["b"][...] = 0x3F80
    got = region.take()
    theirs["a"][...] = 0
    assert got["a"].tolist() == [1, 2, 3] and got["b"].tolist() == [0x3F80] * 5
    with pytest.raises(ValueError, match="must be float64"):
        region.write({"a": np.zeros(4), "b": np.zeros(5, "uint16")})
    del theirs
    region.close()

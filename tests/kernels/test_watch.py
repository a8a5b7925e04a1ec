"""The referee's clock over a call on a GPU, on stand-ins for the card: flag and messages in whatever order they come."""

from __future__ import annotations

import mmap
import socket
import threading
import time
from typing import Any

import pytest

from tests.support import require

require("torch")

from evolve.evaluators.kernels import bench, feedback, wire  # noqa: E402
from evolve.evaluators.kernels.evidence import KernelEvidence  # noqa: E402
from evolve.evaluators.kernels.judge import KernelVerdict  # noqa: E402
from evolve.evaluators.kernels.launch import PAGE, Link  # noqa: E402
from evolve.tasks.verdict import Status  # noqa: E402

pytestmark = pytest.mark.torch


class Fake(Link):
    """A link without a process: a socket and a page."""

    def __init__(self) -> None:
        self.sock, self.worker = socket.socketpair()
        self.memory = mmap.mmap(-1, 2 * PAGE)

    def seal(self, ticket: int) -> None:
        """What the seal's last block does on the card."""
        self.memory[wire.FLAG : wire.FLAG + 8] = ticket.to_bytes(8, "little")

    def close(self) -> None:
        self.sock.close()
        self.worker.close()


@pytest.fixture
def link() -> Any:
    made = Fake()
    yield made
    made.close()


def test_the_release_clears_the_flag_of_the_call_before(link: Fake) -> None:
    link.seal(7)
    assert link.flagged(7)
    link.release(7, 0x1122334455667788)
    assert not link.flagged(7) and link.memory[0:8] == (7).to_bytes(8, "little")
    assert link.memory[8:16] == (0x1122334455667788).to_bytes(8, "little")


def test_the_flag_is_stamped_before_the_worker_speaks(link: Fake) -> None:
    spoken = threading.Event()

    def card() -> None:
        link.seal(3)
        spoken.wait(5)
        wire.send(link.worker, {"synced": 3})

    began = time.perf_counter()
    thread = threading.Thread(target=card)
    timer = threading.Timer(0.02, spoken.set)
    thread.start()
    timer.start()
    answer, flag = bench.watch(link, 3, began, 5)
    took = time.perf_counter() - began
    thread.join()
    timer.join()
    assert answer == {"synced": 3} and 0 < flag <= took


def test_without_a_flag_the_message_ends_the_call(link: Fake) -> None:
    """A card whose host page is not mapped, or another call's flag. A late "queued" is passed over."""
    link.seal(2)
    for message in ({"queued": 3}, {"synced": 3}):
        wire.send(link.worker, message)
    answer, flag = bench.watch(link, 3, time.perf_counter(), 5)
    assert answer == {"synced": 3} and flag == 0.0


def test_a_fault_and_an_end_are_heard(link: Fake) -> None:
    wire.send(link.worker, {"fault": "crash", "message": "no"})
    answer, _ = bench.watch(link, 3, time.perf_counter(), 5)
    assert answer["fault"] == "crash"
    link.worker.close()
    with pytest.raises(wire.WireFault):
        bench.watch(link, 3, time.perf_counter(), 5)


def test_throttled_clocks_are_told_to_the_next_mutation() -> None:
    rows = ({"sm_mhz": 1980.0, "throttle": 1.0}, {"sm_mhz": 1755.0, "throttle": 4.0, "temperature_c": 71.0})
    evidence = KernelEvidence("p", "d", "triton", "GPU", "gate", "c", clocks=rows)
    assert feedback.card(evidence) == {"sm_mhz": [1755.0, 1980.0], "throttle": 4, "temperature_c": 71.0}
    assert feedback.card(KernelEvidence("p", "d", "triton", "CPU", "work", "c")) == {}
    found = feedback.facts(evidence, KernelVerdict(Status.SCORED, 0.5))
    found["workloads"] = [
        {"axes": {}, "us": 1, "baseline_us": 2, "speed_of_light_us": 0.5, "gb_per_s": 1, "tflop_per_s": 1, "note": ""}
    ]
    assert "0x4" in feedback.sentence(found)


def test_occupancy_and_what_limits_it() -> None:
    """Known points of CUDA's calculator for compute capability 9.0."""
    assert feedback.occupancy(32, 0, 8) == (1.0, "warps")
    assert feedback.occupancy(64, 0, 8) == (0.5, "registers")
    assert feedback.occupancy(255, 0, 4) == (0.125, "registers")
    assert feedback.occupancy(32, 100 << 10, 4) == (0.125, "shared memory")
    assert feedback.occupancy(16, 0, 1) == (0.5, "blocks")
    found = {"status": "scored", "label": "x", "reason": "", "workloads": [{"axes": {}, "us": 1, "baseline_us": 2, "speed_of_light_us": 1,
             "gb_per_s": 1, "tflop_per_s": 1, "note": ""}], "compiler": {"kernels": [
                 {"name": "k", "registers": 64, "spills": 0, "shared": 0, "warps": 8},
                 {"name": "l", "registers": None, "spills": 0, "shared": 0}]}}  # fmt: skip
    text = feedback.sentence(found)
    assert "k: 64 registers" in text and "occupancy 50% (limited by registers)" in text and text.count("occupancy") == 1

"""A candidate's side streams, held to the timed window: they begin after its start event and it ends after them (N5).

torch hands out streams from pools of 32 a priority. Whichever of them has work waiting when the candidate returns (the gate still
holds the card) is joined to the stream of the end event, and from the next call on also waits for the start event. Left alone,
a kernel on an unjoined stream began the moment the gate let go and was through before the seal could start: 3.6 us of any call
were hidden. A kernel that joins its streams itself loses nothing by it; one without side streams has no work added at all.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

from evolve.evaluators.timing.driver import Driver

POOL = 32
"""Streams of one priority that torch has (c10/cuda/CUDAStream.cpp)."""


def handles() -> list[int]:
    """All streams torch's pools hand out on the current device."""
    import torch

    found = [torch.cuda.Stream(priority=priority).cuda_stream for priority in (0, -1) for _ in range(POOL)]  # type: ignore[no-untyped-call]
    return list(dict.fromkeys(found))


class Streams:
    """Those seen in use so far, with an event each."""

    def __init__(self, driver: Driver, known: Sequence[int]) -> None:
        self.driver, self.known = driver, list(known)
        self.used: dict[int, ctypes.c_void_p] = {}

    def begin(self, start: ctypes.c_void_p) -> None:
        """After the start event was recorded: streams used before wait for it."""
        for stream in self.used:
            self.driver.wait(stream, start)

    def join(self, main: int) -> int:
        """Before the end event is recorded on `main`: it waits for all streams that have work waiting. How many are in use."""
        for stream in self.known:
            if stream != main and stream not in self.used and self.driver.busy(stream):
                self.used[stream] = self.driver.event()
        for stream, event in self.used.items():
            self.driver.record(event, stream)
            self.driver.wait(main, event)
        return len(self.used)

"""One clean parent for all kernel tests of a process: starting it costs seconds, forking a worker does not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import require


@pytest.fixture(scope="session")
def nursery() -> Iterator[Any]:
    require("torch")
    from evolve.evaluators.kernels.launch import Nursery

    made = Nursery(env={"TRITON_INTERPRET": "1"})
    yield made
    made.close()


@pytest.fixture(scope="session")
def referee(nursery: Any) -> Iterator[Any]:
    """On the simulated clock: times repeat exactly."""
    from evolve.evaluators.kernels.referee import Referee

    made = Referee(nursery, clock="work", env={"TRITON_INTERPRET": "1"})
    yield made
    made.close()

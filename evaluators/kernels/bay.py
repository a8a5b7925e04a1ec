"""What all kernel tasks of one process share: a leased GPU, the jail's clean parents, one referee, the machine's facts.

A run over many problems has one evaluator a problem in each slot's process; a card is leased once a process.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from evolve.evaluators.kernels import gpus
from evolve.tasks.task import Limits

_OPEN: dict[tuple[Any, ...], Bay] = {}


class Bay:
    """Open it with `take`; each taker closes it, and the last one really does. Not for several threads."""

    def __init__(
        self, device: str, clock: str, scratch: Path, rung: str, unsafe: bool, limits: Limits, machine: str
    ) -> None:
        """Raises InfrastructureError where no card becomes free, SandboxError where no rung holds."""
        self.lease: gpus.Lease | None = None
        if device == "cuda":
            self.lease = gpus.take()
            os.environ["CUDA_VISIBLE_DEVICES"] = self.lease.uuid
        from evolve.evaluators.kernels.jailed import Ward
        from evolve.evaluators.kernels.referee import Referee

        env = {"TRITON_INTERPRET": "1"} if device == "cpu" else {}
        self.ward = Ward(scratch, device=device, rung=rung, unsafe=unsafe, limits=limits)
        self.referee = Referee(self.ward, device, clock, env, card=self.lease.uuid if self.lease else "")
        self.fingerprint, self.takers = machine, 0
        self._store: Any = None

    @property
    def baselines(self) -> Any:
        """The store of this machine's baselines (baseline.Baselines)."""
        from evolve.evaluators.kernels import calibration
        from evolve.evaluators.kernels.baseline import Baselines

        if self._store is None:
            self._store = Baselines(calibration.folder(), self.key)
        return self._store

    @property
    def key(self) -> str:
        from evolve.evaluators.kernels import calibration

        return calibration.machine_key(self.fingerprint, self.referee.bench.facts())

    def calibrate(self, problem: Any, say: Callable[[str], None]) -> None:
        """Give the referee this machine's spread between honest workers, measured now where it is not known."""
        from evolve.evaluators.kernels import calibration

        if self.referee.overhead:
            return
        known = calibration.Overheads(calibration.folder(), self.key)
        found = known.get()
        if found is None:
            say("calibrating the clocks of this machine")
            found = calibration.overhead(self.referee, problem, self.key)
            known.put(found)
        self.referee.overhead = dict(found.between)

    def close(self) -> None:
        self.takers -= 1
        if self.takers > 0:
            return
        for name in [name for name, bay in _OPEN.items() if bay is self]:
            del _OPEN[name]
        self.referee.close()
        self.ward.close()
        if self.lease is not None:
            self.lease.close()


def take(
    device: str, clock: str, scratch: Path, *, rung: str = "", unsafe: bool = False, limits: Limits | None = None,
    machine: str = "",
) -> Bay:  # fmt: skip
    """This process's bay for such tasks, made when first asked for."""
    given = limits or Limits(memory=16 << 30)
    name = (device, clock, rung, unsafe, given)
    if name not in _OPEN:
        _OPEN[name] = Bay(device, clock, scratch, rung, unsafe, given, machine)
    _OPEN[name].takers += 1
    return _OPEN[name]


def open_bays() -> Mapping[tuple[Any, ...], Bay]:
    """Those open in this process (tests)."""
    return dict(_OPEN)

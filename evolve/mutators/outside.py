"""Anybody outside as mutator: a person or an agent takes a brief with `evolve ask` and answers with `evolve tell`.

The mutator only waits: for the answer on record, for the lease to run out, or for the run to end. How a brief gets out
and an answer in is `evolve.outside`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from evolve.mutators import Desk
from evolve.population import events as ev
from evolve.population.brief import Brief, Proposal

OUTSIDE = "outside"

UNCLAIMED = 30.0
"""Seconds after which a brief that nobody took is given up: whoever wanted it went away."""

GRACE = 5.0
"""Seconds by which an answer may be later than its lease, for it to become visible."""


class OutsideDesk(Desk, Protocol):
    """What a desk shows of the traffic with the outside."""

    def lease(self) -> ev.Leased | None: ...
    def told(self) -> tuple[ev.Told, Mapping[str, bytes | None]] | None: ...
    def closing(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class Outside:
    """See the module. look: seconds between two looks."""

    name: str = OUTSIDE
    operators: tuple[str, ...] = ("improve", "explore", "simplify", "fix", "combine")
    latency: bool = True
    look: float = 0.1

    async def propose(self, brief: Brief, desk: Desk) -> Proposal:
        place: OutsideDesk = desk  # type: ignore[assignment]
        began = time.monotonic()
        while True:
            if (answer := place.told()) is not None:
                return proposal(brief, *answer)
            lease = place.lease()
            if lease is None and time.monotonic() - began > UNCLAIMED:
                return Proposal(stillborn="nobody took the brief", operator=brief.operator)
            if lease is not None and time.time() > lease.until + GRACE:
                return Proposal(stillborn=f"the lease of {lease.holder} ran out", operator=brief.operator)
            if place.closing():
                return Proposal(stillborn="the run ended before the answer came", operator=brief.operator)
            await asyncio.sleep(self.look)


def proposal(brief: Brief, event: ev.Told, changed: Mapping[str, bytes | None]) -> Proposal:
    """The proposal that an answer is."""
    operator = f"{brief.operator}/{OUTSIDE}"
    model = event.model or event.holder
    if event.stillborn:
        return Proposal(stillborn=event.stillborn, operator=operator, model=model, why=event.why)
    parents = brief.parents[:2] if brief.operator == "combine" else ()
    return Proposal(dict(changed), event.idea, operator, model, tuple(parents), why=event.why)

"""The two parties' workers: started, loaded with a solution, counted, ended. A baseline's may be kept for the next candidates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evolve.evaluators.kernels import wire
from evolve.evaluators.kernels.definition import Problem
from evolve.evaluators.kernels.evidence import Fault
from evolve.evaluators.kernels.formats import content_hash
from evolve.evaluators.kernels.jailed import Ward
from evolve.evaluators.kernels.launch import Link, Nursery
from evolve.evaluators.kernels.plan import Plan
from evolve.evaluators.kernels.solution import Solution
from evolve.tasks.errors import InfrastructureError

KEPT = 4
"""Baseline workers kept at a time."""


@dataclass
class Side:
    """One party's worker."""

    name: str
    link: Link
    loaded: bool = False
    seen: dict[int, int] | None = None
    passing: bool = False


ENDINGS = {"closed": "ended", "late": "took too long", "garbage": "sent garbage"}
"""Kinds of `wire.WireFault` in words."""


class Sides:
    """Workers on one device, from one nursery or ward."""

    def __init__(self, nursery: Nursery | Ward, device: str, bench: Any, env: Mapping[str, str]) -> None:
        self.nursery, self.device, self.bench, self.env = nursery, device, bench, env
        self.transport = ""
        self.kept: dict[str, tuple[Side, int]] = {}

    def close(self) -> None:
        """End the kept baselines' workers."""
        for side, _ in self.kept.values():
            self.end(side)
        self.kept.clear()

    def close_all(self, sides: Mapping[str, Side]) -> None:
        """End these workers, those that are kept left alive."""
        for side in sides.values():
            if not any(side is kept for kept, _ in self.kept.values()):
                self.end(side)

    def open(self, name: str, size: int) -> Side:
        link = self.nursery.spawn(
            size if self.device == "cpu" else max(size, 1 << 20), self.device, self.bench.clock, self.env
        )
        try:
            self.transport = self.bench.attach(link, size)
        except BaseException:
            link.close()
            raise
        return Side(name, link, seen={})

    def end(self, side: Side) -> None:
        side.link.close()
        if hasattr(self.bench, "detach"):
            self.bench.detach(side.link)

    def baseline(self, problem: Problem, trusted: Solution, size: int, plan: Plan) -> Side:
        """The baseline's worker: one of its own a measurement, or, for screening, one kept over many candidates."""
        if not plan.keep:
            side = self.open("B", size)
            self._load_trusted(side, trusted, plan)
            return side
        key = f"{problem.definition.digest()}/{content_hash(trusted.sources)}"
        kept = self.kept.pop(key, None)
        if kept is not None and kept[1] >= size:
            side = kept[0]
            self.kept[key] = kept
        else:
            if kept is not None:
                self.end(kept[0])
            while len(self.kept) >= KEPT:
                self.end(self.kept.pop(next(iter(self.kept)))[0])
            side = self.open("B", size)
            self.kept[key] = (side, size)
            self._load_trusted(side, trusted, plan)
        side.seen = {} if plan.hidden else side.seen
        return side

    def forget(self, side: Side) -> None:
        """A kept baseline whose worker failed serves nobody any more; the next measurement starts another."""
        for key in [key for key, (kept, _) in self.kept.items() if kept is side]:
            del self.kept[key]

    def load(self, side: Side, solution: Solution, plan: Plan) -> tuple[Fault | None, dict[str, Any]]:
        order = {
            "op": "load",
            "files": dict(solution.sources),
            "entry": solution.entry,
            "flags": list(solution.flags),
            "number": side.link.pid,
        }
        side.passing = solution.passing
        try:
            answer = side.link.ask(order, plan.load)
        except wire.WireFault as fault:
            kind = "timeout" if fault.kind == "late" else "crash"
            return Fault(kind, "load", f"the process {ENDINGS[fault.kind]} while the solution was loaded"), {}
        if "fault" in answer:
            return Fault(str(answer["fault"]), "load", str(answer.get("message", ""))[:4000]), {}
        return None, {"load_seconds": answer.get("seconds")}

    def _load_trusted(self, side: Side, solution: Solution, plan: Plan) -> None:
        fault, _ = self.load(side, solution, plan)
        if fault is not None:
            raise InfrastructureError(f"the baseline does not load: {fault.message}")

    def census(self, side: Side) -> dict[str, Any]:
        return {"processes": side.link.processes(), "threads": side.link.threads(), "others": side.link.others()}

    def last_word(self, side: Side) -> tuple[Fault | None, dict[str, Any]]:
        """What the worker says of itself after its last call: the harness' functions, its kernels' registers."""
        try:
            return None, side.link.ask({"op": "census"}, 30)
        except wire.WireFault as fault:
            return Fault("crash", "call", f"the process {ENDINGS[fault.kind]} after its last call"), {}

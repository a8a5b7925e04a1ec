"""The registry of integrity checks; the package's own page says how one is written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from evolve.evaluators.integrity.seen import Seen
from evolve.tasks.evidence import Check, Outcome


@dataclass(frozen=True, slots=True)
class Finding:
    """detail: one sentence for a person. It never tells a candidate how it was caught in more than these words."""

    outcome: Outcome
    detail: str = ""


PASSED = Finding(Outcome.PASSED)

Function = Callable[[Seen], Finding]


@dataclass(frozen=True, slots=True)
class Entry:
    """`fault` makes what the check must not pass, `good` what it must: the registry's own test runs both."""

    name: str
    function: Function
    fault: Callable[[], Seen]
    good: Callable[[], Seen]


REGISTRY: dict[str, Entry] = {}


def check(name: str, *, fault: Callable[[], Seen], good: Callable[[], Seen]) -> Callable[[Function], Function]:
    """Register a check. Raises ValueError where the name is taken."""

    def register(function: Function) -> Function:
        if name in REGISTRY:
            raise ValueError(f"there is a check {name!r} already")
        REGISTRY[name] = Entry(name, function, fault, good)
        return function

    return register


def examine(seen: Seen, names: Iterable[str] | None = None) -> tuple[Check, ...]:
    """What the named checks (default: all) find about one tree. A check that raises is UNABLE, with the error's text.

    Raises KeyError for a name that is not registered.
    """
    found = []
    for name in REGISTRY if names is None else names:
        entry = REGISTRY[name]
        try:
            finding = entry.function(seen)
        except Exception as error:  # noqa: BLE001 - whatever kept a check from running, the tree has not passed it
            finding = Finding(Outcome.UNABLE, f"the check could not run: {type(error).__name__}: {error}"[:300])
        found.append(Check(name, finding.outcome, finding.detail, seen.tree))
    return tuple(found)

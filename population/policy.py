"""The search policy: every part of the default that can be switched off or set, in one record stored with the run.

What each part is for, and what it was measured to be worth, is in docs/search.md.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Any

from evolve.tasks.errors import UsageError

LATER = {"climb": 0, "exact": False, "levels": False}
"""Parts that came after the first runs on record, and what they are worth where a record does not name them."""


@dataclasses.dataclass(frozen=True, slots=True)
class Policy:
    """A share is of 0..1; a switch is true or false. Off is 0 or false everywhere.

    opening:      briefs that start independently from the seed. islands: subpopulations (1: none).
    elite:        chance that an island's best is the parent. spread: share of briefs spread over all islands alike.
    settle:       share of the budget after which the leader's island gets all other briefs; 1: never.
    climb:        where the seed's noise check found none: the best of all is the parent while it has moved within so many
                  evaluations. exact: there, who scores more is champion at once, and is measured again once it stands.
    levels:       the key-less mutator keeps a table of signs or classes to the values it holds, nearly always.
    cross, other: chances of a crossover, and of a transplant, explore or simplify. fix, port: chances of mending a
                  failed candidate, and of taking an idea over from another task, where a mutator answers them.
    novelty:      weigh parents by their distance to others. duplicates: refuse a known program in another spelling before it is
                  paid for; the very same files always are.
    fingerprints: refuse a program that behaves as a known one on the task's probes.
    tune:         share of the evaluations up to which studies of the numeric tuner are opened.
    ladder:       climb the plateau ladder. patience: share of the budget without a gain that calls for its next rung.
    lineages:     let the ladder's last steps start new lineages, and restart.
    tactics:      ask for new families at a plateau. resample: repeat the brief that broke through, so many times.
    lessons:      chance that a brief is shown lessons. returning: show lines that the lineage deleted.
    handover:     share of the budget after which the cheap model hands over to the strong one; a stall does so earlier; 0: never.
    bandit:       choose operators and models by what they gained for their cost.
    """

    opening: int = 9
    islands: int = 3
    elite: float = 0.6
    spread: float = 0.15
    settle: float = 0.25
    climb: int = 10
    exact: bool = True
    levels: bool = True
    cross: float = 0.05
    other: float = 0.05
    fix: float = 0.05
    port: float = 0.05
    novelty: bool = True
    duplicates: bool = True
    fingerprints: bool = True
    tune: float = 0.15
    ladder: bool = True
    patience: float = 0.05
    lineages: bool = False
    tactics: bool = True
    resample: int = 3
    lessons: float = 0.0
    returning: bool = True
    handover: float = 0.5
    bandit: bool = False

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Policy:
        """From the text or values of some of its fields. Raises UsageError naming the field, the value and the known."""
        kinds = {f.name: type(f.default) for f in dataclasses.fields(cls)}
        values: dict[str, Any] = {}
        for name, given in settings.items():
            if name not in kinds:
                near = difflib.get_close_matches(name, kinds, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(kinds)}"
                raise UsageError(f"the policy has no part {name!r}; {hint}")
            values[name] = _value(name, given, kinds[name])
        return cls(**values)

    @classmethod
    def known(cls, settings: Mapping[str, Any]) -> Policy:
        """From what a run has on record, leaving out what this version does not know; what did not exist then is off."""
        names = {f.name for f in dataclasses.fields(cls)}
        since = LATER if settings else {}
        return cls.of({**since, **{name: value for name, value in settings.items() if name in names}})

    def record(self) -> dict[str, Any]:
        """Every field, defaults too: a run keeps its policy when a later version has another default."""
        return dataclasses.asdict(self)


_WORDS = {"true": True, "on": True, "yes": True, "1": True, "false": False, "off": False, "no": False, "0": False}


def _value(name: str, given: Any, kind: type) -> Any:
    try:
        if kind is bool:
            return given if isinstance(given, bool) else _WORDS[str(given).lower()]
        value = kind(_WORDS.get(given, given) if isinstance(given, str) and given in ("off", "false") else given)
    except (KeyError, ValueError, TypeError):
        expected = {bool: "on or off", int: "a whole number", float: "a number"}[kind]
        raise UsageError(f"policy part {name} is {given!r}; it must be {expected}") from None
    if value < 0 or (kind is float and value > 1):
        raise UsageError(f"policy part {name} is {given!r}; it must be {'0..1' if kind is float else '0 or more'}")
    if name == "islands" and value < 1:
        raise UsageError("policy part islands is 0; 1 is a search without islands")
    return value

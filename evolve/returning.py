"""Lines that a lineage deleted and does not have now: a model tends to write them again, and is told so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from evolve.search import Search

STEPS = 12
"""First-parent steps back that are looked at."""

LINES = 30
"""Most lines shown, the latest deleted first."""

SHORTEST = 10
"""Characters, without the space around, from which a line says something by itself."""


def deleted(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[str]:
    """Lines with something to say that are in `before` more often than in `after`, in their order."""
    left = Counter(said for content in after.values() for said in _said(content))
    out = []
    for path in sorted(before):
        for said in _said(before[path]):
            if left[said] > 0:
                left[said] -= 1
            else:
                out.append(said)
    return out


def lines(search: Search, task: str, parent: str) -> str:
    """What the lineage of a candidate (hex commit id) deleted lately and has not now, a line each; "" for nothing."""
    ground, state = search.grounds[task].task, search.state
    path = [step for step in state.lineage.path_to(parent) if step.task == task][-STEPS - 1 :]
    present = {said for content in search.files_of(ground, path[-1]).values() for said in _said(content)} if path else set()
    found: dict[str, None] = {}
    for after, before in zip(path[:0:-1], path[-2::-1], strict=True):
        for said in deleted(search.files_of(ground, before), search.files_of(ground, after)):
            if said not in present and len(found) < LINES:
                found.setdefault(said)
    return "\n".join(found)


def _said(content: bytes) -> list[str]:
    stripped = (line.strip() for line in content.decode("utf-8", "replace").splitlines())
    return [line for line in stripped if len(line) >= SHORTEST]

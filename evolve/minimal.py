"""The smallest part of a change that keeps its gain: delta debugging over hunks (after Zeller and Hildebrandt, 2002).

Every trial is measured beside the whole change, never beside the last trial, so that many small losses cannot add up.
"""

from __future__ import annotations

import difflib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from evolve.remeasure import Paired

KEEP = 0.95
"""Share of the gain that must be left, at 95% confidence, where measurements are noisy. Exact tasks lose nothing."""


@dataclass(frozen=True, slots=True)
class Hunk:
    """One stretch of lines [start, end) of a file of the base, and what replaces them; `whole`: a file made or deleted."""

    path: str
    start: int
    end: int
    lines: tuple[bytes, ...]
    whole: bool = False

    def title(self) -> str:
        if self.whole:
            return f"{self.path} ({'added' if self.lines else 'deleted'})"
        return f"{self.path}:{self.start + 1} (-{self.end - self.start} +{len(self.lines)})"


@dataclass(slots=True)
class Reduction:
    """kept: the hunks that stay, with what each is worth (fitness lost without it; None: it does not score without, or
    its worth was not shown). dropped: those that were idle. measured: pairs measured. complete: False where `most` ran
    out before every hunk was tried alone."""

    kept: list[tuple[Hunk, Paired | None]]
    dropped: list[Hunk]
    measured: int
    complete: bool
    notes: list[str] = field(default_factory=list)


def hunks_between(before: Mapping[str, bytes], after: Mapping[str, bytes]) -> list[Hunk]:
    """The hunks that turn files `before` into `after`, in order of path and line, none touching another."""
    found = []
    for path in sorted(set(before) | set(after)):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        if old is None or new is None:
            found.append(Hunk(path, 0, 0, (new,) if new is not None else (), whole=True))
            continue
        a, b = old.splitlines(keepends=True), new.splitlines(keepends=True)
        for tag, i1, i2, j1, j2 in difflib.SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
            if tag == "replace" and i2 - i1 == j2 - j1:  # lines changed in place can be taken or left one by one
                found += [Hunk(path, i1 + k, i1 + k + 1, (b[j1 + k],)) for k in range(i2 - i1)]
            elif tag != "equal":
                found.append(Hunk(path, i1, i2, tuple(b[j1:j2])))
    return found


def apply(before: Mapping[str, bytes], hunks: Sequence[Hunk]) -> dict[str, bytes | None]:
    """Changed files (None: deleted) of `before` with only these hunks."""
    out: dict[str, bytes | None] = {}
    by_path: dict[str, list[Hunk]] = {}
    for hunk in hunks:
        by_path.setdefault(hunk.path, []).append(hunk)
    for path, group in by_path.items():
        if group[0].whole:
            out[path] = group[0].lines[0] if group[0].lines else None
            continue
        lines = before[path].splitlines(keepends=True)
        for hunk in sorted(group, key=lambda h: (h.start, h.end), reverse=True):
            lines[hunk.start : hunk.end] = hunk.lines
        out[path] = b"".join(lines)
    return out


async def reduce(
    hunks: Sequence[Hunk],
    compare: Callable[[Sequence[Hunk], int], Awaitable[Paired]],
    gain: float,
    *,
    most: int = 200,
    progress: Callable[[str], None] = lambda _: None,
) -> Reduction:
    """Drop chunks, then single hunks, until each one left pays for itself.

    compare: measures a subset beside the whole change, with 1, 2 or 4 times the usual blocks. gain: of the whole change
    over the base, in fitness. most: pairs measured at most.
    """
    work = _Work(compare, gain, most, progress)
    kept = list(hunks)
    size = max(len(kept) // 2, 1)
    while True:
        before = len(kept)
        kept = await _pass(work, kept, size)
        if work.exhausted or (size == 1 and len(kept) == before):
            break
        size = max(min(size // 2, len(kept) // 2), 1)
    worth = [(hunk, work.known.get(frozenset(h for h in kept if h != hunk))) for hunk in kept]
    dropped = [hunk for hunk in hunks if hunk not in kept]
    return Reduction(worth, dropped, work.measured, not work.exhausted)


async def _pass(work: _Work, kept: list[Hunk], size: int) -> list[Hunk]:
    at = 0
    while at < len(kept) and not work.exhausted:
        rest = kept[:at] + kept[at + size :]
        if rest and await work.idle(rest):
            work.progress(f"{len(kept) - len(rest)} of {len(kept)} hunks are idle and go")
            kept = rest
        else:
            at += size
    return kept


class _Work:
    """Measures each subset once. A subset without the rest is as good when its loss is shown to be within bounds."""

    def __init__(
        self, compare: Callable[[Sequence[Hunk], int], Awaitable[Paired]], gain: float, most: int,
        progress: Callable[[str], None],
    ) -> None:  # fmt: skip
        self.compare, self.most, self.progress = compare, most, progress
        self.margin = (1 - KEEP) * max(gain, 0.0)
        self.known: dict[frozenset[Hunk], Paired] = {}
        self.measured = 0

    @property
    def exhausted(self) -> bool:
        return self.measured >= self.most

    async def idle(self, rest: Sequence[Hunk]) -> bool:
        """Whether the change without what `rest` lacks is as good as whole."""
        key = frozenset(rest)
        if key not in self.known:
            for times in (1, 2, 4):
                self.measured += 1
                self.known[key] = await self.compare(rest, times)
                if self._decided(self.known[key]) or self.exhausted:
                    break
        return self._as_good(self.known[key])

    def _as_good(self, pair: Paired) -> bool:
        if pair.gain is None or pair.low is None or pair.high is None:
            return False
        if pair.low == pair.high:  # exact
            return pair.gain >= 0
        return pair.low >= -self.margin

    def _decided(self, pair: Paired) -> bool:
        return pair.gain is None or self._as_good(pair) or (pair.high is not None and pair.high < 0) or pair.low == pair.high

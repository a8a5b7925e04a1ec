"""Where a piece of text stands in a file: exactly, but for white space, or nearly (at least 0.9 alike).

Every place is returned, so that the caller can refuse what is not unique. Blank lines are not counted from the second
tier on. Similarity is difflib's ratio over the lines with their white space normalised.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

from evolve.edits.change import Tier

LEAST_RATIO = 0.9
LEAST_SIGNIFICANT = 20
"""Characters below which text is too short to be matched nearly: `x = 10` is not nearly `x = 100`."""

SLACK = 3
"""Lines by which a nearly matching place may be longer or shorter than the text."""

MOST_TRIMMED = 2
"""Context lines at either end of a hunk that may be wrong (`patch` calls it fuzz)."""


@dataclass(frozen=True, slots=True)
class Place:
    """File lines start..end stand for the text. pairs: for each line of the text the file line it is, or None."""

    start: int
    end: int
    tier: Tier
    ratio: float
    pairs: tuple[int | None, ...]


def find(lines: Sequence[str], old: Sequence[str], *, lead: int = 0, tail: int = 0) -> list[Place]:
    """All places of `old` in `lines` (both without ends), of the first tier that has any.

    lead, tail: how many of the first and last lines of `old` are mere context.
    """
    if not any(line.strip() for line in old):
        return []
    return _exact(lines, old) or _whitespace(lines, old) or _trimmed(lines, old, lead, tail) or _fuzzy(lines, old)


def normal(line: str) -> str:
    return " ".join(line.split())


def _exact(lines: Sequence[str], old: Sequence[str]) -> list[Place]:
    n, first = len(old), old[0]
    wanted = list(old)
    return [
        Place(i, i + n, Tier.EXACT, 1.0, tuple(range(i, i + n)))
        for i in range(len(lines) - n + 1)
        if lines[i] == first and list(lines[i : i + n]) == wanted
    ]


def _significant(lines: Sequence[str]) -> tuple[list[str], list[int]]:
    """Normalised non-blank lines, and their numbers."""
    kept = [(normal(line), number) for number, line in enumerate(lines) if line.strip()]
    return [text for text, _ in kept], [number for _, number in kept]


def _whitespace(lines: Sequence[str], old: Sequence[str]) -> list[Place]:
    have, at = _significant(lines)
    want, asked = _significant(old)
    n = len(want)
    found = []
    for i in range(len(have) - n + 1):
        if have[i] == want[0] and have[i : i + n] == want:
            pairs: list[int | None] = [None] * len(old)
            for k, number in enumerate(asked):
                pairs[number] = at[i + k]
            found.append(Place(at[i], at[i + n - 1] + 1, Tier.WHITESPACE, 1.0, tuple(pairs)))
    return found


def _trimmed(lines: Sequence[str], old: Sequence[str], lead: int, tail: int) -> list[Place]:
    """A hunk whose outermost context is wrong, by its other lines."""
    for cut in range(1, 2 * MOST_TRIMMED + 1):
        for front in range(min(cut, lead, MOST_TRIMMED) + 1):
            back = cut - front
            if back > min(tail, MOST_TRIMMED) or front + back >= len(old):
                continue
            core = old[front : len(old) - back]
            if sum(bool(line.strip()) for line in core) < 2 or _weight(core) < LEAST_SIGNIFICANT:
                continue
            found = _exact(lines, core) or _whitespace(lines, core)
            if found:
                empty = (None,) * front, (None,) * back
                return [Place(p.start, p.end, Tier.FUZZY, 0.9, (*empty[0], *p.pairs, *empty[1])) for p in found]
    return []


def _weight(lines: Sequence[str]) -> int:
    return sum(len(re.sub(r"\s", "", line)) for line in lines)


def _fuzzy(lines: Sequence[str], old: Sequence[str]) -> list[Place]:
    if _weight(old) < LEAST_SIGNIFICANT:
        return []
    near = _windows(lines, old, LEAST_RATIO)
    if not near:
        return []
    best = near[0]
    others = [w for w in near[1:] if w[1] + w[2] <= best[1] or w[1] >= best[1] + best[2]]
    return [_placed(lines, old, window) for window in [best, *others[:1]]]


def _windows(lines: Sequence[str], old: Sequence[str], least: float) -> list[tuple[float, int, int]]:
    """(ratio, first significant line, how many) of windows at least that alike, best first."""
    have, _ = _significant(lines)
    want, _ = _significant(old)
    text = "\n".join(want)
    lengths = [0]
    for line in have:
        lengths.append(lengths[-1] + len(line) + 1)
    matcher = SequenceMatcher(None, autojunk=False)
    matcher.set_seq2(text)
    slack = SLACK if len(have) <= 5000 else 0
    found = []
    for size in range(max(1, len(want) - slack), len(want) + slack + 1):
        for i in range(len(have) - size + 1):
            length = lengths[i + size] - lengths[i] - 1
            if 2 * min(length, len(text)) < least * (length + len(text)):
                continue
            matcher.set_seq1("\n".join(have[i : i + size]))
            if matcher.quick_ratio() >= least and (ratio := matcher.ratio()) >= least:
                found.append((ratio, i, size))
    found.sort(key=lambda w: (-w[0], abs(w[2] - len(want)), w[1]))
    return found


def _placed(lines: Sequence[str], old: Sequence[str], window: tuple[float, int, int]) -> Place:
    ratio, first, size = window
    have, at = _significant(lines)
    want, asked = _significant(old)
    pairs: list[int | None] = [None] * len(old)
    matcher = SequenceMatcher(None, want, have[first : first + size], autojunk=False)
    for tag, i1, i2, j1, j2 in matcher.get_opcodes():
        if tag in ("equal", "replace"):
            for k in range(min(i2 - i1, j2 - j1)):
                pairs[asked[i1 + k]] = at[first + j1 + k]
    return Place(at[first], at[first + size - 1] + 1, Tier.FUZZY, ratio, tuple(pairs))


def nearest(lines: Sequence[str], old: Sequence[str]) -> tuple[int, int, float] | None:
    """(start, end, ratio) of the lines most like `old`, for an error message; None where nothing is like it.

    By lines first (cheap on a long file), then by characters among the best few.
    """
    have, at = _significant(lines)
    want, _ = _significant(old)
    if not have or not want:
        return None
    size = min(len(want), len(have))
    wanted = set(want)
    score = [_likeness(line, wanted) for line in have]
    total = sum(score[:size])
    sums = [total]
    for i in range(1, len(have) - size + 1):
        total += score[i + size - 1] - score[i - 1]
        sums.append(total)
    best = sorted(range(len(sums)), key=lambda i: (-sums[i], i))[:5]
    text = "\n".join(want)
    ratios = [(SequenceMatcher(None, "\n".join(have[i : i + size]), text, autojunk=False).ratio(), -i) for i in best]
    ratio, i = max(ratios)
    return (at[-i], at[-i + size - 1] + 1, ratio) if ratio >= 0.3 else None


def _likeness(line: str, wanted: set[str]) -> float:
    if line in wanted:
        return 1.0
    words = set(re.findall(r"\w+", line))
    if not words:
        return 0.0
    return max((len(words & (o := set(re.findall(r"\w+", w)))) / len(words | o) for w in wanted), default=0.0) * 0.8


def rewrite(lines: Sequence[str], place: Place, old: Sequence[str], new: Sequence[str]) -> list[str]:
    """What lines place.start..place.end (without ends) become when `old` becomes `new`.

    Lines that old and new share keep the file's own spelling; new ones take the indent of the file where the text's
    indent differs from it. File lines that the text does not have stay unless they lie between two removed ones.
    """
    if place.tier is Tier.EXACT:
        return list(new)
    bounds = [place.end] * (len(old) + 1)
    for i in range(len(old) - 1, -1, -1):
        pair = place.pairs[i]
        bounds[i] = pair if pair is not None else bounds[i + 1]
    indents = _Indents(lines, place, old)
    a, b = [line.rstrip() for line in old], [line.rstrip() for line in new]
    out: list[str] = []
    for tag, i1, i2, j1, j2 in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            out += lines[bounds[i1] : bounds[i2]]
            continue
        one_to_one = i2 - i1 == j2 - j1
        for j in range(j1, j2):
            out.append(indents.moved(new[j], i1 + (j - j1) if one_to_one else i1, i2))
        last = next((place.pairs[i] for i in range(i2 - 1, i1 - 1, -1) if place.pairs[i] is not None), None)
        if last is not None:
            out += lines[last + 1 : bounds[i2]]
    return out


class _Indents:
    """How the text's indentation differs from the file's, line by line."""

    def __init__(self, lines: Sequence[str], place: Place, old: Sequence[str]) -> None:
        self._pairs = [
            (_indent(old[i]), _indent(lines[pair])) if pair is not None and old[i].strip() else None
            for i, pair in enumerate(place.pairs)
        ]
        self._tabs = any(line.startswith("\t") for line in lines[place.start : place.end])

    def moved(self, line: str, i: int, end: int) -> str:
        """A new line that stands in for line `i` of the old text (the replaced ones end at `end`)."""
        if not line.strip():
            return ""
        near = [*range(i, end), *range(i - 1, -1, -1), *range(end, len(self._pairs))]
        pair = next((self._pairs[k] for k in near if k < len(self._pairs) and self._pairs[k] is not None), None)
        indent = _indent(line)
        if pair is None:
            return line
        theirs, ours = pair
        made: str
        if indent.startswith(theirs):
            made = ours + self._spelt(indent[len(theirs) :])
        else:
            made = self._spelt(" " * max(_width(indent) + _width(ours) - _width(theirs), 0))
        return made + line.lstrip()

    def _spelt(self, indent: str) -> str:
        if self._tabs and "\t" not in indent:
            return "\t" * (len(indent) // 4) + " " * (len(indent) % 4)
        return indent if self._tabs else indent.expandtabs(4)


def _indent(line: str) -> str:
    return line[: len(line) - len(line.lstrip())]


def _width(indent: str) -> int:
    return len(indent.expandtabs(4))

"""Byte-level BPE without a dependency: read upstream's pickled tokenizer without unpickling code, train a small one.

A tokenizer is its merge ranks (bytes -> id, single bytes first), a split pattern and special tokens. Encoding follows
the usual rule: split the text by the pattern, then join the adjacent pair of lowest rank until none is left.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import pickle
import re
import sys
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from itertools import pairwise
from pathlib import Path
from typing import Any

from evolve.tasks.errors import TaskError

PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
)
"""GPT-4's split pattern with digits in groups of one or two, as nanochat and autoresearch train with."""

SPECIAL = ("<|reserved_0|>", "<|reserved_1|>", "<|reserved_2|>", "<|reserved_3|>")
BEGIN = SPECIAL[0]


@dataclass(frozen=True)
class Tokenizer:
    """ranks: token bytes -> id. special: name -> id (they stand for no text). pattern: split pattern, `\\p` allowed."""

    ranks: Mapping[bytes, int]
    special: Mapping[str, int]
    pattern: str = PATTERN
    _cache: dict[str, tuple[int, ...]] = field(default_factory=dict, repr=False, compare=False)

    @property
    def size(self) -> int:
        return len(self.ranks) + len(self.special)

    @property
    def begin(self) -> int:
        """Id of the token that opens every document."""
        return self.special[BEGIN] if BEGIN in self.special else min(self.special.values())

    def encode(self, text: str) -> list[int]:
        """Token ids of `text`; special names in it are plain text."""
        out: list[int] = []
        cache = self._cache
        for piece in _splitter(self.pattern).findall(text):
            ids = cache.get(piece)
            if ids is None:
                ids = tuple(self._join(piece.encode("utf-8", "surrogatepass")))
                if len(cache) < 1_000_000:
                    cache[piece] = ids
            out += ids
        return out

    def _join(self, piece: bytes) -> list[int]:
        ranks = self.ranks
        if (whole := ranks.get(piece)) is not None:
            return [whole]
        parts = [piece[i : i + 1] for i in range(len(piece))]
        while len(parts) > 1:
            best, at = None, -1
            for i in range(len(parts) - 1):
                rank = ranks.get(parts[i] + parts[i + 1])
                if rank is not None and (best is None or rank < best):
                    best, at = rank, i
            if at < 0:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return [ranks[part] for part in parts]

    def decode(self, ids: Iterable[int]) -> bytes:
        """The bytes that ids stand for; special tokens stand for none."""
        return b"".join(self._by_id.get(int(i), b"") for i in ids)

    @functools.cached_property
    def _by_id(self) -> dict[int, bytes]:
        return {i: token for token, i in self.ranks.items()}

    def token_bytes(self) -> list[int]:
        """Bytes of raw text each id stands for, 0 for special ones; length `size`.

        Counted from the token's own bytes. Upstream counts the UTF-8 length of its decoding, which gives 3 to a token
        that is no whole character; the sum over a text then differs from the text's length.
        """
        out = [0] * self.size
        for token, i in self.ranks.items():
            out[i] = len(token)
        return out

    def digest(self) -> str:
        """Hex sha256 over ranks, special tokens and pattern."""
        facts = [
            sorted((i, token.hex()) for token, i in self.ranks.items()),
            sorted(self.special.items()),
            self.pattern,
        ]
        return hashlib.sha256(json.dumps(facts).encode()).hexdigest()

    def save(self, path: Path) -> None:
        """Plain JSON: no code runs when it is read."""
        ordered = sorted(self.ranks, key=self.ranks.__getitem__)
        document = {
            "pattern": self.pattern,
            "special": dict(self.special),
            "tokens": [token.hex() for token in ordered],
        }
        path.write_text(json.dumps(document), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Tokenizer:
        """From our JSON or from upstream's `tokenizer.pkl` (a pickled tiktoken Encoding). Raises TaskError."""
        try:
            if path.suffix == ".pkl":
                return _from_pickle(path.read_bytes(), path)
            document = json.loads(path.read_text(encoding="utf-8"))
            ranks = {bytes.fromhex(token): i for i, token in enumerate(document["tokens"])}
            return cls(ranks, document["special"], document["pattern"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise TaskError(f"{path} is no tokenizer: {error}; run the task's prepare step again") from error


# ---- upstream's pickle -----------------------------------------------------------------------------------------------


class _Encoding:
    """Stands in for tiktoken's class: it takes the state and does nothing with it."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Reader(pickle.Unpickler):
    """Knows one class and calls nothing else, so a hostile pickle can only fail."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("tiktoken.core", "Encoding"):
            return _Encoding
        raise ValueError(f"it names {module}.{name}, which a tokenizer has no use for")


def _from_pickle(data: bytes, path: Path) -> Tokenizer:
    try:
        found = _Reader(io.BytesIO(data)).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, IndexError, ImportError) as error:
        raise TaskError(f"{path} is no pickled tokenizer: {error}") from error
    state = found.state if isinstance(found, _Encoding) else None
    if not isinstance(state, Mapping) or not isinstance(state.get("mergeable_ranks"), Mapping):
        raise TaskError(f"{path} holds no tiktoken encoding with mergeable_ranks")
    ranks, special, pattern = state["mergeable_ranks"], state["special_tokens"], state["pat_str"]
    if not all(isinstance(k, bytes) and isinstance(v, int) for k, v in ranks.items()):
        raise TaskError(f"{path}: mergeable_ranks must map bytes to whole numbers")
    return Tokenizer(dict(ranks), dict(special), str(pattern))


# ---- the split pattern in Python's own expressions -------------------------------------------------------------------


@functools.cache
def _splitter(pattern: str) -> re.Pattern[str]:
    """`\\p{L}` and `\\p{N}` written out as ranges, since `re` has no Unicode categories."""
    out, inside, i = "", False, 0
    while i < len(pattern):
        if pattern.startswith((r"\p{L}", r"\p{N}"), i):
            ranges = _ranges(pattern[i + 3])
            out, i = out + (ranges if inside else f"[{ranges}]"), i + 5
            continue
        if pattern[i] == "\\":
            out, i = out + pattern[i : i + 2], i + 2
            continue
        if pattern[i] in "[]":
            inside = pattern[i] == "["
        out, i = out + pattern[i], i + 1
    return re.compile(out)


@functools.cache
def _ranges(category: str) -> str:
    parts, start, last = [], -1, -2
    for code in range(sys.maxunicode + 1):
        if unicodedata.category(chr(code))[0] != category:
            continue
        if code != last + 1:
            if start >= 0:
                parts.append((start, last))
            start = code
        last = code
    parts.append((start, last))
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in parts)


# ---- training --------------------------------------------------------------------------------------------------------


def train(texts: Iterable[str], size: int, pattern: str = PATTERN, cut: int = 10_000) -> Tokenizer:
    """A tokenizer of `size` ids (256 bytes, merges, four special tokens) learnt from `texts`, each cut at `cut`
    characters. Deterministic: of pairs equally frequent the lower ids win. Raises ValueError for a size below 260."""
    if size < 256 + len(SPECIAL):
        raise ValueError(f"a byte-level tokenizer needs at least {256 + len(SPECIAL)} ids, not {size}")
    splitter, words = _splitter(pattern), Counter[str]()
    for text in texts:
        words.update(splitter.findall(text[:cut]))
    tokens = _merge(
        [list(word.encode("utf-8", "surrogatepass")) for word in words], list(words.values()), size - 256 - len(SPECIAL)
    )
    ranks = {token: i for i, token in enumerate(tokens)}
    return Tokenizer(ranks, {name: len(ranks) + i for i, name in enumerate(SPECIAL)}, pattern)


def _merge(words: list[list[int]], counts: list[int], merges: int) -> list[bytes]:
    """The tokens' bytes in order of their ids: 256 bytes, then one a merge of the most frequent adjacent pair."""
    tokens = [bytes([i]) for i in range(256)]
    known = set(tokens)
    pairs: Counter[tuple[int, int]] = Counter()
    where: defaultdict[tuple[int, int], set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += counts[number]
            where[pair].add(number)
    heap = [(-count, pair) for pair, count in pairs.items()]
    heapify(heap)
    while heap and len(tokens) < 256 + merges:
        count, pair = heappop(heap)
        if -count != pairs[pair] or count == 0:
            continue  # an older count of it; the newer one is in the heap too
        joined = tokens[pair[0]] + tokens[pair[1]]
        if joined in known:
            continue
        new = len(tokens)
        tokens.append(joined)
        known.add(joined)
        changed: set[tuple[int, int]] = set()
        for number in sorted(where.pop(pair)):
            changed |= _apply(words, number, counts[number], pair, new, pairs, where)
        pairs[pair] = 0
        for other in sorted(changed - {pair}):
            if pairs[other] > 0:
                heappush(heap, (-pairs[other], other))
    return tokens


def _apply(
    words: list[list[int]], number: int, count: int, pair: tuple[int, int], new: int, pairs: Counter[tuple[int, int]],
    where: defaultdict[tuple[int, int], set[int]],
) -> set[tuple[int, int]]:  # fmt: skip
    """Join the pair in one word and keep the counts; the pairs whose count changed."""
    old = words[number]
    out, i = [], 0
    while i < len(old):
        if i + 1 < len(old) and (old[i], old[i + 1]) == pair:
            out.append(new)
            i += 2
        else:
            out.append(old[i])
            i += 1
    words[number] = out
    changed = set()
    for which in pairwise(old):
        pairs[which] -= count
        changed.add(which)
    for which in pairwise(out):
        pairs[which] += count
        where[which].add(number)
        changed.add(which)
    return changed

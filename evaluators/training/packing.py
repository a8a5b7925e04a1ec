"""Documents into rows of T + 1 tokens, as upstream's loader packs them, but once and for all candidates alike.

Best fit over a buffer of documents: of those that fit into what is left of the row the longest; where none fits the
shortest is cut to fill it and its rest is dropped. Rows are therefore full, and every one begins with a document.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.uint16]

BUFFER, BATCH = 1000, 128
"""Documents the buffer is kept filled with, and how many are read at a time."""


class Packer:
    """Rows of `length` tokens out of `documents` (each a sequence of ids that opens with the begin token).

    `left` tells, once rows have been taken, which documents (by number) lie unused in the buffer, `read` how many were
    read: the others are material for a holdout.
    """

    def __init__(self, documents: Iterable[Sequence[int]], length: int, buffer: int = BUFFER) -> None:
        self.length, self._size = length, buffer
        self._source = enumerate(documents)
        self._open = True
        self.read = 0
        self._order: list[tuple[int, int]] = []  # (length, -number), sorted
        self._texts: dict[int, Sequence[int]] = {}

    def rows(self, *, drain: bool = True) -> Iterator[list[int]]:
        """Rows until the documents are used up. `drain`: also what the buffer holds at the end; the last row, if it
        cannot be filled, is left out."""
        while True:
            row: list[int] = []
            while len(row) < self.length:
                self._fill()
                if not self._order or (not drain and not self._open and len(self._order) < self._size):
                    return
                row += self._take(self.length - len(row))
            yield row

    def left(self) -> list[int]:
        """Numbers of the documents in the buffer, unused."""
        return sorted(self._texts)

    def _fill(self) -> None:
        while self._open and len(self._order) < self._size:
            for _ in range(BATCH):
                try:
                    number, tokens = next(self._source)
                    self.read = number + 1
                except StopIteration:
                    self._open = False
                    break
                if len(tokens):
                    insort(self._order, (len(tokens), -number))
                    self._texts[number] = tokens

    def _take(self, room: int) -> Sequence[int]:
        at = bisect_right(self._order, (room, 1)) - 1
        if at < 0:  # none fits: the first of the shortest
            at = bisect_left(self._order, (self._order[0][0], 1)) - 1
        _, number = self._order.pop(at)
        return self._texts.pop(-number)[:room]


def pack(documents: Iterable[Sequence[int]], length: int, most: int | None = None) -> Rows:
    """All rows (at most `most`) as uint16 [rows, length]."""
    out: list[Rows] = []
    for row in Packer(documents, length).rows():
        if most is not None and len(out) >= most:
            break
        out.append(np.asarray(row, dtype=np.uint16))
    return np.stack(out) if out else np.empty((0, length), dtype=np.uint16)


def chunk(stream: npt.NDArray[np.uint16], length: int) -> Rows:
    """A token stream as rows of `length` + 1 that overlap by one token, so that each token but the first is a target
    exactly once: [n, length + 1]. A rest shorter than a row is dropped."""
    count = max((len(stream) - 1) // length, 0)
    inputs = stream[: count * length].reshape(count, length)
    last = stream[length : count * length + 1 : length].reshape(count, 1)
    return np.concatenate([inputs, last], axis=1)

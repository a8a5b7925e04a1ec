"""What trainer and referee say to each other: shared names, the socket's worker end, the trained state as bytes.

A trained state is
    8 bytes length of the header | header, JSON [[name, dtype, [shape...]], ...] | the tensors' raw bytes, in that order
Nothing in it is code. Standard library only: it is imported by the sandbox's launcher.
"""

from __future__ import annotations

import json
import math
import socket
from collections.abc import Sequence
from typing import Any

from evolve.evaluators.channel import Refused, pack, strict_json

MESSAGE = 1 << 16
"""Bytes of one message from the worker at most."""

SLOTS = 4
"""Batches the ring of shared memory holds."""

ITEM = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
        "bool": 1}  # fmt: skip
"""dtypes a state may hold -> bytes of one element."""

MOST_TENSORS = 20_000
LONGEST_NAME = 300

Entry = tuple[str, str, tuple[int, ...]]


class Line:
    """The worker's end of the socket."""

    def __init__(self, fd: int) -> None:
        self._socket = socket.socket(fileno=fd)

    def send(self, header: Any, body: bytes = b"") -> None:
        self._socket.sendall(pack(header, body))

    def receive(self, descriptors: int = 0) -> tuple[Any, bytes, list[int]]:
        """One frame (header, body) and up to `descriptors` file descriptors. Raises EOFError where the other is gone."""
        fds: list[int] = []
        first = b""
        if descriptors:
            first, fds, _, _ = socket.recv_fds(self._socket, 1, descriptors)
        head = first + self._exactly(16 - len(first))
        header = self._exactly(int.from_bytes(head[8:16], "little"))
        body = self._exactly(int.from_bytes(self._exactly(8), "little"))
        return json.loads(header), body, fds

    def _exactly(self, count: int) -> bytes:
        data = bytearray()
        while len(data) < count:
            chunk = self._socket.recv(min(count - len(data), 1 << 20))
            if not chunk:
                raise EOFError("the referee is gone")
            data += chunk
        return bytes(data)


def header_bytes(entries: Sequence[Entry]) -> bytes:
    text = json.dumps([[name, dtype, list(shape)] for name, dtype, shape in entries], separators=(",", ":")).encode()
    return len(text).to_bytes(8, "little") + text


def state_size(entries: Sequence[Entry]) -> int:
    """Bytes of a whole state with these tensors."""
    return len(header_bytes(entries)) + sum(math.prod(shape) * ITEM[dtype] for _, dtype, shape in entries)


def read_header(data: memoryview | bytes, size: int, cap: int) -> tuple[list[Entry], int]:
    """(tensors of a state of `size` bytes, where their bytes begin). Raises Refused unless everything adds up."""
    if not 8 <= size <= cap:
        raise Refused(f"a trained state of {size} bytes; {cap} are allowed")
    length = int.from_bytes(bytes(data[:8]), "little")
    if length > min(size - 8, 16 << 20):
        raise Refused(f"the trained state's header has {length} bytes")
    rows = strict_json(bytes(data[8 : 8 + length]))
    if not isinstance(rows, list) or len(rows) > MOST_TENSORS:
        raise Refused(f"the trained state's header must be a list of at most {MOST_TENSORS} tensors")
    entries: list[Entry] = []
    total = 8 + length
    for row in rows:
        if not (isinstance(row, list) and len(row) == 3 and isinstance(row[0], str) and row[1] in ITEM):
            raise Refused(f"no tensor of a trained state: {str(row)[:100]}")
        shape = row[2]
        if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
            raise Refused(f"tensor {row[0][:50]!r} has no shape: {str(shape)[:100]}")
        if len(row[0]) > LONGEST_NAME:
            raise Refused(f"a tensor's name has {len(row[0])} characters")
        total += math.prod(shape) * ITEM[row[1]]
        entries.append((row[0], row[1], tuple(shape)))
    if len({name for name, _, _ in entries}) != len(entries):
        raise Refused("the trained state names a tensor twice")
    if total != size:
        raise Refused(f"the trained state's tensors take {total} bytes, {size} were handed in")
    return entries, 8 + length

"""The worker's side of a session: ours, but in the candidate's process, so nothing it says is believed.

Serves calls until the socket closes: a frame {"call": n} in, the candidate's function on the shared tensors, {"done": n}
out. The function is called as `function(**inputs)` and returns the outputs by name, or one array where there is one.
"""

from __future__ import annotations

import json
import socket
from typing import Any

from evolve.evaluators.channel import MAGIC, pack
from evolve.evaluators.referee.shared import Layout, views
from evolve.evaluators.sandbox.worker import load

INPUTS, OUTPUTS = 4, 5
"""Descriptors of the two regions."""


def serve_shared(channel: int, target: str, inputs: Layout, outputs: Layout) -> None:
    """Shared memory on the CPU. `target`: "program.py:function"."""
    connection = socket.socket(fileno=channel)
    given = views(INPUTS, inputs, writable=False)
    wanted = views(OUTPUTS, outputs, writable=True)
    function = load(target)
    connection.sendall(pack({"ready": True}))
    while (order := receive(connection)) is not None:
        result = function(**given)
        if not isinstance(result, dict):
            (only,) = wanted
            result = {only: result}
        for name, array in wanted.items():
            array[...] = result[name]
        connection.sendall(pack({"done": order["call"]}))


def receive(connection: socket.socket) -> Any:
    """A frame's header, or None at the end. Frames here come from the referee, so they are believed."""
    head = _exactly(connection, 16)
    if head is None or head[:8] != MAGIC:
        return None
    text = _exactly(connection, int.from_bytes(head[8:], "little") + 8)
    if text is None:
        return None
    _exactly(connection, int.from_bytes(text[-8:], "little"))
    return json.loads(text[:-8])


def _exactly(connection: socket.socket, count: int) -> bytes | None:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            return None
        data += chunk
    return data

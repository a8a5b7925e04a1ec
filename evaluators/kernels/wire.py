"""Messages between referee and worker: length-prefixed JSON on a socket, bounded, strict, with a deadline. No pickle."""

from __future__ import annotations

import json
import select
import socket
import struct
import time
from typing import Any

FLAG = 16
"""Where the seal's flag lies in the control page (bytes): behind ticket and key."""

CAP = 1 << 20
"""Bytes of the longest message either side reads."""


class WireFault(Exception):
    """The other side closed, sent too much, too late or no strict JSON. `kind`: "closed", "late", "garbage"."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(detail or kind)
        self.kind = kind


def send(sock: socket.socket, message: Any) -> None:
    """Raises WireFault when the other side is gone."""
    body = json.dumps(message, allow_nan=False, separators=(",", ":")).encode()
    try:
        sock.sendall(struct.pack("<I", len(body)) + body)
    except OSError as error:
        raise WireFault("closed", str(error)) from error


def receive(sock: socket.socket, seconds: float | None = None) -> dict[str, Any]:
    """One message within `seconds`. Raises WireFault; anything but a JSON object of strict JSON is "garbage"."""
    until = None if seconds is None else time.monotonic() + seconds
    (size,) = struct.unpack("<I", _exactly(sock, 4, until))
    if size > CAP:
        raise WireFault("garbage", f"a message of {size} bytes; at most {CAP} are read")
    body = _exactly(sock, size, until)
    try:
        message = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise WireFault("garbage", f"no strict JSON: {error}") from error
    if not isinstance(message, dict):
        raise WireFault("garbage", f"a JSON {type(message).__name__}, not an object")
    return message


def ready(sock: socket.socket, seconds: float) -> bool:
    """Whether something can be read within `seconds`."""
    return bool(select.select([sock], [], [], max(seconds, 0))[0])


def _refuse(text: str) -> Any:
    raise ValueError(f"{text} is no JSON number")


def _exactly(sock: socket.socket, size: int, until: float | None) -> bytes:
    parts: list[bytes] = []
    while size:
        if until is not None and not ready(sock, until - time.monotonic()):
            raise WireFault("late")
        try:
            part = sock.recv(min(size, 1 << 16))
        except OSError as error:
            raise WireFault("closed", str(error)) from error
        if not part:
            raise WireFault("closed")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)

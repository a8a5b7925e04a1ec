"""The referee's end of one candidate: feeds its stdin, drains its output, exchanges frames, hears how it ended."""

from __future__ import annotations

import json
import os
import selectors
import socket
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from evolve.evaluators.channel import MAGIC, Refused, pack, unpack
from evolve.evaluators.sandbox import Command, Outcome
from evolve.tasks.errors import SandboxError
from evolve.tasks.evidence import Cost, Failure, FailureKind

FLOOD = 64
"""A candidate that writes this many times what is kept of its output (`limits.output`) is ended."""


class Exchange:
    """Pipes and sockets of one running candidate. Internal to a sandbox; a referee holds a Session."""

    def __init__(
        self, control: socket.socket, request: dict[str, Any], command: Command, channel: str,
        failed: Callable[[str], SandboxError], clean: Callable[[], None], descriptors: Sequence[int] = (),
    ) -> None:  # fmt: skip
        self.control, self.command, self._failed, self._clean = control, command, failed, clean
        (in_read, self._stdin), (self._out, out_write), (self._err, err_write) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        theirs = [in_read, out_write, err_write]
        self.socket: socket.socket | None = None
        self._frame = -1
        if channel == "pipe":
            self._frame, end = os.pipe2(os.O_CLOEXEC)
            theirs.append(end)
        elif channel == "socket":
            self.socket, other = socket.socketpair()
            theirs.append(other.detach())
        request["descriptors"] = len(theirs) + len(descriptors)
        try:
            socket.send_fds(control, [json.dumps(request).encode()], [*theirs, *descriptors])
        finally:
            for fd in theirs:
                os.close(fd)
        keep = command.limits.output
        self.sinks = {self._out: Sink(keep), self._err: Sink(keep)}
        if self._frame >= 0:
            self.sinks[self._frame] = Sink(command.frame + 64, whole=True)
        self.report: dict[str, Any] | None = None
        self.pid = 0
        self.flooded = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        for fd in self.sinks:
            os.set_blocking(fd, False)
            self._selector.register(fd, selectors.EVENT_READ)
        self._data = b""
        os.set_blocking(self._stdin, False)

    def feed(self, data: bytes) -> None:
        """Give the candidate its whole standard input, as it takes it; then the end of it."""
        self._data = data
        if data:
            self._selector.register(self._stdin, selectors.EVENT_WRITE)
        else:
            self._close_stdin()

    def step(self, timeout: float | None = None, also: socket.socket | None = None) -> bool:
        """Wait for something and deal with it. Whether `also` can be read."""
        readable = False
        if also is not None:
            self._selector.register(also, selectors.EVENT_READ)
        try:
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self.control:
                    message = self.control.recv(1 << 16)
                    said = json.loads(message) if message else {"error": "the launcher ended"}
                    if "pid" in said:
                        self.pid = int(said["pid"])
                    else:
                        self.report = said
                elif key.fileobj is also:
                    readable = True
                elif key.fd == self._stdin:
                    self._feed()
                elif self.sinks[key.fd].take(key.fd) is False:
                    self._selector.unregister(key.fd)
        finally:
            if also is not None:
                self._selector.unregister(also)
        self._stop_a_flood()
        return readable

    def _stop_a_flood(self) -> None:
        if self.flooded or self.report is not None:
            return
        loud = any(sink.total > FLOOD * max(sink.cap, 1024) for fd, sink in self.sinks.items() if fd != self._frame)
        frame = self.sinks.get(self._frame)
        if loud or (frame is not None and frame.total > FLOOD * frame.cap):
            self.flooded = True
            self.stop()

    def stop(self) -> None:
        """Ask the keeper to end the candidate now. Its report still comes."""
        if self.report is None:
            try:
                self.control.send(b'{"stop": true}')
            except OSError:
                self.report = {"error": "the launcher ended"}

    def _feed(self) -> None:
        try:
            self._data = self._data[os.write(self._stdin, self._data[: 1 << 16]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            self._data = b""
        if not self._data:
            self._selector.unregister(self._stdin)
            self._close_stdin()

    def _close_stdin(self) -> None:
        if self._stdin >= 0:
            os.close(self._stdin)
            self._stdin = -1

    def outcome(self) -> Outcome:
        """Wait for the end; what is still in the pipes is taken after the whole tree is dead. Raises SandboxError."""
        while self.report is None:
            self.step()
        for fd, sink in self.sinks.items():
            while sink.take(fd):
                continue
        if "error" in self.report:
            raise self._failed(str(self.report["error"]))
        return _outcome(self.report, self.sinks[self._out], self.sinks[self._err], self.sinks.get(self._frame), self)

    def close(self) -> None:
        """End the candidate if it still runs, then give back descriptors and folders."""
        if self.report is None:
            self.stop()
            while self.report is None:
                self.step()
        self._selector.close()
        self._close_stdin()
        for fd in self.sinks:
            os.close(fd)
        if self.socket is not None:
            self.socket.close()
        self._clean()


class Session:
    """A candidate on its way, seen from the referee. A context manager: leaving it ends the candidate."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._fed = False

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._exchange.close()

    @property
    def socket(self) -> socket.socket:
        """Our end of the worker's channel, for a referee that speaks a protocol of its own on it."""
        assert self._exchange.socket is not None, "this session was opened without a socket"
        return self._exchange.socket

    @property
    def pid(self) -> int:
        """The worker's process id as seen from outside the jail; 0 where it has ended."""
        while self._exchange.pid == 0 and self._exchange.report is None:
            self._exchange.step()
        return self._exchange.pid if self._exchange.report is None else 0

    @property
    def ended(self) -> bool:
        """Whether the worker is known to have ended. Drains its output; does not wait."""
        self._exchange.step(0)
        return self._exchange.report is not None

    def finish(self, stdin: bytes = b"") -> Outcome:
        """Wait for the candidate's end. Raises SandboxError when the rung itself failed."""
        if not self._fed:
            self._fed = True
            self._exchange.feed(stdin)
        return self._exchange.outcome()

    def send(self, header: Any, body: bytes = b"", descriptors: Sequence[int] = (), seconds: float = 60.0) -> Failure | None:
        """One frame to the worker, with file descriptors where wanted. A Failure where it does not take it in time."""
        connection = self.socket
        deadline = time.monotonic() + seconds
        view = memoryview(pack(header, body))
        connection.setblocking(False)
        while view:
            try:
                if descriptors:
                    view = view[socket.send_fds(connection, [view[:1]], list(descriptors)) :]
                    descriptors = ()
                else:
                    view = view[connection.send(view[: 1 << 20]) :]
            except BlockingIOError:
                self._exchange.step(0.01)
            except OSError:
                return self._gone()
            if self._exchange.report is not None:
                return self._gone()
            if time.monotonic() > deadline:
                return Failure(FailureKind.TIMEOUT, f"did not take its input within {seconds:g} s")
        return None

    def receive(self, cap: int, seconds: float) -> tuple[Any, bytes] | Failure:
        """One whole frame from the worker, of at most `cap` bytes; validated as in `channel.unpack`.

        A Failure where it ends, floods, sends something else, or is silent for `seconds`.
        """
        connection = self.socket
        deadline = time.monotonic() + seconds
        data = bytearray()
        connection.setblocking(False)
        while True:
            want = _size(data, cap)
            if isinstance(want, Failure):
                return want
            if want and len(data) == want:
                break
            left = deadline - time.monotonic()
            if left <= 0:
                return Failure(FailureKind.TIMEOUT, f"no answer within {seconds:g} s")
            if self._exchange.step(left, connection):
                try:
                    chunk = connection.recv(min(1 << 20, (want or 16 if len(data) < 16 else want) - len(data)))
                except BlockingIOError:
                    continue
                except OSError:
                    chunk = b""
                if not chunk:
                    return self._gone()
                data += chunk
            elif self._exchange.report is not None:
                return self._gone()
        try:
            return unpack(bytes(data))
        except Refused as error:
            return Failure(FailureKind.OUTPUT, str(error))

    def _gone(self) -> Failure:
        outcome = self.finish()
        return outcome.failure or Failure(FailureKind.OUTPUT, "the worker ended without an answer")


def _size(data: bytearray, cap: int) -> int | Failure:
    """Bytes of the frame that starts with `data`, or of what must be read to know; refused beyond `cap`."""
    if data[:8] != MAGIC[: len(data[:8])]:
        return Failure(FailureKind.OUTPUT, "the result is no frame of ours")
    if len(data) < 16:
        return 16 if len(data) < 16 else 0
    header = int.from_bytes(data[8:16], "little")
    if header > cap:
        return Failure(FailureKind.OUTPUT, f"a header of {header} bytes, {cap} are allowed")
    if len(data) < 24 + header:
        return 24 + header
    total = 24 + header + int.from_bytes(data[16 + header : 24 + header], "little")
    if total > cap + 24:
        return Failure(FailureKind.OUTPUT, f"a result of {total} bytes, {cap} are allowed")
    return total


class Sink:
    """Keeps head and tail of a stream within a cap and counts the rest; `whole`: keeps the head only."""

    def __init__(self, cap: int, *, whole: bool = False) -> None:
        self.cap, self.whole = cap, whole
        self.head, self.tail, self.total = bytearray(), bytearray(), 0

    def take(self, fd: int) -> bool | None:
        """Read once: True, False at the end of the stream, None where there is nothing now."""
        try:
            chunk = os.read(fd, 1 << 16)
        except BlockingIOError:
            return None
        self.total += len(chunk)
        half = self.cap if self.whole else self.cap // 2
        room = half - len(self.head)
        if room > 0:
            self.head += chunk[:room]
        rest = chunk[max(room, 0) :]
        if not self.whole and rest:
            self.tail += rest
            if len(self.tail) > 2 * half + (1 << 16):
                del self.tail[: len(self.tail) - half]
        return bool(chunk)

    def text(self) -> tuple[str, int]:
        """The text kept, with the cut stated in it, and how many bytes were cut."""
        half = self.cap // 2
        tail = bytes(self.tail[-half:]) if half else b""
        cut = self.total - len(self.head) - len(tail)
        head = self.head.decode("utf-8", "replace")
        if cut <= 0:
            return (bytes(self.head) + tail).decode("utf-8", "replace"), 0
        return f"{head}\n[... {cut} bytes cut ...]\n{tail.decode('utf-8', 'replace')}", cut


def _outcome(report: dict[str, Any], out: Sink, err: Sink, frame: Sink | None, exchange: Exchange) -> Outcome:
    stdout, cut_out = out.text()
    stderr, cut_err = err.text()
    failure = None
    if exchange.flooded:
        failure = Failure(FailureKind.OUTPUT, f"wrote more than {FLOOD * max(out.cap, 1024) >> 10} KiB of output")
    elif "kind" in report:
        failure = Failure(FailureKind(report["kind"]), report["message"])
    elif report["code"]:
        last = next((line for line in reversed(stderr.splitlines()) if line.strip()), "")
        hint = f" ({report['refused']})" if "refused" in report else ""
        text = f"exit code {report['code']}" + (f": {last.strip()[:300]}" if last else "") + hint
        failure = Failure(FailureKind.CRASH, text)
    whole = bytes(frame.head) if frame is not None and frame.total <= frame.cap and frame.total else None
    if frame is not None and frame.total > frame.cap and failure is None:
        failure = Failure(FailureKind.OUTPUT, f"a result of {frame.total} bytes, {frame.cap - 64} are allowed")
    return Outcome(
        code=report["code"],
        signal=report.get("signal"),
        failure=failure,
        stdout=stdout,
        stderr=stderr,
        cut=cut_out + cut_err,
        frame=whole,
        cost=Cost(wall=report["wall"], cpu=report["cpu"]),
        peak=report["peak"],
    )

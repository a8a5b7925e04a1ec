"""Serving: a socket on loopback, one process, and the lines that tell a person where to look."""

from __future__ import annotations

import getpass
import secrets
import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from evolve.errors import EvolveError, UsageError

if TYPE_CHECKING:
    import uvicorn

PORT = 8350
"""The first port tried; then the next free one."""


class Server:
    """A server of one archive, bound at once and served by `serve` (here) or `start` (in a thread)."""

    def __init__(
        self,
        archive: Path,
        *,
        host: str = "127.0.0.1",
        port: int | None = None,
        token: str | None = None,
        allow_actions: bool = False,
        hosts: Sequence[str] = (),
        run: str = "",
    ) -> None:
        """token: drawn where left out. run: opened at once, before somebody asks. Raises UsageError where the extra is
        missing or the port is taken."""
        try:
            import uvicorn
        except ImportError as error:
            raise UsageError("the web UI needs its extra: pip install 'evolve-search[ui]'") from error
        try:
            from evolve.web.app import make
            from evolve.web.runs import Runs
        except ImportError as error:
            raise UsageError("the web UI needs its extra: pip install 'evolve-search[ui]'") from error
        self.host = host
        self.token = token or secrets.token_urlsafe(24)
        self.socket = _bind(host, port)
        self.port = int(self.socket.getsockname()[1])
        runs = Runs(archive)
        app = make(
            runs, self.token, self.port, allow_actions=allow_actions, hosts=(host, *hosts),
            ending=lambda: self.server.should_exit,
        )  # fmt: skip
        config = uvicorn.Config(
            app, log_level="warning", access_log=False, ws="none", lifespan="on", server_header=False,
            timeout_graceful_shutdown=2,
        )  # fmt: skip
        self.server: uvicorn.Server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        if run:
            runs.begin(run)

    def url(self, run: str = "") -> str:
        shown = f"[{self.host}]" if ":" in self.host else self.host
        path = f"/r/{quote(run)}" if run else "/"
        return f"http://{shown}:{self.port}{path}?token={self.token}"

    def ssh_line(self) -> str:
        """What to type on the machine one sits at, when this one is far away."""
        return f"ssh -L {self.port}:127.0.0.1:{self.port} {getpass.getuser()}@{socket.gethostname()}"

    def serve(self) -> None:
        """Until interrupted."""
        self.server.run(sockets=[self.socket])

    def start(self) -> None:
        """In a thread of its own; returns once it answers. Raises EvolveError where it does not come up."""
        self.server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        self._thread = threading.Thread(target=self.serve, name="web ui", daemon=True)
        self._thread.start()
        while not self.server.started:
            if not self._thread.is_alive():
                raise EvolveError("the web UI's server ended before it began")
            self._thread.join(0.02)

    def stop(self) -> None:
        self.server.should_exit = True
        if self._thread is not None:
            self._thread.join(5)
        self.socket.close()


def _bind(host: str, port: int | None) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    tried = [port] if port is not None else [*range(PORT, PORT + 20), 0]
    for number in tried:
        bound = socket.socket(family, socket.SOCK_STREAM)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((host, number))
            bound.listen(128)  # who opens the printed address at once waits, and is not turned away
        except OSError as error:
            bound.close()
            if port is not None:
                raise UsageError(f"cannot listen on {host} port {port}: {error.strerror}; leave --port out") from error
            continue
        return bound
    raise UsageError(f"no free port on {host}")

"""Named hosts and nothing else: a proxy that is the only way out of a candidate's network namespace. Standard library only.

The candidate's namespace has a loopback device and nothing more. The proxy is a process of ours outside it; its listening
socket was made inside, where a socket belongs to the namespace it was made in, and handed over. So a candidate reaches
http://127.0.0.1:3128 (`http_proxy` and `https_proxy` say so), asks for a host and a port, and the proxy resolves and
connects. No packet of the candidate's ever leaves its namespace, and names are not resolved inside.

It speaks CONNECT (RFC 9110, 9.3.6) and requests in absolute form (RFC 9112, 3.2.2); what follows is relayed as it is.
It runs as the candidate's user id, without rights, in the candidate's control group, and dies with the candidate.
"""

from __future__ import annotations

import ipaddress
import os
import selectors
import signal
import socket
from typing import Any, NoReturn

from evolve.evaluators.sandbox import filters, system
from evolve.evaluators.sandbox.cgroups import Group

PORT = 3128
HEAD, HELD, TUNNELS = 8192, 1 << 18, 64
"""Bytes of a request's head; bytes held for a side that does not read; connections at a time."""

Request = dict[str, Any]

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


def start(request: Request, group: Group | None) -> tuple[int, socket.socket]:
    """Fork the proxy, before the caller leaves the machine's network namespace. Its process id, and a socket on which
    `listen` hands it its listening socket."""
    ours, theirs = socket.socketpair()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _serve(request, theirs, group, parent)
    theirs.close()
    return child, ours


def listen(proxy: socket.socket) -> None:
    """In the candidate's network namespace, whose loopback is up: make the listening socket and hand it over."""
    with proxy, socket.create_server(("127.0.0.1", PORT)) as listener:
        socket.send_fds(proxy, [b"x"], [listener.fileno()])


def environment() -> dict[str, str]:
    names = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")
    return dict.fromkeys(names, f"http://127.0.0.1:{PORT}")


def _serve(request: Request, control: socket.socket, group: Group | None, parent: int) -> NoReturn:
    try:
        os.closerange(3, control.fileno())  # the candidate's pipes, the slot's socket
        os.closerange(control.fileno() + 1, 1 << 16)
        if group is not None:
            group.enter()
        uid = request["uid"]
        if os.getuid() == 0 and uid != 0:
            os.setgroups([])
            os.setresgid(uid, uid, uid)
            os.setresuid(uid, uid, uid)
        if request["rung"] == "userns":
            system.drop_capabilities()
        system.prctl(system.PR_SET_PDEATHSIG, signal.SIGKILL)  # a changed user id cleared it
        if os.getppid() != parent:
            os._exit(1)
        system.prctl(system.PR_SET_DUMPABLE, 0)
        system.prctl(system.PR_SET_NO_NEW_PRIVS, 1)
        filters.install(filters.Policy())
        _, fds, _, _ = socket.recv_fds(control, 1, 1)
        if fds:
            Proxy(socket.socket(fileno=fds[0]), {(host, port) for host, port in request["hosts"]}).serve()
        os._exit(0)
    except BaseException:  # noqa: BLE001 - whatever ends it, no code of the caller's may run in this process
        os._exit(1)


class Proxy:
    """Relays to the hosts and ports of `allowed`; one thread. A name is looked up once."""

    def __init__(self, listener: socket.socket, allowed: set[tuple[str, int]]) -> None:
        self.listener, self.allowed = listener, allowed
        self.selector = selectors.DefaultSelector()
        self.tunnels: set[_Tunnel] = set()
        self._known: dict[tuple[str, int], list[Any]] = {}
        listener.setblocking(False)
        self.selector.register(listener, READ)

    def serve(self) -> None:
        while True:
            for key, events in self.selector.select():
                tunnel: _Tunnel | None = key.data
                if tunnel is None:
                    self._accept()
                elif tunnel in self.tunnels:
                    try:
                        tunnel.turn(key.fileobj, events)
                    except OSError:
                        tunnel.close()

    def _accept(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError:
            return
        if len(self.tunnels) >= TUNNELS:
            connection.close()
            return
        connection.setblocking(False)
        self.tunnels.add(_Tunnel(self, connection))

    def addresses(self, host: str, port: int) -> list[Any]:
        """Rows of getaddrinfo that may be connected to; empty where the name has none."""
        if (host, port) not in self._known:
            try:
                rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            except (OSError, UnicodeError):
                return []
            self._known[host, port] = [row for row in rows if reachable(host, str(row[4][0]))]
        return list(self._known[host, port])


def reachable(host: str, address: str) -> bool:
    """Whether a name may lead to an address: to this machine itself, its link (where clouds keep their keys) or no single
    machine only where the task names just that. What a name leads to is up to whoever runs its domain."""
    if host == "localhost":
        return True
    found = ipaddress.ip_address(address.partition("%")[0])
    try:
        ipaddress.ip_address(host)
    except ValueError:
        found = getattr(found, "ipv4_mapped", None) or found
        return not (found.is_loopback or found.is_link_local or found.is_multicast or found.is_unspecified or found.is_reserved)
    return True


def destination(head: bytes) -> tuple[str, int, bool] | None:
    """(host, port, whether it is CONNECT) of a request's head; None where it is no request to a proxy."""
    try:
        method, target, version = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
    except ValueError:
        return None
    tunnel = method == "CONNECT"
    if not version.startswith("HTTP/1."):
        return None
    if not tunnel:
        if not target.lower().startswith("http://"):
            return None
        target = target[7:].partition("/")[0].partition("?")[0]
    host, colon, port = target.rpartition(":")
    if not colon or (port.endswith("]") and not tunnel):
        host, port = target, "" if tunnel else "80"
    elif not port and not tunnel:
        port = "80"
    if not (port.isascii() and port.isdigit() and len(port) <= 5) or "@" in host:
        return None
    return host.strip("[]").lower().removesuffix("."), int(port), tunnel


class _Tunnel:
    """One connection: [0] the candidate's side, [1] the host's. `out[i]` waits to be sent to side i."""

    def __init__(self, proxy: Proxy, near: socket.socket) -> None:
        self.proxy, self.ends = proxy, [near]
        self.out = [bytearray(), bytearray()]
        self.ended, self.shut = [False, False], [False, False]
        self.head = bytearray()
        self.state = "head"
        self.pending: list[Any] = []
        self.greeting = b""
        self._watch(near, READ)

    def turn(self, end: Any, events: int) -> None:
        if self.state == "head":
            self._read_head()
        elif self.state == "connecting":
            if end is self.ends[-1] and len(self.ends) == 2:
                self._connected()
        else:
            self._relay(self.ends.index(end), events)

    def _read_head(self) -> None:
        chunk = self.ends[0].recv(HEAD)
        self.head += chunk
        if not chunk or len(self.head) > 2 * HEAD:
            return self.close()
        if b"\r\n\r\n" not in self.head:
            return None
        found = destination(bytes(self.head))
        if found is None:
            return self._refuse(400, "a proxy takes CONNECT host:port or an absolute http:// address")
        host, port, tunnel = found
        if (host, port) not in self.proxy.allowed:
            return self._refuse(403, "the task does not name this host and port")
        self.pending = self.proxy.addresses(host, port)
        if tunnel:
            self.greeting = b"HTTP/1.1 200 Connection established\r\n\r\n"
            self.out[1] += self.head.split(b"\r\n\r\n", 1)[1]
        else:
            self.out[1] += self.head
        self.state = "connecting"
        self._watch(self.ends[0], 0)
        return self._next_address()

    def _next_address(self) -> None:
        while self.pending:
            family, kind, protocol, _, address = self.pending.pop(0)
            far = socket.socket(family, kind, protocol)
            far.setblocking(False)
            try:
                far.connect(address)
            except BlockingIOError:
                pass
            except OSError:
                far.close()
                continue
            self.ends.append(far)
            return self._watch(far, WRITE)
        return self._refuse(502, "the host has no address that answers")

    def _connected(self) -> None:
        if self.ends[1].getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            far = self.ends.pop()
            self._watch(far, 0)
            far.close()
            return self._next_address()
        self.state = "relaying"
        self.out[0] += self.greeting
        return self._settle()

    def _relay(self, side: int, events: int) -> None:
        if events & READ:
            chunk = self.ends[side].recv(1 << 16)
            self.out[1 - side] += chunk
            self.ended[side] |= not chunk
        if events & WRITE and self.out[side]:
            del self.out[side][: self.ends[side].send(self.out[side][: 1 << 16])]
        self._settle()

    def _settle(self) -> None:
        for side in (0, 1):
            if self.ended[1 - side] and not self.out[side] and not self.shut[side]:
                self.shut[side] = True
                self.ends[side].shutdown(socket.SHUT_WR)
        if all(self.shut):
            return self.close()
        for side in (0, 1):
            reading = not self.ended[side] and len(self.out[1 - side]) < HELD
            self._watch(self.ends[side], (READ if reading else 0) | (WRITE if self.out[side] else 0))
        return None

    def _watch(self, end: socket.socket, events: int) -> None:
        selector = self.proxy.selector
        if end.fileno() in selector.get_map():
            selector.unregister(end)
        if events:
            selector.register(end, events, self)

    def _refuse(self, code: int, why: str) -> None:
        text = f"HTTP/1.1 {code} {why}\r\nConnection: close\r\nContent-Length: {len(why) + 1}\r\n\r\n{why}\n"
        self.ends[0].send(text.encode())
        self.close()

    def close(self) -> None:
        for end in self.ends:
            self._watch(end, 0)
            end.close()
        self.proxy.tunnels.discard(self)

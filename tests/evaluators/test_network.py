"""A task that names hosts gets those and nothing else. Real servers on this machine's loopback stand for the network."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evolve.evaluators.channel import unpack
from evolve.evaluators.sandbox import Command, Outcome, local, network
from evolve.evaluators.sandbox.ladder import strongest
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.evaluators.testing import tree_of
from evolve.tasks.errors import SandboxError, TaskError
from evolve.tasks.evidence import FailureKind
from evolve.tasks.task import Limits, Task, host_ports
from tests.support import missing


class Server:
    """Counts who came; answers every GET with its name, and what comes after CONNECT with an echo."""

    def __init__(self, name: str) -> None:
        heard = self.heard = list[str]()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                heard.append(self.path)
                body = name.encode() * (1 << 18 if "large" in self.path else 1)
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(OSError):  # some ask and do not stay
                    self.wfile.write(body)

            def log_message(self, *arguments: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.http.server_address[1]
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


@pytest.fixture
def named() -> Iterator[Server]:
    made = Server("named")
    yield made
    made.close()


@pytest.fixture
def other() -> Iterator[Server]:
    made = Server("other")
    yield made
    made.close()


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[LocalSandbox]:
    """A rung that can hold a candidate to named hosts."""
    rung = strongest()
    if rung not in ("native", "userns"):
        missing("jail", f"the rung {rung!r} cannot hold a candidate to named hosts")
    tmp_path.chmod(0o755)
    made = LocalSandbox(rung, tmp_path / "s", preload=("urllib.request", "encodings.idna"))
    yield made
    made.close()


CLIENT = """
import socket, urllib.error, urllib.request

def get(url):
    try:
        return urllib.request.urlopen(url, timeout=5).read().decode()[:20]
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except OSError as error:
        return f"failed: {error}"

def large(url):
    return len(urllib.request.urlopen(url, timeout=5).read())

def tunnel(host, port, line):
    proxy = socket.create_connection(("127.0.0.1", 3128), 5)
    proxy.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode() + line.encode())
    proxy.shutdown(socket.SHUT_WR)
    text = b""
    while chunk := proxy.recv(65536):
        text += chunk
    return text.decode()

def direct(ports):
    found = []
    for port in ports:
        try:
            socket.create_connection(("127.0.0.1", port), 2).sendall(b"GET /direct HTTP/1.0\\r\\n\\r\\n")
            found.append(port)
        except OSError:
            pass
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
        for target in (("127.0.0.1", ports[0]), ("10.255.255.1", 53), ("192.0.2.1", 53)):
            try:
                datagram.sendto(b"x", target)
            except OSError as error:
                found.append(error.errno)
    return found

def hang(host, port):
    proxy = socket.create_connection(("127.0.0.1", 3128), 5)
    proxy.sendall(f"CONNECT {host}:{port} HTTP/1.1\\r\\n\\r\\n".encode())
    proxy.recv(1000)
    while True:
        proxy.recv(1000)

def resolve(name):
    try:
        return socket.getaddrinfo(name, 80)[0][4][0]
    except OSError as error:
        return "no"
"""


def ask(sandbox: LocalSandbox, tree: Path, hosts: tuple[str, ...], function: str, *arguments: object, wall: float = 20) -> object:
    outcome = sandbox.call(command(tree, hosts, wall), f"program.py:{function}", arguments)
    assert outcome.failure is None, (outcome.failure, outcome.stderr)
    return unpack(outcome.frame)[0]["value"]


def command(tree: Path, hosts: tuple[str, ...], wall: float = 20, **limits: int) -> Command:
    return Command((), tree, wall=wall, network=hosts, frame=1 << 20, limits=Limits(**limits))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return tree_of(tmp_path / "t", program=CLIENT)


pytestmark = pytest.mark.jail


def test_a_named_host_is_reached(sandbox: LocalSandbox, tree: Path, named: Server) -> None:
    hosts = (f"127.0.0.1:{named.port}",)
    assert ask(sandbox, tree, hosts, "get", f"http://127.0.0.1:{named.port}/a") == "named"
    assert ask(sandbox, tree, hosts, "large", f"http://127.0.0.1:{named.port}/large") == 5 << 18
    line = "GET /b HTTP/1.0\r\n\r\n"
    answer = ask(sandbox, tree, hosts, "tunnel", "127.0.0.1", named.port, line)
    assert isinstance(answer, str) and answer.startswith("HTTP/1.1 200") and answer.endswith("named")
    assert [path.rpartition("/")[2] for path in named.heard] == ["a", "large", "b"]


def test_every_other_is_not(sandbox: LocalSandbox, tree: Path, named: Server, other: Server) -> None:
    hosts = (f"127.0.0.1:{named.port}",)
    answer = ask(sandbox, tree, hosts, "get", f"http://127.0.0.1:{other.port}/")
    assert answer == "403 the task does not name this host and port\n"
    for name in ("localhost", "127.1", "0", "[::1]", "2130706433", "127.0.0.1\\@x", "127.0.0.1."):
        ask(sandbox, tree, hosts, "tunnel", name, other.port, "GET / HTTP/1.0\r\n\r\n")
    line = f"CONNECT 127.0.0.1:{other.port} HTTP/1.1\r\n\r\nGET / HTTP/1.0\r\n\r\n"
    ask(sandbox, tree, hosts, "tunnel", "127.0.0.1", named.port, line)  # a second order on the same connection
    assert other.heard == []


def test_nothing_is_reached_beside_the_proxy(sandbox: LocalSandbox, tree: Path, named: Server, other: Server) -> None:
    ports = [named.port, other.port]
    found = ask(sandbox, tree, (f"127.0.0.1:{named.port}",), "direct", ports)
    assert isinstance(found, list) and not set(found) & set(ports) and len(found) >= 2  # no way to any other network
    assert named.heard == other.heard == []
    assert ask(sandbox, tree, (f"127.0.0.1:{named.port}",), "resolve", "example.com") == "no"


def test_without_a_named_host_there_is_no_proxy(sandbox: LocalSandbox, tree: Path, named: Server) -> None:
    assert str(ask(sandbox, tree, (), "get", f"http://127.0.0.1:{named.port}/")).startswith("failed")
    assert ask(sandbox, tree, (), "direct", [3128, named.port]) is not None and named.heard == []


def test_the_star_opens_it_whole(sandbox: LocalSandbox, tree: Path, named: Server) -> None:
    found = ask(sandbox, tree, ("*",), "direct", [named.port])
    assert isinstance(found, list) and found[0] == named.port


ABUSE = """
import os, socket, time, urllib.request

def many_then_get(url):
    held = []
    for _ in range(200):
        try:
            held.append(socket.create_connection(("127.0.0.1", 3128), 1))
            held[-1].sendall(b"x" * 100)
        except OSError:
            break
    assert len(held) > 64
    for connection in held:
        connection.close()
    for _ in range(100):  # those that were let in are being taken down
        try:
            return urllib.request.urlopen(url, timeout=2).read().decode()
        except OSError:
            time.sleep(0.05)

def garbage():
    for text in (b"", b"\\r\\n\\r\\n", b"\\xff" * 50000, b"CONNECT a HTTP/1.1\\r\\n\\r\\n", b"GET / HTTP/1.1\\r\\n\\r\\n",
                 b"CONNECT [::1:80 HTTP/1.1\\r\\n\\r\\n", b"CONNECT a:99999999 HTTP/1.1\\r\\n\\r\\n", b"a b\\r\\n\\r\\n"):
        try:
            with socket.create_connection(("127.0.0.1", 3128), 2) as proxy:
                proxy.sendall(text)
                proxy.shutdown(socket.SHUT_WR)
                proxy.recv(1000)
        except OSError:
            pass
    with socket.create_connection(("127.0.0.1", 3128), 2) as proxy:
        proxy.sendall(b"CONNECT a:80 HTTP/1.1\\r\\n\\r\\n")
        return proxy.recv(12).decode()

def see():
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            found.append(int(name))
    return sorted(found)
"""


def test_the_proxy_bears_what_a_candidate_does_to_it(sandbox: LocalSandbox, tmp_path: Path, named: Server) -> None:
    tree = tree_of(tmp_path / "a", program=ABUSE + CLIENT)
    hosts = (f"127.0.0.1:{named.port}",)
    assert ask(sandbox, tree, hosts, "garbage") == "HTTP/1.1 403"
    assert ask(sandbox, tree, hosts, "many_then_get", f"http://127.0.0.1:{named.port}/after") == "named"
    assert ask(sandbox, tree, hosts, "see") == [1, 2]  # it is in no namespace of theirs


def test_nothing_of_it_is_left(sandbox: LocalSandbox, tree: Path, named: Server) -> None:
    before = set(os.listdir("/proc"))
    outcome: Outcome = sandbox.call(
        command(tree, (f"127.0.0.1:{named.port}",), wall=0.5), "program.py:hang", ("127.0.0.1", named.port)
    )
    assert outcome.failure is not None and outcome.failure.kind is FailureKind.TIMEOUT
    left = [pid for pid in set(os.listdir("/proc")) - before if pid.isdigit() and _uid(pid) == sandbox.uid != os.getuid()]
    assert left == []
    assert ask(sandbox, tree, (f"127.0.0.1:{named.port}",), "get", f"http://127.0.0.1:{named.port}/a") == "named"


def _uid(pid: str) -> int:
    try:
        return os.stat(f"/proc/{pid}").st_uid
    except OSError:
        return -1


@pytest.mark.parametrize("rung", ["bubblewrap", "landlock", "process"])
def test_a_rung_that_cannot_hold_it_refuses(
    rung: str, tmp_path: Path, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_barrier", lambda path: "")  # nothing is started
    try:
        made = LocalSandbox(rung, tmp_path / "s")
    except SandboxError as error:
        pytest.skip(str(error))
    try:
        with pytest.raises(SandboxError, match=r"cannot hold a candidate to the hosts named.*pypi\.org.*opens it whole"):
            made.run(Command(("/bin/true",), tree, network=("pypi.org",)))
    finally:
        made.close()


# ---- without a jail ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "address", "wanted"),
    [
        ("pypi.org", "151.101.0.223", True), ("mirror.corp", "10.1.2.3", True), ("rebinds.net", "127.0.0.1", False),
        ("rebinds.net", "::1", False), ("rebinds.net", "::ffff:127.0.0.1", False), ("rebinds.net", "0.0.0.0", False),
        ("rebinds.net", "169.254.169.254", False), ("rebinds.net", "fe80::1%eth0", False), ("rebinds.net", "224.0.0.1", False),
        ("127.0.0.1", "127.0.0.1", True), ("169.254.169.254", "169.254.169.254", True), ("localhost", "127.0.0.1", True),
    ],
)  # fmt: skip
def test_a_name_does_not_lead_to_this_machine(host: str, address: str, wanted: bool) -> None:
    assert network.reachable(host, address) is wanted


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("CONNECT PyPI.org:443 HTTP/1.1", ("pypi.org", 443, True)),
        ("CONNECT pypi.org.:443 HTTP/1.1", ("pypi.org", 443, True)),
        ("CONNECT [::1]:443 HTTP/1.1", ("::1", 443, True)),
        ("GET http://a.org/x?y=http://b.org/ HTTP/1.1", ("a.org", 80, False)),
        ("GET http://a.org:8080?x HTTP/1.1", ("a.org", 8080, False)),
        ("GET http://[::1]/ HTTP/1.1", ("::1", 80, False)),
        ("GET http://a.org@b.org/ HTTP/1.1", None),
        ("GET https://a.org/ HTTP/1.1", None),
        ("GET / HTTP/1.1", None),
        ("CONNECT a.org HTTP/1.1", None),
        ("CONNECT a.org:x HTTP/1.1", None),
        ("CONNECT a.org:١ HTTP/1.1", None),
        ("CONNECT  a.org:1 HTTP/1.1", None),
        ("PRI * HTTP/2.0", None),
    ],
)
def test_what_a_proxy_is_asked(line: str, wanted: tuple[str, int, bool] | None) -> None:
    assert network.destination(f"{line}\r\nHost: other.org\r\n\r\n".encode()) == wanted


def test_entries() -> None:
    assert host_ports("PyPI.org") == ("pypi.org", (80, 443)) and host_ports("localhost:8000") == ("localhost", (8000,))
    assert host_ports("[::1]:80") == ("::1", (80,))


@pytest.mark.parametrize("entry", ["http://pypi.org", "a/b", "", "*.org", "a:0", "a:70000", "a b", "é.org", "a:"])
def test_an_entry_that_is_no_host_is_refused(entry: str) -> None:
    text = '[task]\nname = "t"\neditable = ["a"]\n[environment]\nnetwork = ["%s"]\n[evaluate]\nscript = "e.py"\n'
    with pytest.raises(TaskError, match="must be host"):
        Task.parse(text % entry + 'metrics = [{ name = "x" }]\n')


def test_a_star_stands_alone() -> None:
    text = '[task]\nname = "t"\neditable = ["a"]\n[environment]\nnetwork = ["*", "a.org"]\n[evaluate]\nscript = "e.py"\n'
    with pytest.raises(TaskError, match="opens the network whole"):
        Task.parse(text + 'metrics = [{ name = "x" }]\n')

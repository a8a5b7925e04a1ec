"""Who may ask, and what a browser may do with the answer."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from evolve.population import events as ev
from evolve.web.serve import Server
from tests.pick.scene import RUN, Scene
from tests.web.conftest import TOKEN, Client, serving

BEARER = f"Bearer {TOKEN}"


def test_without_or_with_a_wrong_token_nothing_is_told(client: Client) -> None:
    for path in ("/", f"/r/{RUN}.json", f"/r/{RUN}/events", "/static/app.js"):
        assert client.ask(path).status == 401
    assert client.ask("/index.json", Authorization="Bearer wrong").status == 401
    assert client.ask("/?token=wrong").status == 401
    answer = client.ask("/index.json", Cookie=f"evolve_{client.port}={TOKEN}")
    assert answer.status == 401, "the token itself is no cookie"
    assert b"knobs" not in answer.read()


def test_the_token_becomes_a_strict_cookie_and_leaves_the_address(client: Client) -> None:
    answer = client.ask(f"/r/{RUN}?x=seconds&token={TOKEN}")
    assert answer.status == 303 and answer.headers["location"] == f"/r/{RUN}?x=seconds"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    assert client.ask("/index.json", Cookie=cookie.partition(";")[0]).status == 200


def test_a_redirect_never_leaves_the_server(client: Client) -> None:
    answer = client.ask(f"//evil.example/x?token={TOKEN}")
    assert answer.status == 303 and answer.headers["location"] == "/evil.example/x"


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "localhost.evil.example:80"])
def test_a_foreign_host_is_refused(client: Client, host: str) -> None:
    assert client.ask("/index.json", Host=host, Authorization=BEARER).status == 421


def test_a_tunnel_to_another_port_is_ours(client: Client) -> None:
    for host in ("localhost:9999", "127.0.0.1", "[::1]:80"):
        assert client.ask("/index.json", Host=host, Authorization=BEARER).status == 200


def test_foreign_origins_and_sites_are_refused(client: Client) -> None:
    for origin in ("http://evil.example", "null", f"http://127.0.0.1:{client.port + 1}"):
        assert client.ask("/index.json", Origin=origin, Authorization=BEARER).status == 403
    cross = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Mode": "no-cors"}
    assert client.ask("/index.json", Authorization=BEARER, **cross).status == 403


def test_every_answer_carries_the_strict_headers(client: Client) -> None:
    for path, headers in (("/", {}), ("/", {"Authorization": BEARER}), ("/static/app.js", {"Authorization": BEARER})):
        answer = client.ask(path, **headers)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "script-src 'self'" in policy and "unsafe" not in policy
        assert "require-trusted-types-for 'script'" in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "access-control-allow-origin" not in answer.headers


def test_files_outside_the_static_folder_are_not_served(client: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e%2fapp.py", "/static/..%2f..%2f__init__.py", "/static/nothing.js"):
        assert client.ask(path, Authorization=BEARER).status == 404


def test_it_is_read_only_unless_started_otherwise(client: Client, place: Scene) -> None:
    body = json.dumps({"action": "directive", "text": "hello"}).encode()
    answer = client.ask(f"/r/{RUN}/act", "POST", body, Authorization=BEARER, Content_Type="application/json")
    assert answer.status == 403 and b"--allow-actions" in answer.read()
    assert not [e for e in place.archive.events(RUN) if e.event.kind == "directive"]


@pytest.fixture
def acting(place: Scene) -> Iterator[Server]:
    yield from serving(place.archive.path, allow_actions=True)


def test_actions_are_events(acting: Server, place: Scene) -> None:
    champion = place.bear([place.base], {"SPEED = 1": "SPEED = 4"}, 4.0)
    place.writer.flush()
    client = Client(acting.port)
    own = f"http://127.0.0.1:{acting.port}"
    for body in (
        {"action": "directive", "text": "try loops"}, {"action": "pause"}, {"action": "resume"}, {"action": "stop"},
        {"action": "pin", "candidate": "1"}, {"action": "suspect", "candidate": champion[:10], "text": "too good"},
    ):  # fmt: skip
        answer = client.ask(
            f"/r/{RUN}/act", "POST", json.dumps(body).encode(), Authorization=BEARER, Origin=own, Content_Type="application/json"
        )
        assert answer.status == 200, answer.read()
    written = [e.event for e in place.archive.events(RUN)][-6:]
    assert written == [
        ev.Directive("try loops"), ev.Paused("paused"), ev.Paused("running"), ev.Paused("stopping"),
        ev.Pinned("knobs", champion), ev.Quarantined("knobs", champion, "too good", champion),
    ]  # fmt: skip


def test_an_action_needs_an_origin_or_the_token_itself_and_json(acting: Server) -> None:
    client = Client(acting.port)
    cookie = client.ask(f"/?token={TOKEN}").headers["set-cookie"].partition(";")[0]
    body = b'{"action": "stop"}'
    assert client.ask(f"/r/{RUN}/act", "POST", body, Cookie=cookie, Content_Type="application/json").status == 403
    own = f"http://127.0.0.1:{acting.port}"
    plain = client.ask(f"/r/{RUN}/act", "POST", body, Cookie=cookie, Origin=own, Content_Type="text/plain")
    assert plain.status == 415
    bad = client.ask(f"/r/{RUN}/act", "POST", b'{"action": "rm"}', Cookie=cookie, Origin=own, Content_Type="application/json")
    assert bad.status == 404 and b"unknown action" in bad.read()

"""The JSON twins: what a page shows is what the archive says."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest

from evolve.population import events as ev
from evolve.population.brief import Brief
from evolve.tasks.evidence import Artifact, Check, Cost, Evidence, Outcome, Sample
from tests.pick.scene import RUN, Scene
from tests.web.conftest import TOKEN, Client

BEARER = f"Bearer {TOKEN}"


def settled(client: Client, holds: Callable[[Any], bool]) -> Any:
    """The run's page once it holds; fails after three seconds."""
    for _ in range(60):
        found = client.json(f"/r/{RUN}.json")
        if found["indexed"] and holds(found):
            return found
        time.sleep(0.05)
    raise AssertionError(found)


def grown(place: Scene) -> tuple[str, str, str]:
    one = place.bear([place.base], {"SPEED = 1": "SPEED = 2"}, 2.0, "faster")
    broken = place.bear([one], {"LEFT = 0": "LEFT = x"}, None, "broken")
    two = place.bear([one], {"RIGHT = 0": "RIGHT = 1"}, 5.0, "right")
    place.promote(two, 4.0)
    return one, broken, two


def test_a_run_tells_best_failures_and_curve(place: Scene, client: Client) -> None:
    grown(place)
    found = settled(client, lambda page: page["evaluations"] == 4)
    assert found["tasks"][0]["champion"]["number"] == 3 and found["tasks"][0]["champion"]["fitness"] == 5.0
    assert found["failures"] == {"crash": 1}
    points = found["curves"]["knobs"]["points"]
    assert [(p["evaluations"], p["fitness"]) for p in points] == [(1, 1.0), (4, 5.0)]
    assert found["operators"][0] | {"asked": 0} == {
        "operator": "improve", "born": 3, "scored": 2, "better": 2, "champions": 1, "best_gain": 3.0, "asked": 0,
    }  # fmt: skip


def test_columns_rebuild_the_lineage(place: Scene, client: Client) -> None:
    grown(place)
    settled(client, lambda page: page["candidates"] == 4)
    columns = client.json(f"/r/{RUN}/lineage.json")
    parents = [i - d if d else None for i, d in enumerate(columns["parent"])]
    assert parents == [None, 0, 1, 1]
    assert columns["fitness"] == [1.0, 2.0, None, 5.0]
    assert [columns["tables"]["status"][code] for code in columns["status"]] == ["scored", "scored", "invalid", "scored"]
    assert columns["paths"] == {"knobs": [0, 1, 3]}


def test_a_candidate_is_whole(place: Scene, client: Client) -> None:
    one, _, two = grown(place)
    tree = place.archive.store.tree_of(two)
    evidence = Evidence(
        "3/screen/0", (tree,), "d", "e", "m", "screen", samples=(Sample(tree, {"score": 5.0}, 0, 0.25),),
        checks=(Check("clock", Outcome.PASSED, "fine", tree),), cost=Cost(0.5), sandbox="jailed",
    )  # fmt: skip
    place.writer.append(ev.Asked(Brief(3, "knobs", "improve", (one,), 1, "scripted")))
    place.writer.append(ev.Requested(3, 0, "00", "model-1", 0.01), [Artifact("request-0", "a prompt")])
    place.writer.append(ev.Answered(3, 0, "model-1", money=0.005, tokens_in=10, tokens_out=5), [Artifact("answer-0", "an answer")])
    place.writer.append(ev.Measured("3/screen/0", "knobs", (two,), "e", evidence), [Artifact("stdout", "a log")])
    place.writer.flush()
    run = settled(client, lambda page: page["budget"]["calls"] == 1)
    assert run["models"]["model-1"]["calls"] == 1 and run["models"]["model-1"]["born"] == 0, "born of a brief without one"
    found = client.json(f"/r/{RUN}/c/3.json")
    assert found["commit"] == two and found["parents"][0]["number"] == 1 and found["ancestors_total"] == 2
    assert found["evidence"][0]["samples"] == [{"block": 0, "metrics": {"score": 5.0}, "seconds": 0.25, "own": True}]
    assert found["evidence"][0]["checks"][0]["outcome"] == "passed"
    assert found["request"]["money"] == 0.005 and found["request"]["tokens_in"] == 10
    assert ["evolve pick '#3' --name r"] in [way["commands"] for way in found["take"]]
    texts = {a["name"]: client.json(f"/r/{RUN}/artifact.json?event={a['event']}&name={a['name']}")["text"] for a in found["artifacts"]}
    assert texts == {"request-0": "a prompt", "answer-0": "an answer", "stdout": "a log"}
    assert client.json(f"/r/{RUN}/c/{two[:9]}.json")["number"] == 3
    assert client.json(f"/r/{RUN}/c/best.json")["number"] == 3


def test_diffs_against_parent_base_and_any(place: Scene, client: Client) -> None:
    grown(place)
    settled(client, lambda page: page["candidates"] == 4)

    def changed(query: str) -> list[str]:
        found = client.json(f"/r/{RUN}/diff.json?{query}")
        return [line[0] + line[3] for f in found["files"] for h in f["hunks"] for line in h["lines"] if line[0] in "+-"]

    assert changed("to=3&from=parent") == ["-RIGHT = 0", "+RIGHT = 1"]
    assert changed("to=3&from=base") == ["-SPEED = 1", "+SPEED = 2", "-RIGHT = 0", "+RIGHT = 1"]
    assert changed("to=3&from=2") == ["-LEFT = x", "+LEFT = 0", "-RIGHT = 0", "+RIGHT = 1"]
    compared = client.json(f"/r/{RUN}/compare/1/3.json")
    assert (compared["a"]["number"], compared["b"]["number"]) == (1, 3) and len(compared["diff"]["files"]) == 1


def test_cells_hold_the_best_of_each_kind(place: Scene, client: Client) -> None:
    grown(place)
    settled(client, lambda page: page["candidates"] == 4 and page["scored"] == 3)
    found = client.json(f"/r/{RUN}/cells.json?x=code_size&y=score")
    assert (found["placed"], found["scored"], found["steers"], found["declared"]) == (3, 3, False, [])
    assert [(cell[1], cell[2], cell[4]) for cell in found["cells"]] == [(0, 1, 0), (3, 1, 1), (11, 1, 3)]
    sizes = [len(place.archive.store.files(place.archive.store.tree_of(c), place.task.may_edit)["program.py"]) for c in (place.base,)]
    assert found["columns"] == [sizes[0], sizes[0]], "each edit changes one digit"
    usual = client.json(f"/r/{RUN}/cells.json")
    assert (usual["x"], usual["y"]) == ("code_size", "code_difference") and usual["cells"] == [], "these have no sketches"
    refused = client.ask(f"/r/{RUN}/cells.json?task=nothing", Authorization=BEARER)
    assert refused.status == 404 and b"has no task" in refused.read()


def test_tables_filter_sort_and_leave_as_files(place: Scene, client: Client) -> None:
    grown(place)
    place.bear([place.base], {"IDLE = 0": "IDLE = 1"}, 1.0, '=HYPERLINK("http://evil")')
    place.writer.flush()
    settled(client, lambda page: page["candidates"] == 5)

    def numbers(query: str) -> list[int]:
        return [row["number"] for row in client.json(f"/r/{RUN}/table.json?{query}")["rows"]]

    assert numbers("sort=-fitness") == [3, 1, 0, 4, 2]
    assert numbers("sort=fitness&status=scored") == [4, 0, 1, 3]
    assert numbers("q=broke") == [2] and numbers("kind=crash") == [2] and numbers("q=%233") == [3]
    assert client.json(f"/r/{RUN}/table.json?limit=2&offset=2")["total"] == 5
    table = client.ask(f"/r/{RUN}/table.csv?sort=number", Authorization=BEARER).read().decode()
    assert table.splitlines()[0].endswith("idea,score") and "'=HYPERLINK" in table
    lines = client.ask(f"/r/{RUN}/table.jsonl?status=scored", Authorization=BEARER).read().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 3, 4]
    refused = client.ask(f"/r/{RUN}/table.json?sort=price", Authorization=BEARER)
    assert refused.status == 404 and b"cannot sort by" in refused.read()


def test_parquet_has_the_frames_columns(place: Scene, client: Client) -> None:
    import io


    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    grown(place)
    settled(client, lambda page: page["candidates"] == 4)
    body = client.ask(f"/r/{RUN}/table.parquet?status=scored&sort=-fitness", Authorization=BEARER).read()
    frame = pandas.read_parquet(io.BytesIO(body))
    assert list(frame.index) == [3, 1, 0] and list(frame["score"]) == [5.0, 2.0, 1.0]


def test_unknown_things_are_told_apart_from_failures(client: Client) -> None:
    for path in ("/r/nothing.json", f"/r/{RUN}/c/99.json", f"/r/{RUN}/artifact.json?event=00&name=x", f"/r/{RUN}/diff.json?to=77"):
        answer = client.ask(path, Authorization=BEARER)
        assert answer.status == 404 and json.loads(answer.read())["error"]


def _next_batch(stream: Any) -> tuple[dict[str, int], dict[str, Any]]:
    """Id and data of the next event of a stream."""
    position, data = "", ""
    while True:
        line = stream.readline().decode().rstrip("\n")
        if line.startswith("id: "):
            position = line[4:]
        elif line.startswith("data: "):
            data = line[6:]
        elif not line and data:
            return json.loads(position), json.loads(data)


def test_events_stream_live_and_are_taken_up_after_a_break(place: Scene, client: Client) -> None:
    settled(client, lambda page: page["candidates"] == 1)
    stream = client.ask(f"/r/{RUN}/events", Authorization=BEARER)
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.readline().startswith(b"retry:") and stream.readline() == b"\n"
    began = time.monotonic()
    place.bear([place.base], {"SPEED = 1": "SPEED = 2"}, 2.0, "faster")
    place.writer.flush()
    seen, batch = _next_batch(stream)
    assert time.monotonic() - began < 1.0
    assert [row[:5] for row in batch["rows"]] == [[0, 0, -1, -1, 1.0], [1, 1, 0, -1, 2.0]]
    stream.close()
    place.bear([place.base], {"SPEED = 1": "SPEED = 3"}, 3.0, "faster still")
    place.writer.flush()
    settled(client, lambda page: page["candidates"] == 3)
    again = client.ask(f"/r/{RUN}/events", Authorization=BEARER, Last_Event_ID=quote(json.dumps(seen), safe='{}":, '))
    _, missed = _next_batch(again)
    assert 2 in [row[0] for row in missed["rows"]] and "faster still" in json.dumps(missed["feed"])


def test_an_index_is_taken_up_where_it_was_kept(place: Scene, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from evolve.population.archive import Archive
    from evolve.web import kept, runs

    one, _, two = grown(place)
    settled(client, lambda page: page["candidates"] == 4)
    monkeypatch.setattr(runs, "due", lambda have, total: total > have)
    first = runs.Live(place.archive.path, RUN)
    wait_for(lambda: kept.path(place.archive.home, RUN).exists())
    first.close()
    archive = Archive(place.archive.path)
    found = kept.read(archive, RUN)
    assert found == first.index and found.of_candidate[two] and found.cells.sizes[one] > 0
    place.bear([two], {"IDLE = 0": "IDLE = 1"}, 5.0, "later")
    place.writer.flush()
    applied: list[int] = []
    usual = runs.Index.apply
    monkeypatch.setattr(runs.Index, "apply", lambda self, recorded, size: (applied.append(recorded.position), usual(self, recorded, size))[1])
    second = runs.Live(place.archive.path, RUN)
    wait_for(lambda: second.indexed)
    second.close()
    assert len(applied) == 2 and second.index.events == found.events + 2
    kept.path(place.archive.home, RUN).write_bytes(b"damaged")
    assert kept.read(archive, RUN) is None
    kept.write(archive, RUN, found)
    monkeypatch.setattr(kept, "VERSION", kept.VERSION + 1)
    assert kept.read(archive, RUN) is None
    archive.close()


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_events_come_through_while_a_long_log_is_indexed(place: Scene, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from evolve.web import runs

    grown(place)
    place.writer.flush()
    held = threading.Event()
    usual = runs.kept.read
    monkeypatch.setattr(runs.kept, "read", lambda archive, run: (held.wait(20), usual(archive, run))[1])
    live = runs.Live(place.archive.path, RUN)
    heard: list[int] = []
    live.listen(lambda batch: heard.append(batch["n"]))
    late = place.bear([place.base], {"SPEED = 1": "SPEED = 9"}, 9.0, "late")
    place.writer.flush()
    wait_for(lambda: heard == [5])
    assert not live.indexed
    held.set()
    wait_for(lambda: live.indexed)
    assert late in live.index.of_candidate and live.index.seen == live.state.seen
    live.close()

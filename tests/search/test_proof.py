"""The proof's benchmarks in small: the scripted model, the peers' harness, surrogate landscapes, banks, measures, tables."""

from __future__ import annotations

import gzip
import importlib
import json
import math
import os
import random
import re
import sys
import urllib.request
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from evolve.tasks.task import Task
from tests.support import require

HERE = Path(__file__).resolve().parents[2] / "benchmarks" / "search"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "search.md"


def load(name: str) -> ModuleType:
    """A module of benchmarks/search, which is a folder of scripts and no package."""
    if not HERE.exists():
        pytest.skip("benchmarks are not in this distribution")
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(name)


@pytest.fixture
def seed_program() -> str:
    return (load("proposer").TASKS / "heilbronn_triangle" / "seed" / "program.py").read_text()


def prompts(program: str) -> dict[str, list[dict[str, str]]]:
    """The parent as each framework shows it, with the decoys that stand around it."""
    other = program.replace("0.710000", "0.999999")
    history = f"# Program Evolution History\n\n## Program 1\n```python\n{other}```\n\n"
    return {
        "diff": [
            {"role": "system", "content": "You are an expert."},
            {"role": "user", "content": f"# Current Program Information\n- Fitness: 1\n\n{history}# Current Program\n```python\n{program}```\n"},
        ],
        "tagged-diff": [
            {"role": "system", "content": "the exact SEARCH/REPLACE diff format: <DIFF>"},
            {"role": "user", "content": f"# Prior programs\n\n```python\n{other}```\n\n# Current program\n\nHere it is:\n\n```python\n{program}```\n"},
        ],
        "tagged-full": [
            {"role": "system", "content": "<CODE>"},
            {"role": "user", "content": f"# Current program\n\n```python\n{program}```\n\n# Crossover Inspiration Programs\n```python\n{other}```\n"},
        ],
        "whole": [
            {"role": "system", "content": "You change programs."},
            {"role": "user", "content": f"# The program\n\nprogram.py\n~~~\n{program}~~~\n\nAnswer in format \"whole\"."},
        ],
    }  # fmt: skip


def test_the_scripted_model_reads_each_frameworks_parent(seed_program: str) -> None:
    proposer = load("proposer")
    for form, messages in prompts(seed_program).items():
        assert proposer.form_of(messages) == form
        assert proposer.parent_of(messages) == seed_program
    assert proposer.propose([{"role": "user", "content": "Summarise."}], "heilbronn_triangle", random.Random(1)) is None


def test_the_same_edit_in_every_form_and_it_applies(seed_program: str) -> None:
    proposer = load("proposer")
    for number in range(120):
        made = {
            form: proposer.propose(messages, "heilbronn_triangle", random.Random(number))
            for form, messages in prompts(seed_program).items()
        }
        assert len({m.program for m in made.values()}) == 1 and len({m.kind for m in made.values()}) == 1
        one = made["diff"]
        if not one.program:
            assert one.kind == "invalid"
            continue
        search, rest = one.text.split("<<<<<<< SEARCH\n")[1].split("=======\n")
        assert seed_program.count(search) == 1
        assert seed_program.replace(search, rest.split(">>>>>>> REPLACE")[0]) == one.program
        assert one.program in made["whole"].text and one.program in made["tagged-full"].text


def test_a_table_is_read_with_arithmetic_in_it() -> None:
    proposer = load("proposer")
    assert proposer.table_of("TABLE = [\n    [1, -(0.5)],\n    [0.25 + 2 * 0.5, - 1],\n]\n") == [[1, -0.5], [1.25, -1]]
    with pytest.raises(ValueError, match="no number"):
        proposer.table_of("TABLE = [\n    [abs(1)],\n]\n")


def test_a_program_that_lost_rows_is_mended(seed_program: str) -> None:
    proposer = load("proposer")
    broken = seed_program.replace("    [0.925000, 0.011000],\n", "")
    for number in range(20):
        made = proposer.propose(prompts(broken)["diff"], "heilbronn_triangle", random.Random(number))
        assert made.kind == "mend" and proposer.scorer("heilbronn_triangle")(proposer.table_of(made.program)) >= 0


@pytest.mark.timeout(30)
@pytest.mark.parametrize("copies", [2, 3])
def test_a_table_that_stands_in_a_program_twice_is_answered(seed_program: str, copies: int) -> None:
    """A key-less copy leaves such a program. No lines of the table alone are unique then: the search for some never ended."""
    proposer = load("proposer")
    table = seed_program[seed_program.index("TABLE = [") : seed_program.index("]\n", seed_program.index("],\n]")) + 2]
    program = seed_program.replace(table, table * copies)
    assert program.count(table) == copies
    kinds = set()
    for number in range(40):
        made = proposer.propose(prompts(program)["diff"], "heilbronn_triangle", random.Random(number))
        if made.kind == "invalid":
            continue
        kinds.add(made.kind)
        search, rest = made.text.split("<<<<<<< SEARCH\n")[1].split("=======\n")
        assert program.count(search) == 1, "an edit of one place"
        assert program.replace(search, rest.split(">>>>>>> REPLACE")[0]) == made.program
        assert (
            len(proposer.table_of(made.program)) == len(proposer.table_of(program))
            and made.program.count("TABLE = [") == copies
        )
    assert {"constant", "row", "canned"} <= kinds


def test_a_canned_answer_depends_on_the_parent_alone(seed_program: str) -> None:
    proposer = load("proposer")
    messages = prompts(seed_program)["diff"]
    answers = [proposer.propose(messages, "heilbronn_triangle", random.Random(n)) for n in range(400)]
    canned = {a.program for a in answers if a.kind == "canned"}
    assert len(canned) == proposer.CANNED
    rate = sum(a.kind == "canned" for a in answers) / len(answers)
    assert rate == pytest.approx(proposer.RATES["canned"], abs=0.08)


@pytest.mark.parametrize("stream", [False, True])
def test_the_server_speaks_the_protocol_and_logs(seed_program: str, stream: bool) -> None:
    server = load("model_server")
    model = server.ScriptedModel("heilbronn_triangle", 3)
    with server.Serving(model) as url:
        body = json.dumps({"model": "scripted", "messages": prompts(seed_program)["whole"], "stream": stream}).encode()
        request = urllib.request.Request(f"{url}/chat/completions", body, {"content-type": "application/json"})
        text = urllib.request.urlopen(request, timeout=20).read().decode()
        if stream:
            chunks = [json.loads(line[6:]) for line in text.splitlines() if line.startswith("data: {")]
            said = "".join(c["choices"][0]["delta"].get("content", "") for c in chunks if c["choices"])
            assert chunks[-1]["usage"]["completion_tokens"] == len(said) // 4 and text.rstrip().endswith("[DONE]")
        else:
            said = json.loads(text)["choices"][0]["message"]["content"]
        body = json.dumps({"model": "e", "input": ["a", "b", "a"]}).encode()
        request = urllib.request.Request(f"{url}/embeddings", body, {"content-type": "application/json"})
        vectors = [d["embedding"] for d in json.loads(urllib.request.urlopen(request, timeout=20).read())["data"]]
    assert said.startswith("IDEA: ") and model.log[0][0] == 1 and len(model.log) == 1
    assert vectors[0] == vectors[2] != vectors[1]


@pytest.mark.parametrize(
    ("task", "score"),
    [
        ("heilbronn_triangle", 0.002046),
        ("low_autocorrelation_64", 0.023997),
        ("erdos_overlap", 0.838895),
        ("autocorrelation", 0.691074),
        ("bin_packing_fixed", 94.73566),
        ("heilbronn_convex_13", 0.00087546),
        ("heilbronn_convex_14", 0.0006272),
        ("autocorrelation_second", 0.627536),
        ("autocorrelation_third", 0.646567),
        ("hexagons_11", 0.813025),
    ],
)
def test_the_seeds_score_what_they_should(task: str, score: float) -> None:
    proposer = load("proposer")
    program = (proposer.TASKS / task / "seed" / "program.py").read_text()
    assert proposer.scorer(task)(proposer.table_of(program)) == pytest.approx(score, rel=1e-4)


def test_the_checkers_agree_with_what_is_known() -> None:
    """A constant h overlaps 1/2; a constant f has 2; three points on a line make no triangle; nothing outside counts."""
    proposer = load("proposer")
    assert proposer.scorer("erdos_overlap")([[0.25]] * 40) == pytest.approx(0.380927 / 0.5)
    assert proposer.scorer("autocorrelation")([[1.0]] * 40) == pytest.approx(1.5053 / 2)
    line = [[i / 20, i / 20] for i in range(11)]
    assert proposer.scorer("heilbronn_triangle")(line) == 0.0
    square = [[i / 3, j / 3] for i in range(4) for j in range(4)]
    assert proposer.scorer("min_max_distance")(square) == pytest.approx(12.88926 / 18)
    assert proposer.scorer("autocorrelation_30")([[1.0]] * 30) == pytest.approx(1.5053 / 2)
    with pytest.raises(ValueError, match="outside"):
        proposer.scorer("heilbronn_triangle")([[0.5, 0.5 + 2**-50], *line[1:]])
    with pytest.raises(ValueError, match="above 1"):
        proposer.scorer("erdos_overlap")([[1.0], *[[0.25]] * 39])


def test_the_autocorrelations_of_a_constant() -> None:
    """f * f is a triangle: its peak over the squared integral is 2, and its squared 2-norm over norm and peak 2/3."""
    proposer = load("proposer")
    assert proposer.scorer("autocorrelation_second")([[3.0]] * 40) == pytest.approx(2 / 3 / 0.96258)
    assert proposer.scorer("autocorrelation_third")([[-3.0]] * 40) == pytest.approx(1.454555 / 2)
    with pytest.raises(ValueError, match="integral is 0"):
        proposer.scorer("autocorrelation_third")([[1.0], [-1.0]] * 20)


def test_the_convex_hull_is_what_areas_are_compared_with() -> None:
    """Scaling and shearing change nothing; points on a line have no hull."""
    proposer = load("proposer")
    score = proposer.scorer("heilbronn_convex_13")
    table = proposer.table_of((proposer.TASKS / "heilbronn_convex_13" / "seed" / "program.py").read_text())
    assert score([[x / 4, (x + y) / 4] for x, y in table]) == pytest.approx(score(table), rel=1e-9)
    square = [[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [0.5, 0.25]]
    score.__globals__["POINTS"] = 5
    try:
        assert score(square) == 0.125, "the least triangle is a quarter of the bottom's"
    finally:
        score.__globals__["POINTS"] = 13
    with pytest.raises(ValueError, match="on a line"):
        score([[i / 16, i / 16] for i in range(13)])


def test_hexagons_are_apart_and_the_outer_one_is_the_least() -> None:
    proposer = load("proposer")
    score = proposer.scorer("hexagons_11")
    apart = score.__globals__["_apart"]
    assert apart([0, 0, 0], [1.733, 0, 0.5236]) < 0, "a corner points at the other's side"
    assert apart([0, 0, math.pi / 6], [math.sqrt(3), 0, math.pi / 6]) == pytest.approx(0, abs=1e-12)
    assert apart([0, 0, 0], [2.5, 0, 1.0]) == pytest.approx(0.5)

    def least(rows: list[list[float]]) -> float:
        """The side by search: the least over centres on a grid, twice refined."""
        points = [corner for row in rows for corner in score.__globals__["_corners"](row)]
        normals = score.__globals__["NORMALS"]
        at, span = (0.0, 0.0), 2.0
        for _ in range(30):
            centres = [(at[0] + span * i / 4, at[1] + span * j / 4) for i in range(-4, 5) for j in range(-4, 5)]
            at = min(centres, key=lambda c: max(u * (x - c[0]) + v * (y - c[1]) for x, y in points for u, v in normals))
            span /= 2
        inner = max(u * (x - at[0]) + v * (y - at[1]) for x, y in points for u, v in normals)
        return float(2 * inner / math.sqrt(3))

    for rows in (
        [[0, 0, math.pi / 6]],
        [[0, 0, 0.0]],
        [[0, 0, 0.1], [2.1, 0, 0.2], [1.0, 2.0, 0.3]],
        [[0, 1, 0.4], [0, -2, 0.0]],
    ):
        score.__globals__["HEXAGONS"] = len(rows)
        try:
            assert score(rows) == pytest.approx(3.9245 / least(rows), rel=1e-6)
        finally:
            score.__globals__["HEXAGONS"] = 11
    with pytest.raises(ValueError, match="hexagons 0 and 1 overlap"):
        score([[0, 0, 0], [1, 0, 0], *([5, 5, 0] for _ in range(9))])


def test_the_tasks_load() -> None:
    proposer = load("proposer")
    for name in proposer.DOMAINS:
        assert Task.load(proposer.TASKS / name).name == name


# ---- beside the peers ------------------------------------------------------------------------------------------------


def test_what_is_on_record_is_not_run_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    beside = load("beside")
    ran: list[tuple[str, int]] = []

    def one(tool: str, task: str, seed: int, evaluations: int, venv: Path | None, tuner: bool) -> tuple[dict[str, Any], list[Any]]:
        ran.append((tool, seed))
        return {"tool": tool, "task": task, "seed": seed, "budget": evaluations, "curve": []}, [
            [1, "row", "a", "b", 2, 3]
        ]

    monkeypatch.setattr(beside, "one", one)
    out = tmp_path / "beside.jsonl"
    words = ["--tools", "greedy", "--tasks", "erdos_overlap", "--out", str(out)]
    for seeds in ("1", "2", "2"):
        beside.main([*words, "--seeds", seeds], say=lambda line: None)
    assert ran == [("greedy", 0), ("greedy", 1)]
    log = gzip.decompress((tmp_path / "calls" / "greedy.erdos_overlap.1.jsonl.gz").read_bytes()).decode()
    assert json.loads(log) == [1, "row", "a", "b", 2, 3]


@pytest.mark.parametrize("reason", ["terminated", "interrupted"])
def test_a_run_that_a_signal_ended_is_no_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    """The session ends in order at a signal; what it had by then once went on record as a whole run."""
    pytest.importorskip("openai", reason="the extra 'models' is not installed")
    beside = load("beside")

    async def run() -> Any:
        return SimpleNamespace(reason=reason)

    session = SimpleNamespace(search=SimpleNamespace(append=None), run=run)
    monkeypatch.setattr("evolve.api.open_session", lambda *_, **__: session)
    out = tmp_path / "beside.jsonl"
    with pytest.raises(SystemExit, match=reason):
        beside.main(["--tools", "ours", "--tasks", "erdos_overlap", "--seeds", "1", "--out", str(out)])
    assert not out.exists() and not (tmp_path / "calls").exists()


def test_the_loops_without_a_framework() -> None:
    beside = load("beside")
    said: list[str] = []
    assert beside.main(["--smoke", "--tools", "greedy,best-of-n,openevolve,shinka"], say=said.append) == 0
    greedy, best_of_n = map(json.loads, said)
    assert greedy["evaluations"] == best_of_n["evaluations"] == 13, "the seed's and twelve"
    assert greedy["calls"] >= 12 and greedy["best"] >= 0.002046


@pytest.mark.slow
def test_ours_beside_in_small() -> None:
    require("jail")
    pytest.importorskip("openai", reason="the extra 'models' is not installed")
    beside = load("beside")
    said: list[str] = []
    beside.main(["--smoke", "--tools", "ours,ours-keyless"], say=said.append)
    ours, keyless = map(json.loads, said)
    assert ours["evaluations"] >= 12 and ours["calls"] >= 8
    assert 0 < keyless["calls"] < ours["calls"] + 12 and keyless["evaluator_cpu"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("tool", ["openevolve", "shinka"])
def test_a_peer_in_small(tool: str) -> None:
    place = os.environ.get(f"EVOLVE_PEER_{tool.upper()}")
    if not place:
        pytest.skip(f"EVOLVE_PEER_{tool.upper()} names no virtual environment with the peer")
    beside = load("beside")
    row, calls = beside.one(tool, "heilbronn_triangle", 0, 6, Path(place))
    assert 4 <= row["evaluations"] <= 7 and row["calls"] >= 6 == len({c[0] for c in calls[:6]})


@pytest.mark.slow
def test_overhead_beside_in_small() -> None:
    pytest.importorskip("openai", reason="the extra 'models' is not installed")
    load("beside")
    sys.path.insert(0, str(HERE.parent / "overhead"))
    peers = importlib.import_module("peers")
    said: list[str] = []
    assert peers.main(["--smoke"], say=said.append) == 0
    (row,) = map(json.loads, said)
    assert row["tool"] == "ours" and row["candidates"] == 20 and row["calls"] >= 20 and row["cpu_ms"] > 0


# ---- measures --------------------------------------------------------------------------------------------------------


def test_expected_running_time_counts_the_runs_that_never_got_there() -> None:
    measures = load("measures")
    assert measures.ert([10, None, 30], [99, 60, 99]) == pytest.approx(100 / 2)
    assert measures.ert([None], [60]) == math.inf
    curve = [[0, 1, 0.1], [4, 5, 0.2], [9, 12, 0.5]]
    assert measures.at(curve, calls=8) == 0.2 and measures.at(curve, evaluations=4) == 0.1
    assert measures.hit(curve, 0.2, 0) == 4 and measures.hit(curve, 0.2, 1) == 5 and measures.hit(curve, 1.0, 0) is None


def test_holm_and_the_intervals() -> None:
    measures = load("measures")
    assert measures.holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "c": 0.06, "b": 0.06})
    mean, low, high, p = measures.bootstrap({"x": [1.0, 1.1, 0.9], "y": [1.0, 1.2, 0.8]})
    assert mean == pytest.approx(1.0) and 0.8 <= low < 1.0 < high <= 1.2 and p < 0.01
    assert (
        measures.permutation([1, 2, 3, 4] * 5, [1, 2, 3, 4] * 5) > 0.9 > 0.01 > measures.permutation([0] * 10, [1] * 10)
    )
    ratio, low, high = measures.ratio_of_medians({"x": [2.0, 2.0]}, {"x": [1.0, 1.0]})
    assert ratio == pytest.approx(2) and low == pytest.approx(2) and high == pytest.approx(2)


# ---- surrogate landscapes --------------------------------------------------------------------------------------------


def test_the_surrogate_in_small(capsys: pytest.CaptureFixture[str]) -> None:
    surrogate = load("surrogate")
    assert surrogate.main(["--smoke", "--policies", "default,greedy,time-shuffled,static mix"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [r["policy"] for r in rows] == ["default", "greedy", "time-shuffled", "static mix"]
    assert all(0 <= p[0] <= p[1] <= p[2] <= 1 for r in rows for p in r["progress"]), "without noise the best only rises"


def test_a_surrogate_run_depends_on_its_seed_alone() -> None:
    surrogate, policies = load("surrogate"), load("policies")
    (_, near), (name, deep) = surrogate.landscapes(False)[:2]
    one, two = (policies.run(deep, policies.DEFAULT, 60, "seed").curve for _ in range(2))
    assert one == two != policies.run(deep, policies.DEFAULT, 60, "other").curve
    assert name == "deep" and near.name == "near-ceiling"


def test_lubys_sequence() -> None:
    policies = load("policies")
    assert [policies.luby(i) for i in range(1, 16)] == [1, 1, 2, 1, 1, 2, 4, 1, 1, 2, 1, 1, 2, 4, 8]


def test_the_recorded_rows_belong_to_the_frozen_landscapes() -> None:
    surrogate = load("surrogate")
    for name in ("surrogate.jsonl", "held_out.jsonl"):
        path = HERE / "results" / name
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        assert rows and {r["digest"] for r in rows} == {surrogate.digest()}, "landscapes.py changed after the freeze"


# ---- banks -----------------------------------------------------------------------------------------------------------


def test_a_bank_is_made_read_and_replayed(tmp_path: Path) -> None:
    bank = load("bank")
    head, rows = bank.make("heilbronn_triangle", 2, 8, 0)
    bank.save(tmp_path / "b.jsonl.gz", head, rows)
    made = bank.load(tmp_path / "b.jsonl.gz")
    assert made.mutator == "scripted" and all(len(c) == 8 for c in made.children.values())
    played = [bank.replay(made, policy, 30, 1) for policy in ("default", "best-of-n", "uniform")]
    assert all(p.curve == sorted(p.curve) and p.curve[-1] <= 1 for p in played)
    assert played[1].duplicates == 22, "eight children of the seed, then nothing new"
    assert bank.replay(made, "default", 30, 1).curve == played[0].curve


def test_a_bank_with_too_few_children_is_refused(tmp_path: Path) -> None:
    bank = load("bank")
    head, rows = bank.make("heilbronn_triangle", 1, 8, 0)
    bank.save(tmp_path / "b.jsonl.gz", head, rows[:-1])
    with pytest.raises(ValueError, match="node 0 has 7 children"):
        bank.load(tmp_path / "b.jsonl.gz")
    with pytest.raises(ValueError, match="at least 8"):
        bank.make("heilbronn_triangle", 1, 4, 0)


def test_a_grown_bank_is_one_tree_for_all_policies() -> None:
    """The k-th child of a program is the same whoever asks and whenever; no node runs out; a walk depends on its key alone."""
    grown = load("grown")
    one, two = grown.Tree("heilbronn_triangle", "a"), grown.Tree("heilbronn_triangle", "a")
    forwards = [one.child(0, k) for k in range(30)]
    backwards = [two.child(0, k) for k in reversed(range(30))][::-1]
    texts = [None if n is None else one.nodes[n].text for n in forwards]
    assert texts == [None if n is None else two.nodes[n].text for n in backwards]
    assert len(set(texts) - {None}) >= 12, "far more than eight different children"
    for policy in ("default", "greedy", "time-shuffled", "static mix"):
        first, again = (grown.play(grown.Tree("heilbronn_triangle", "a"), policy, 40) for _ in range(2))
        shared = grown.play(one, policy, 40)
        assert first.curve == again.curve == shared.curve == sorted(first.curve), policy


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_recorded_results() -> None:
    """To within what another release of numpy's random streams may change in the last digit of an interval."""
    tables = load("tables")
    text = PAGE.read_text(encoding="utf-8")
    fresh = tables.written(text, tables.tables())
    figure = re.compile(r"[-+]?\d+(?:\.\d+)?")
    again = "run: python benchmarks/search/tables.py --write docs/search.md"
    assert figure.sub("#", fresh) == figure.sub("#", text), again
    shown, made = ([float(value) for value in figure.findall(page)] for page in (text, fresh))
    assert shown == pytest.approx(made, rel=0.05, abs=0.02), again
    with pytest.raises(ValueError, match="no marker"):
        tables.written("", {"finals": "x"})


def test_the_parts_are_developed_on_tasks_that_the_table_has_not() -> None:
    develop, beside = load("develop"), load("beside")
    assert not set(develop.TASKS) & set(beside.TASKS)
    said: list[str] = []
    words = ["--smoke", "--tasks", "low_autocorrelation_48", "--policies", "default,climb 10"]
    assert develop.main(words, say=said.append) == 0
    rows = [json.loads(line) for line in said]
    assert [r["policy"] for r in rows] == ["default", "climb 10"] and all(0 < r["progress"][0][-1] <= 1 for r in rows)

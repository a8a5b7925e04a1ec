"""A run as tables: what a notebook sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.tasks.errors import UsageError
from tests.population.scene import bear, opened, repository

SOURCE = """
[task]
name = "t"
editable = ["train.py"]
[evaluate]
command = "python train.py"
metrics = [{ name = "score", pattern = 'x(.)', unit = "points" }]
objective = "score"
"""


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    archive, writer, base = opened(repository(tmp_path / "user"))
    first = bear(archive, writer, base, 1, "rate = 1\n", 1.5)
    second = bear(archive, writer, base, 2, "rate = 2\n")
    tree = archive.store.edit(base, {"train.py": b"both"})
    both = archive.store.commit(tree, [first, second], "both\n", 0)
    writer.append(ev.Born(3, "t", both, tree, (first, second), 3, "merge", inspired_by=(base,)))
    writer.append(ev.Promoted("t", first, base))
    writer.close()
    archive.close()
    return archive


def test_candidates_have_one_row_each_with_documented_columns(archive: Archive) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    frame = archive.candidates()
    assert list(frame.index) == [0, 1, 2, 3] and frame.index.name == "number"
    from evolve.population import frames

    documented = str(frames.candidates.__doc__)
    assert all(f"{column}" in documented for column in frame.columns if not column.startswith("score"))
    assert frame.fitness.dtype == "float64" and frame.fitness[1] == 1.5 and frame.fitness.isna().sum() == 3
    assert frame.score[1] == 1.5 and frame["score.n"][1] == 1
    assert frame.status[1] == "scored" and frame.status.isna()[2]
    assert frame.parent[3] == frame.commit[1] and frame.second_parent[3] == frame.commit[2]
    assert list(frame.index[frame.champion]) == [1] and frame.children[1] == 1 and frame.depth[3] == 2
    assert str(frame.born.dt.tz) == "UTC"


def test_units_come_from_the_stored_task(tmp_path: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    archive = Archive.open(repository(tmp_path / "user"), create=True)
    base = archive.import_commit(tmp_path / "user", "HEAD")
    with archive.writer("r") as writer:
        writer.append(ev.RunOpened("r", {"t": ev.TaskOpened(base, SOURCE, "d")}, 7, "0"))
    assert archive.candidates("r").attrs["units"]["score"] == "points"
    assert len(archive.candidates("r")) == 0


def test_lineage_is_a_graph_from_parents_to_children(archive: Archive) -> None:
    networkx = pytest.importorskip("networkx", reason="needs networkx")
    graph = archive.lineage()
    assert networkx.is_directed_acyclic_graph(graph) and len(graph) == 4 and graph.number_of_edges() == 4
    orders = sorted(data["order"] for _, _, data in graph.edges(data=True))
    assert orders == [0, 0, 0, 1] and graph.graph["run"] == "r"
    assert {data["fitness"] for _, data in graph.nodes(data=True)} == {None, 1.5}


def test_the_only_run_need_not_be_named(archive: Archive) -> None:
    assert len(list(archive.events())) == len(list(archive.events("r")))
    archive.writer("other").close()
    with archive.writer("second") as writer:
        writer.append(ev.Directive("x"))
    with pytest.raises(UsageError, match=r"holds 2 runs \(r, second\); say which"):
        archive.events()

"""Reports that stand alone, exporters that write what trackers read, bundles that come back whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evolve.cli import invoke as cli
from evolve.errors import UsageError
from evolve.export.bundle import pack, unpack
from evolve.export.report import Report, html, markdown
from evolve.export.trackers import Exporter, Point, Summary, export, load, points
from evolve.population import events as ev
from evolve.population.archive import Archive
from evolve.population.brief import Brief
from evolve.tasks.evidence import Artifact
from tests.pick.scene import RUN, Scene, scene

BUNDLE = Path(__file__).resolve().parents[2] / "notebooks" / "recorded" / "circle_packing-syntactic.bundle"
ATTACK = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    if not BUNDLE.exists():
        pytest.skip("the recorded run is not part of this installation")
    archive = unpack(BUNDLE, tmp_path_factory.mktemp("recorded"))
    yield archive
    archive.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Scene]:
    made = scene(tmp_path)
    yield made
    made.writer.close()
    made.archive.close()


def talked(place: Scene) -> None:
    """A champion whose idea is an attack and whose prompt is on record."""
    place.writer.append(ev.Asked(Brief(1, "knobs", "improve", (place.base,), 1, "scripted")))
    place.writer.append(ev.Requested(1, 0, "00", "model-1"), [Artifact("request-0", "the secret prompt")])
    commit = place.bear([place.base], {"SPEED = 1": "SPEED = 4"}, 4.0, ATTACK)
    place.promote(commit, 3.0)


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.outside: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.outside += [v for k, v in attrs if k in ("src", "href") and v and not v.startswith("#")]


def test_a_report_is_one_file_that_fetches_and_runs_nothing(place: Scene) -> None:
    talked(place)
    text = html(Report(place.archive, RUN))
    found = Tags()
    found.feed(text)
    assert "script" not in found.tags and found.outside == []
    assert ATTACK not in text and "&lt;script&gt;alert(1)" in text
    for part in ("Summary", "Winning path", "Failures", "Costs", "Integrity", "matched budget", "How to reproduce", "Environment"):
        assert part in text
    assert "the secret prompt" in text and 'class="add">+SPEED = 4' in text


def test_transcripts_can_be_left_out(place: Scene) -> None:
    talked(place)
    for form in (html, markdown):
        assert "the secret prompt" not in form(Report(place.archive, RUN, transcripts=False))
        assert "the secret prompt" in form(Report(place.archive, RUN))
    assert ATTACK not in markdown(Report(place.archive, RUN))


def test_a_report_of_a_real_run_tells_its_numbers(recorded: Archive) -> None:
    text = markdown(Report(recorded, "circles"))
    assert "400 candidates were evaluated" in text and "No language model was called" in text
    assert "| circle\\_packing | sum\\_radii | 0.961993 | 1.10753 |" in text and "| 1.63295 | 400 |" in text


def test_the_command_writes_either_form(place: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    talked(place)
    monkeypatch.chdir(place.repo)
    assert cli(["report", "--name", RUN]) == 0 and (place.repo / "r.html").read_text().startswith("<!doctype html>")
    assert cli(["report", "--name", RUN, "-o", "x.md"]) == 0 and (place.repo / "x.md").read_text().startswith("# Run r")


def test_a_bundle_comes_back_whole(place: Scene, tmp_path: Path) -> None:
    talked(place)
    target = pack(place.archive, RUN, tmp_path / "run.bundle")
    with unpack(target, tmp_path) as back:
        assert back.runs() == [RUN]
        ours, theirs = place.archive.state(RUN), back.state(RUN)
        assert list(ours.candidates) == list(theirs.candidates) and ours.lineage.champions == theirs.lineage.champions
        for commit in ours.candidates:
            assert back.store.files(commit) == place.archive.store.files(commit)
    with pytest.raises(UsageError, match="no run 'nothing'"):
        pack(place.archive, "nothing", tmp_path / "x")


def test_points_follow_promotions_and_the_control(recorded: Archive) -> None:
    found, summary = points(recorded, "circles")
    best = [p.values["circle_packing/sum_radii"] for p in found if "circle_packing/sum_radii" in p.values]
    assert best == sorted(best) and best[0] == pytest.approx(0.961993, abs=1e-6) and best[-1] == pytest.approx(1.6329546, abs=1e-6)
    assert [p.step for p in found] == sorted(p.step for p in found)
    assert summary.values["evaluations"] == 400 and "circle_packing.patch" in summary.files
    control = [p.values["circle_packing/control/sum_radii"] for p in found if "circle_packing/control/sum_radii" in p.values]
    assert control and control[-1] == pytest.approx(1.10753, abs=1e-4)


def test_tensorboard_reads_its_files(recorded: Archive, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sent = export(recorded, "circles", load("tensorboard", str(tmp_path), "circles"))
    reader = EventAccumulator(str(tmp_path / "circles"))
    reader.Reload()
    best = reader.Scalars("circle_packing/sum_radii")
    assert sent > 20 and best[0].step == 1 and best[-1].step == 400 and best[-1].value == pytest.approx(1.6329546, abs=1e-5)


def test_mlflow_reads_its_store(recorded: Archive, tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    pytest.importorskip("alembic")
    from mlflow.tracking import MlflowClient

    exporter = load("mlflow", str(tmp_path / "runs.db"), "circles")
    export(recorded, "circles", exporter)
    client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs.db'}")
    run = client.get_run(exporter.id)  # type: ignore[attr-defined]
    assert (tmp_path / "runs-artifacts").is_dir() and not Path("mlruns").exists()
    assert run.info.status == "FINISHED" and run.data.params["mutator"] == "syntactic"
    history = client.get_metric_history(run.info.run_id, "circle_packing/sum_radii")
    assert history[0].step == 1 and max(m.value for m in history) == pytest.approx(1.6329546, abs=1e-6)


def test_weights_and_biases_offline_leaves_a_run_behind(recorded: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    export(recorded, "circles", load("wandb", str(tmp_path), "circles"))
    (file,) = tmp_path.glob("wandb/offline-run-*/*.wandb")
    for _ in range(100):  # its own process writes the end of the file
        if b"circle_packing/control/sum_radii" in file.read_bytes():
            break
        time.sleep(0.1)
    assert b"circle_packing/sum_radii" in file.read_bytes()


def test_an_exporter_of_ones_own_is_two_methods(recorded: Archive) -> None:
    class Mine:
        def __init__(self) -> None:
            self.got: list[Point] = []
            self.ended: list[str] = []

        def __enter__(self) -> Mine:
            return self

        def __exit__(self, *_: object) -> None:
            self.ended.append("closed")

        def point(self, point: Point) -> None:
            self.got.append(point)

        def finish(self, summary: Summary) -> None:
            self.ended.append(summary.run)

    mine = Mine()
    assert isinstance(mine, Exporter)
    assert export(recorded, "circles", mine) == len(mine.got) > 0
    assert mine.ended == ["circles", "closed"]
    with pytest.raises(UsageError, match="no exporter 'comet'"):
        load("comet", "x", "circles")

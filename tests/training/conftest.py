from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evolve.evaluators.training import data, tracks
from evolve.evaluators.training.data import Dataset
from evolve.evaluators.training.tracks import Track
from tests.support import require

Sample = Callable[..., object]


@pytest.fixture(scope="session")
def quick() -> Track:
    """The `cpu` track with a fifth of its tokens: what is refused is refused sooner."""
    return replace(tracks.TRACKS["nanochat/cpu"], tokens=8 * 8 * 128)


@pytest.fixture(scope="session")
def dataset(quick: Track, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return data.load(quick, None, cache=tmp_path_factory.mktemp("data"))


class Bench:
    """A sandbox and the help text: `bench.sample(source)` trains and scores a program."""

    def __init__(self, root: Path, track: Track, dataset: Dataset) -> None:
        from evolve.evaluators.sandbox.ladder import open_sandbox
        from evolve.evaluators.training import supervisor

        self.root, self.track, self.data = root, track, dataset
        root.chmod(0o755)
        self.sandbox = open_sandbox(root / "sandbox", preload=supervisor.preload(tracks.TRACKS["nanochat/cpu"]))
        self.hidden = supervisor.masks(track, root, self.sandbox.rung)
        self.count = 0

    def sample(self, source: str, seed: int = 7, track: Track | None = None):  # type: ignore[no-untyped-def]
        from evolve.evaluators.training.sample import sample
        from evolve.evaluators.training.supervisor import Program

        self.count += 1
        folder = self.root / f"program-{self.count}"
        folder.mkdir()
        (folder / "train.py").write_text(source)
        return sample(self.sandbox, Program(folder), track or self.track, self.data, seed, hidden=self.hidden)


@pytest.fixture(scope="session")
def bench(quick: Track, dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    require("torch")
    made = Bench(tmp_path_factory.mktemp("bench"), quick, dataset)
    yield made
    made.sandbox.close()


@pytest.fixture
def port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]

"""A task, an archive with a few trees, and a site: real parts for evaluators and executors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pygit2
import pytest

from evolve.evaluators import machine_fingerprint
from evolve.evaluators.evaluator import Job, Site
from evolve.tasks.task import Task

MakeTree = Callable[..., str]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    path = tmp_path / "archive.git"
    pygit2.init_repository(str(path), bare=True)
    return path


@pytest.fixture
def tree(bare: Path) -> MakeTree:
    """tree(**{"path": text}) -> hex id of a tree in the archive; nested paths with "/"."""

    def make(**files: str | bytes | tuple[int, bytes]) -> str:
        return build(pygit2.Repository(str(bare)), {k: v for k, v in files.items()})

    return make


def build(repository: pygit2.Repository, files: dict[str, str | bytes | tuple[int, bytes]]) -> str:
    nested: dict[str, dict[str, str | bytes | tuple[int, bytes]]] = {}
    builder = repository.TreeBuilder()
    for path, content in files.items():
        head, _, rest = path.partition("/")
        if rest:
            nested.setdefault(head, {})[rest] = content
            continue
        mode, data = content if isinstance(content, tuple) else (0o100644, content)
        data = data.encode() if isinstance(data, str) else data
        builder.insert(head, repository.create_blob(data), pygit2.enums.FileMode(mode))
    for head, inner in nested.items():
        builder.insert(head, pygit2.Oid(hex=build(repository, inner)), pygit2.enums.FileMode.TREE)
    return str(builder.write())


@pytest.fixture
def site(tmp_path: Path, bare: Path) -> Callable[..., Site]:
    """site(toml, base, evaluate="...") -> Site; `evaluate` becomes the task's evaluate.py."""

    def make(toml: str, base: str, evaluate: str = "", **more: object) -> Site:
        root = tmp_path / "task"
        root.mkdir(exist_ok=True)
        (root / "evaluate.py").write_text(evaluate)
        task = Task.parse(toml, root=root)
        return Site(
            task=task, archive=str(bare), base=base, task_digest="t" * 16, evaluator="e" * 16, machine=machine_fingerprint(),
            scratch=str(tmp_path / "scratch"), **more,  # type: ignore[arg-type]
        )  # fmt: skip

    return make


def job(*trees: str, stage: str = "run", blocks: int = 1, first_block: int = 0) -> Job:
    return Job(f"1/{stage}/0", "t", tuple(trees), stage, blocks, first_block)

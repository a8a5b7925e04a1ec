"""A bundled task's own grader, loaded as a slot loads it, and a trial that answers as told."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from evolve.evaluators.sandbox import Outcome
from evolve.tasks import bundled
from evolve.tasks.task import Task


class Wrong(Exception):
    """What `trial.Incorrect` is here."""


def folder(task: str) -> Path:
    found = bundled.find(task)
    assert found is not None, f"{task} is not bundled"
    return found


def grader(task: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"grader_of_{task}", folder(task) / "evaluate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def seed(task: str) -> dict[str, bytes]:
    """Files of a task's seed."""
    root = folder(task) / "seed"
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in sorted(root.rglob("*"))
        if p.suffix != ".pyc" and p.is_file()
    }


def run(files: dict[str, bytes], target: str, *arguments: Any) -> Any:
    """Call a function of a program of our own in this process (never a mutant: those run in a sandbox or a child)."""
    path, name = target.split(":")
    modules: list[str] = []
    try:
        for other, content in files.items():
            if other != path and other.endswith(".py"):
                module = ModuleType(other[:-3])
                exec(compile(content, other, "exec"), module.__dict__)
                sys.modules[other[:-3]] = module
                modules.append(other[:-3])
        space: dict[str, Any] = {"__name__": path[:-3]}
        exec(compile(files[path], path, "exec"), space)
        return space[name](*arguments)
    finally:
        for module_name in modules:
            del sys.modules[module_name]


class Trial:
    """Stands in for `evolve.evaluators.script.Trial`: `answer` is what the candidate returns."""

    Incorrect = Wrong

    def __init__(
        self, answer: Any = None, number: int = 0, files: dict[str, bytes] | None = None,
        output: Callable[[Sequence[str], bytes], str] | None = None,
    ) -> None:  # fmt: skip
        self.answer, self.files, self.output = answer, files or {}, output
        self.random = random.Random(number)
        self.block = 0

    def call(self, target: str, *arguments: Any, seconds: float | None = None) -> Any:
        return self.answer

    def read(self, path: str) -> bytes:
        return self.files[path]

    def run(self, argv: Sequence[str], stdin: bytes = b"", seconds: float | None = None) -> Outcome:
        assert self.output is not None
        return Outcome(0, stdout=self.output(argv, stdin))

    def fail(self, outcome: Outcome) -> None:
        assert outcome.failure is None


def task(name: str) -> Task:
    return Task.load(folder(name))

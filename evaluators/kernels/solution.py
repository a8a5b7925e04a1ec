"""A candidate's solution: sources, language, entry point, flags; from a tree's files or from upstream's solution.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evolve.tasks.errors import UsageError

NOT_INSTALLED = {"cute_dsl": "cutlass (pip install nvidia-cutlass-dsl)", "cutile": "cuda.tile (pip install cuda-tile)"}
FLAGS = re.compile(
    r"-O[0-3]|--use_fast_math|-use_fast_math|-std=c\+\+(17|20)|--std=c\+\+(17|20)|-lineinfo|--maxrregcount=\d{1,3}|-maxrregcount=\d{1,3}"
    r"|-D[A-Z_][A-Z0-9_]*(=\w+)?|--expt-relaxed-constexpr|--expt-extended-lambda|--ftz=(true|false)|--fmad=(true|false)|-Xptxas=-v"
)
"""Compile flags a solution may ask for (N9); the architecture is the harness' own choice."""


@dataclass(frozen=True, slots=True)
class Solution:
    """sources: path -> text. entry: "file::function". language: "pytorch", "triton", "cuda_cpp", "cute_dsl", "cutile"."""

    sources: Mapping[str, str]
    entry: str
    language: str = "pytorch"
    passing: bool = False
    flags: tuple[str, ...] = ()
    name: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def main(self) -> str:
        """Text of the entry's file. Raises UsageError where it is not among the sources."""
        file = self.entry.partition("::")[0]
        if file not in self.sources:
            raise UsageError(f"entry point {self.entry!r}: no source {file!r} among {', '.join(self.sources)}")
        return self.sources[file]


def language_of(text: str) -> str:
    """What a Python source is written in, by its imports ("triton" wins over "pytorch")."""
    for pattern, name in (
        (r"^\s*(from|import)\s+cutlass", "cute_dsl"),
        (r"^\s*(from|import)\s+cuda\.tile", "cutile"),
        (r"load_inline\(|cpp_extension", "cuda_cpp"),
        (r"^\s*(from|import)\s+triton", "triton"),
    ):
        if re.search(pattern, text, re.MULTILINE):
            return name
    return "pytorch"


def from_files(sources: Mapping[str, str], entry: str) -> Solution:
    """A solution of a candidate's tree: one or several files, the entry among them."""
    file = entry.partition("::")[0]
    if file not in sources:
        raise UsageError(f"the candidate has no file {file!r}")
    language = "cuda_cpp" if file.endswith((".cu", ".cpp")) else language_of(sources[file])
    return Solution(dict(sources), entry, language)


def from_json(data: Mapping[str, Any]) -> Solution:
    """Upstream's solution.json. destination_passing_style defaults to true there (`solution.py`)."""
    spec = data["spec"]
    options = spec.get("compile_options") or {}
    flags = tuple(options.get("cuda_cflags") or ())
    language = (spec.get("languages") or ["pytorch"])[0]
    sources = {item["path"]: item["content"] for item in data["sources"]}
    return Solution(
        sources,
        spec["entry_point"],
        language,
        bool(spec.get("destination_passing_style", True)),
        flags,
        data.get("name", ""),
    )


def refused_flags(flags: tuple[str, ...]) -> list[str]:
    """Flags outside the allow-list."""
    return [flag for flag in flags if not FLAGS.fullmatch(flag)]

"""Kernel problems written here (clean room), by family. `TABLE` maps name -> Entry; read by `evaluators/kernels/pack.py`.

A problem is a reference function with a declaration: inputs as `name = "dtype shape kind"`, development sizes as columns
and ranges from which hidden sizes are drawn. A reference accepts its inputs in float64 as well (then it is the golden
answer): it promotes with `torch.promote_types(x.dtype, torch.float32)` and never names float32 alone.

Kinds of input values (`evaluators/kernels/inputs.py`): randn, fan (randn / sqrt of the last axis but one),
weight (1 + randn / 2), unit (0..1),
positive, decay (negative), index:AXIS (whole numbers below an axis), mask (0 or 1), scale (2 ** -6..-2), int8, scalar:VALUE.
A problem whose inputs hang together gives `make(sizes, generator, device, rand) -> dict` instead.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

TABLE: dict[str, Entry] = {}

FAMILIES = ("norm", "activation", "rope", "loss", "gemm", "attention", "moe", "scan", "misc")


@dataclass(frozen=True)
class Entry:
    """A declaration. `dev`: axis -> column of sizes (equal lengths); `draw`: axis -> (low, high, multiple) or choices;
    `tiny`: axis -> column of sizes for admission on a CPU; `const`: fixed axes; `derived`: axis -> expression."""

    name: str
    family: str
    run: Callable[..., Any]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    dev: Mapping[str, Sequence[int]]
    draw: Mapping[str, tuple[int, int, int] | list[int]]
    tiny: Mapping[str, Sequence[int]]
    const: Mapping[str, int] = field(default_factory=dict)
    derived: Mapping[str, str] = field(default_factory=dict)
    make: Callable[..., dict[str, Any]] | None = None
    flops: Callable[[Mapping[str, int]], float] | None = None
    bytes_moved: Callable[[Mapping[str, int]], float] | None = None
    math: str = ""
    tolerance: Mapping[str, float] = field(default_factory=dict)
    ratio_cap: float = 8.0


def problem(family: str, **declaration: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated reference under its own name."""

    def register(run: Callable[..., Any]) -> Callable[..., Any]:
        TABLE[run.__name__] = Entry(run.__name__, family, run, **declaration)
        return run

    return register


def load() -> dict[str, Entry]:
    """Every family's problems, in order."""
    for family in FAMILIES:
        importlib.import_module(f"{__name__}.{family}")
    return TABLE

"""The problem pack (tasks/sol_execbench) as `Problem`s: development workloads, hidden workloads drawn from a secret."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import math
import random
import sys
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evolve.evaluators.kernels.definition import Axis, Definition, Given, Problem, Spec, Tolerance, Workload
from evolve.tasks.errors import UsageError

MOST_BYTES = 512 << 20
"""A hidden workload's inputs and outputs stay below this, so that any card and any worker can hold them."""

TOLERANCES = {
    "float32": Tolerance(atol=0.0, rtol=1e-4, ratio=0.999, rms_atol=1e-4, slices=0.9),
    "float16": Tolerance(atol=0.0, rtol=4e-3, ratio=0.999, rms_atol=4e-3, slices=0.9),
    "bfloat16": Tolerance(atol=0.0, rtol=1.6e-2, ratio=0.999, rms_atol=1.6e-2, slices=0.9),
}


@functools.cache
def load() -> Mapping[str, Problem]:
    """All problems of the bundled pack, by name."""
    table: Mapping[str, Any] = importlib.import_module("evolve.tasks.sol_execbench.problems").load()
    return {name: _problem(entry) for name, entry in table.items()}


def get(name: str) -> Problem:
    """One problem. Raises UsageError naming the nearest."""
    import difflib

    pack = load()
    if name in pack:
        return pack[name]
    close = difflib.get_close_matches(name, pack, n=1)
    raise UsageError(
        f"no problem {name!r} in the pack; " + (f"did you mean {close[0]!r}?" if close else "see docs/kernels.md")
    )


def seed_source(problem: Problem) -> str:
    """The file a search starts from: the contract as a docstring, the reference as `run`."""
    definition = problem.definition
    lines = [f'"""{problem.name}: {definition.description}', ""]
    for what, specs in (("Inputs", definition.inputs), ("Outputs", definition.outputs)):
        lines.append(f"{what}:")
        lines += [
            f"    {n}: {s.dtype}{'' if s.shape is None else ' [' + ', '.join(s.shape) + ']'}" for n, s in specs.items()
        ]
    lines += [
        "",
        "`run` takes the inputs in order and returns the outputs in order; it may use PyTorch, Triton or inline CUDA C++.",
        '"""',
    ]
    return "\n".join(lines) + "\n\n" + definition.reference


def _problem(entry: Any) -> Problem:
    axes: dict[str, Axis] = {name: Axis("var") for name in entry.dev}
    axes |= {name: Axis("const", value=value) for name, value in entry.const.items()}
    axes |= {name: Axis("expr", expression=text) for name, text in entry.derived.items()}
    inputs = {name: _spec(text) for name, text in entry.inputs.items()}
    outputs = {name: _spec(text) for name, text in entry.outputs.items()}
    definition = Definition(
        name=entry.name,
        axes=axes,
        inputs=inputs,
        outputs=outputs,
        reference=_source(entry),
        op_type=entry.family,
        description=" ".join((inspect.getdoc(entry.run) or "").split()),
    )
    own = {name: _tolerance(entry, spec.dtype) for name, spec in outputs.items()}
    tolerance = max(own.values(), key=lambda t: t.rtol)
    problem = Problem(
        definition,
        tuple(_workload(entry, tolerance, sizes, f"dev-{i}") for i, sizes in enumerate(_columns(entry.dev))),
        source="pack",
        family=entry.family,
        draw=functools.partial(_draw, entry, definition, tolerance),
        make=functools.partial(_make, entry),
        golden=True,
        bytes_moved=entry.bytes_moved,
        flops=entry.flops,
        math=entry.math,
        ratio_cap=entry.ratio_cap,
        tolerances=own,
        tiny=tuple(_workload(entry, tolerance, sizes, f"tiny-{i}") for i, sizes in enumerate(_columns(entry.tiny))),
    )
    return problem


def _source(entry: Any) -> str:
    """The reference as a module of its own: the decorator gone, the function called `run`."""
    text = textwrap.dedent(inspect.getsource(entry.run))
    text = text[text.index(f"def {entry.name}(") :].replace(f"def {entry.name}(", "def run(", 1)
    return "import torch\n\n\n@torch.no_grad()\n" + text


def _spec(text: str) -> Spec:
    dtype, shape, *_ = text.split()
    return Spec(None if shape == "-" else tuple(shape.split(",")), dtype)


def _tolerance(entry: Any, dtype: str) -> Tolerance:
    return dataclasses.replace(TOLERANCES.get(dtype, TOLERANCES["float32"]), **entry.tolerance)


def _workload(entry: Any, tolerance: Tolerance, sizes: Mapping[str, int], uuid: str) -> Workload:
    return Workload(uuid, dict(sizes), {name: Given("random") for name in entry.inputs}, tolerance)


def _columns(table: Mapping[str, Sequence[int]]) -> list[dict[str, int]]:
    return [dict(zip(table, row, strict=True)) for row in zip(*table.values(), strict=True)]


def _draw(entry: Any, definition: Definition, tolerance: Tolerance, stream: random.Random) -> Workload:
    """A hidden workload: sizes log-uniform in the declared ranges, one in four at an edge, bounded in bytes."""
    for _ in range(1000):
        sizes = {axis: _size(spec, stream) for axis, spec in entry.draw.items()}
        full = definition.sizes(sizes)
        total = sum(
            definition.nbytes(spec, full) for spec in (*definition.inputs.values(), *definition.outputs.values())
        )
        if total <= MOST_BYTES:
            return _workload(entry, tolerance, sizes, f"hidden-{stream.getrandbits(48):012x}")
    raise UsageError(f"{entry.name}: no hidden workload below {MOST_BYTES} bytes in 1000 draws; narrow its ranges")


def _size(spec: tuple[int, int, int] | list[int], stream: random.Random) -> int:
    if isinstance(spec, list):
        return stream.choice(spec)
    low, high, multiple = spec
    if stream.random() < 0.125:
        return low
    value = math.exp(stream.uniform(math.log(low), math.log(high)))
    return max(low, min(high, round(value / multiple) * multiple))


def _make(entry: Any, sizes: Mapping[str, int], generator: Any, family: str, device: str) -> dict[str, Any]:
    from evolve.evaluators.kernels import inputs as values

    made = entry.make(sizes, generator, device, values.rand) if entry.make else {}
    out: dict[str, Any] = {}
    for name, text in entry.inputs.items():
        dtype, shape, kind = text.split()
        if name in made:
            out[name] = made[name]
        elif shape == "-":
            out[name] = values.scalar(kind, sizes, generator, device)
        else:
            size = tuple(sizes[axis] for axis in shape.split(","))
            out[name] = values.declared(kind, size, values.dtype_of(dtype), sizes, generator, family, device)
    return out


def write_seed(folder: Path) -> list[str]:
    """Write `kernels/<name>.py` for every problem below `folder`; returns the paths written."""
    written = []
    for name, problem in load().items():
        path = folder / "kernels" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(seed_source(problem), encoding="utf-8")
        written.append(str(path))
    return written


if __name__ == "__main__":
    print("\n".join(write_seed(Path(sys.argv[1]))))

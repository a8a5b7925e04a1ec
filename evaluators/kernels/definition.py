"""A kernel problem in SOL-ExecBench's words: definition and workloads (docs/kernels.md; formats read from its 8d2237d).

A definition says which tensors go in and out and holds the reference; a workload fixes the variable axes, the kinds of
input and the tolerance. `Problem` joins the two and says where they came from.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evolve.evaluators.kernels import expressions
from evolve.tasks.errors import UsageError

ITEMSIZE = {
    "float64": 8,
    "float32": 4,
    "float16": 2,
    "bfloat16": 2,
    "float8_e4m3fn": 1,
    "float8_e5m2": 1,
    "float4_e2m1": 1,
    "float4_e2m1fn_x2": 1,
    "int64": 8,
    "int32": 4,
    "int16": 2,
    "int8": 1,
    "bool": 1,
}
"""dtype name -> bytes of one stored element (two fp4 values share a byte and are stored as one element)."""

FLOATS = ("float64", "float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2")


@dataclass(frozen=True, slots=True)
class Axis:
    """kind "const" has a value, "expr" an expression over other axes, "var" is fixed by each workload."""

    kind: Literal["const", "var", "expr"]
    value: int = 0
    expression: str = ""


@dataclass(frozen=True, slots=True)
class Spec:
    """One input or output. shape: axis names or numbers; None: a Python scalar; (): a tensor of no dimension."""

    shape: tuple[str, ...] | None
    dtype: str


@dataclass(frozen=True, slots=True)
class Tolerance:
    """|x - golden| <= atol + rtol |golden| must hold for a share `ratio` of all elements.

    rms_atol: further absolute slack as a share of the golden output's root mean square (our pack's way: it cannot be
    hidden under as outputs shrink). cap: largest allowed |x - golden|, None for none. slices: share that must match in
    every index of every axis with 8 or more elements behind it (a row, a head, an expert), 0.0 in compat mode.
    steps: slack of whole-number outputs, which are exact otherwise.
    """

    atol: float = 1e-2
    rtol: float = 1e-2
    ratio: float = 0.99
    cap: float | None = None
    negative_inf: bool = False
    rms_atol: float = 0.0
    slices: float = 0.9
    steps: int = 0


@dataclass(frozen=True, slots=True)
class Given:
    """Where an input's values come from: "random", "scalar" (value), "safetensors" (path, key) or "custom"."""

    kind: str
    value: float | int | bool | None = None
    path: str = ""
    key: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    uuid: str
    axes: Mapping[str, int]
    inputs: Mapping[str, Given]
    tolerance: Tolerance = field(default_factory=Tolerance)

    @property
    def needs_blobs(self) -> bool:
        return any(given.kind == "safetensors" for given in self.inputs.values())


@dataclass(frozen=True, slots=True)
class Definition:
    """reference: Python source with a top-level `run` whose parameters are the inputs in order."""

    name: str
    axes: Mapping[str, Axis]
    inputs: Mapping[str, Spec]
    outputs: Mapping[str, Spec]
    reference: str
    op_type: str = ""
    description: str = ""
    custom_inputs: str = ""

    def __post_init__(self) -> None:
        _check(self)

    def sizes(self, workload: Mapping[str, int]) -> dict[str, int]:
        """All axes' sizes under one workload. Raises UsageError where one is missing, unknown or no size."""
        sizes: dict[str, int] = {}
        for name, axis in self.axes.items():
            if axis.kind == "const":
                sizes[name] = axis.value
            elif axis.kind == "var":
                if name not in workload:
                    raise UsageError(f"{self.name}: the workload fixes no value for axis {name!r}")
                sizes[name] = int(workload[name])
        pending = {name: axis.expression for name, axis in self.axes.items() if axis.kind == "expr"}
        while pending:
            ready = [name for name, text in pending.items() if expressions.names(text) <= sizes.keys()]
            if not ready:
                raise UsageError(f"{self.name}: axes {', '.join(pending)} depend on each other or on unknown axes")
            for name in ready:
                sizes[name] = expressions.evaluate(pending.pop(name), sizes)
        for name, value in sizes.items():
            if value < 0:
                raise UsageError(f"{self.name}: axis {name!r} is {value}; a size is at least 0")
        return sizes

    def shape(self, spec: Spec, sizes: Mapping[str, int]) -> tuple[int, ...] | None:
        if spec.shape is None:
            return None
        return tuple(sizes[axis] if axis in sizes else int(axis) for axis in spec.shape)

    def nbytes(self, spec: Spec, sizes: Mapping[str, int]) -> int:
        shape = self.shape(spec, sizes)
        return 0 if shape is None else math.prod(shape) * ITEMSIZE[spec.dtype]

    def digest(self) -> str:
        """Hex sha256 of the canonical JSON of all that a score depends on."""
        facts = {
            "axes": {n: [a.kind, a.value, a.expression] for n, a in self.axes.items()},
            "inputs": [[n, s.shape, s.dtype] for n, s in self.inputs.items()],
            "outputs": [[n, s.shape, s.dtype] for n, s in self.outputs.items()],
            "reference": self.reference,
            "custom": self.custom_inputs,
        }
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Problem:
    """A definition with its development workloads.

    draw:   makes a hidden workload from a secret random stream (random.Random); None: only the listed ones exist.
    make:   fills inputs for one call: (sizes, torch.Generator, family, device) -> {name: tensor or scalar}; None: by kind.
    golden: the reference in float64 where the problem has one (pack references accept float64 inputs).
    bytes_moved, flops: reviewed overrides of the counted bound, sizes -> number; None: counted.
    math: dtype the counted FLOPs run at on tensor cores ("bfloat16", "tf32", "float8_e4m3fn"), "" for the inputs' own.
    tolerances: output -> its own tolerance, where outputs differ in dtype.
    ratio_cap: largest err(candidate)/err(reference) against golden (D10).
    root: folder of safetensors paths.
    """

    definition: Definition
    workloads: tuple[Workload, ...]
    source: str = ""
    family: str = ""
    root: Path = Path(".")
    draw: Callable[[Any], Workload] | None = None
    make: Callable[..., dict[str, Any]] | None = None
    golden: bool = False
    bytes_moved: Callable[[Mapping[str, int]], float] | None = None
    flops: Callable[[Mapping[str, int]], float] | None = None
    math: str = ""
    ratio_cap: float = 8.0
    tiny: tuple[Workload, ...] = ()
    tolerances: Mapping[str, Tolerance] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.definition.name

    def tolerance(self, workload: Workload, output: str) -> Tolerance:
        """The output's own tolerance where it has one (float32 beside bfloat16), else the workload's."""
        return self.tolerances.get(output, workload.tolerance)


def _check(definition: Definition) -> None:
    """The rules of upstream's validators (`definition.py:170-337`)."""
    name = definition.name
    try:
        module = ast.parse(definition.reference)
    except SyntaxError as error:
        raise UsageError(f"{name}: the reference does not parse: line {error.lineno}: {error.msg}") from error
    functions = {node.name: node for node in module.body if isinstance(node, ast.FunctionDef)}
    if "run" not in functions:
        raise UsageError(f"{name}: the reference has no top-level function 'run'")
    arguments = [arg.arg for arg in functions["run"].args.args]
    if arguments != list(definition.inputs):
        raise UsageError(f"{name}: run takes ({', '.join(arguments)}), the inputs are ({', '.join(definition.inputs)})")
    if definition.custom_inputs and definition.custom_inputs not in functions:
        raise UsageError(
            f"{name}: custom_inputs_entrypoint {definition.custom_inputs!r} is no function of the reference"
        )
    for both, what in (
        (definition.inputs.keys() & definition.outputs.keys(), "an input and an output"),
        (definition.inputs.keys() & definition.axes.keys(), "an input and an axis"),
    ):
        if both:
            raise UsageError(f"{name}: {sorted(both)[0]!r} is both {what}")
    for what, specs in (("input", definition.inputs), ("output", definition.outputs)):
        for key, spec in specs.items():
            if spec.dtype not in ITEMSIZE:
                raise UsageError(f"{name}: {what} {key!r} has dtype {spec.dtype!r}; known: {', '.join(ITEMSIZE)}")
            for axis in spec.shape or ():
                if axis not in definition.axes and not axis.isdigit():
                    raise UsageError(
                        f"{name}: {what} {key!r} has axis {axis!r}, which is not among {', '.join(definition.axes)}"
                    )
    if not definition.outputs:
        raise UsageError(f"{name}: a problem has at least one output")

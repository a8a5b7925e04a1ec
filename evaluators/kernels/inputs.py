"""Input values: by declared kind and value family for our pack, by upstream's rules for foreign problems.

Every call draws afresh from a generator seeded by a secret; families change the distribution so that a kernel which is
right only on benign values is found out (D3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch

from evolve.evaluators.kernels.definition import Problem, Spec, Workload
from evolve.tasks.errors import UsageError

FAMILIES = ("default", "scaled", "outliers", "flipped")
"""default: as declared. scaled: floats x 3. outliers: 1 element in 500 x 30. flipped: negated, last axis reversed."""


def dtype_of(name: str) -> torch.dtype:
    """torch dtype of a format's dtype name. Raises UsageError for one this torch lacks."""
    name = {"float4_e2m1": "float4_e2m1fn_x2"}.get(name, name)
    found = getattr(torch, name, None)
    if not isinstance(found, torch.dtype):
        raise UsageError(f"this torch ({torch.__version__}) has no dtype {name}")
    return found


def make(
    problem: Problem, workload: Workload, seed: int, family: str = "default", device: str = "cpu"
) -> dict[str, Any]:
    """Inputs of one call, in the definition's order: name -> tensor on `device`, or Python scalar."""
    generator = torch.Generator(device=device)
    generator.manual_seed(seed & ((1 << 63) - 1))
    sizes = problem.definition.sizes(workload.axes)
    if problem.make is not None:
        values = problem.make(sizes, generator, family, device)
    else:
        values = _foreign(problem, workload, sizes, generator, device)
    return {name: values[name] for name in problem.definition.inputs}


def rand(shape: tuple[int, ...], generator: torch.Generator, device: str, *, uniform: bool = False) -> torch.Tensor:
    draw = torch.rand if uniform else torch.randn
    return draw(shape, generator=generator, device=device, dtype=torch.float32)


def declared(
    kind: str,
    shape: tuple[int, ...],
    dtype: torch.dtype,
    sizes: Mapping[str, int],
    generator: torch.Generator,
    family: str,
    device: str,
) -> torch.Tensor:
    """One tensor of a pack problem's declared kind (tasks/sol_execbench/problems/__init__.py lists them)."""
    kind, _, argument = kind.partition(":")
    if kind == "index":
        return torch.randint(0, sizes[argument], shape, generator=generator, device=device, dtype=torch.int64).to(dtype)
    if kind == "mask":
        share = 0.5 if family == "flipped" else 0.9
        return rand(shape, generator, device, uniform=True) < share
    if kind == "int8":
        return torch.randint(-127, 128, shape, generator=generator, device=device, dtype=torch.int64).to(dtype)
    value = _SHAPES[kind](shape, generator, device)
    if kind in _FREE:
        value = _vary(value, family, generator, device)
    return value.clamp(-400, 400).to(dtype) if dtype.itemsize == 1 else value.to(dtype)


_Draw = Callable[[tuple[int, ...], torch.Generator, str], torch.Tensor]
_FREE = {"randn", "logits", "fan", "fan_last"}
_SHAPES: dict[str, _Draw] = {
    "randn": rand,
    "fan": lambda s, g, d: rand(s, g, d) / math.sqrt(max(s[-2], 1)),
    "fan_last": lambda s, g, d: rand(s, g, d) / math.sqrt(max(s[-1], 1)),
    "logits": lambda s, g, d: 3 * rand(s, g, d),
    "weight": lambda s, g, d: 1 + 0.5 * rand(s, g, d),
    "unit": lambda s, g, d: rand(s, g, d, uniform=True),
    "unit2": lambda s, g, d: 2 * rand(s, g, d, uniform=True) - 1,
    "positive": lambda s, g, d: rand(s, g, d).square() + 1e-3,
    "decay": lambda s, g, d: -torch.exp(rand(s, g, d)),
    "slow": lambda s, g, d: -0.1 * rand(s, g, d, uniform=True),
    "scale": lambda s, g, d: torch.exp2(-6 + 4 * rand(s, g, d, uniform=True)),
    "sink": lambda s, g, d: 1 + 2 * rand(s, g, d, uniform=True),
}

_SCALARS = {"step": (1.0, 40.0), "p": (0.05, 0.6), "temperature": (0.7, 4.0)}


def scalar(kind: str, sizes: Mapping[str, int], generator: torch.Generator, device: str) -> float | int:
    """A Python scalar of a pack problem: drawn from a range, or an axis' size."""
    name, _, argument = kind.partition(":")
    if name == "axis":
        return sizes[argument]
    low, high = _SCALARS[name]
    drawn = float(rand((1,), generator, device, uniform=True).item())
    value = low + (high - low) * drawn
    return float(round(value)) if name == "step" else value


def _vary(value: torch.Tensor, family: str, generator: torch.Generator, device: str) -> torch.Tensor:
    if family == "scaled":
        return value * 3
    if family == "flipped":
        return -value.flip(-1) if value.ndim else -value
    if family == "outliers":
        return torch.where(rand(tuple(value.shape), generator, device, uniform=True) < 0.002, value * 30, value)
    return value


# ---- foreign problems ------------------------------------------------------------------------------------------------


def _foreign(
    problem: Problem, workload: Workload, sizes: Mapping[str, int], generator: torch.Generator, device: str
) -> dict[str, Any]:
    """Upstream's order: scalar, safetensors, custom, random (`io.py:372-441`)."""
    definition = problem.definition
    values: dict[str, Any] = {}
    custom: Mapping[str, Any] = {}
    scalars = {n: g.value for n, g in workload.inputs.items() if g.kind == "scalar"}
    if any(given.kind == "custom" for given in workload.inputs.values()):
        scope: dict[str, Any] = {}
        exec(compile(definition.reference, f"<reference of {definition.name}>", "exec"), scope)
        seed = int(torch.randint(0, 1 << 31, (1,), generator=generator, device=device).item())
        with torch.random.fork_rng(devices=[] if device == "cpu" else None):
            torch.manual_seed(seed)
            custom = scope[definition.custom_inputs]({**sizes, **scalars}, torch.device(device))
    for name, given in workload.inputs.items():
        spec = definition.inputs[name]
        if given.kind == "scalar":
            values[name] = given.value
        elif given.kind == "custom":
            values[name] = custom[name]
        elif given.kind == "safetensors":
            values[name] = _blob(problem, given.path, given.key, device)
        else:
            values[name] = _random(spec, definition.shape(spec, sizes) or (), generator, device)
    return values


def _random(spec: Spec, shape: tuple[int, ...], generator: torch.Generator, device: str) -> torch.Tensor:
    dtype = dtype_of(spec.dtype)
    if spec.dtype == "bool":
        return rand(shape, generator, device, uniform=True) < 0.5
    if spec.dtype.startswith("int"):
        high = {"int8": 127, "int16": 1 << 12}.get(spec.dtype, 1 << 16)
        return torch.randint(0, high, shape, generator=generator, device=device, dtype=torch.int64).to(dtype)
    if spec.dtype.startswith("float4"):
        return torch.randint(0, 256, shape, generator=generator, device=device, dtype=torch.uint8).view(dtype)
    value = rand(shape, generator, device)
    return value.clamp(-2, 2).to(dtype) if spec.dtype.startswith("float8") else value.to(dtype)


def _blob(problem: Problem, path: str, key: str, device: str) -> torch.Tensor:
    file = problem.root / path
    if not file.is_file():
        raise UsageError(
            f"{problem.name}: {path} is not beside the workloads; this workload cannot run without its blob"
        )
    from safetensors.torch import load_file  # type: ignore[import-not-found]

    tensors: dict[str, torch.Tensor] = load_file(str(file), device=device)
    return tensors[key]

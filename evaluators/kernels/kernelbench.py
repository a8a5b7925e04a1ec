"""KernelBench modules (class Model, get_inputs, get_init_inputs) as problems of one workload."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

from evolve.evaluators.kernels.definition import Axis, Definition, Given, Problem, Spec, Tolerance, Workload
from evolve.tasks.errors import UsageError

_RUN = """

def run({arguments}):
    torch.manual_seed(0)
    model = Model(*get_init_inputs()).to({first}.device).eval()
    with torch.no_grad():
        return model({arguments})


def _evolve_inputs(axes_and_scalars, device):
    return {{name: value.to(device) if hasattr(value, "to") else value for name, value in zip({names!r}, get_inputs())}}
"""


def wrap(file: Path) -> Problem:
    """The module as a problem. Runs `get_inputs` and the model once on the CPU to learn shapes and dtypes.

    Raises UsageError where the module has not KernelBench's three names.
    """
    import torch

    source = file.read_text(encoding="utf-8")
    module = ast.parse(source)
    names = {node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if missing := {"Model", "get_inputs", "get_init_inputs"} - names:
        raise UsageError(f"{file} is no KernelBench module: it lacks {', '.join(sorted(missing))}")
    arguments = _forward_arguments(module, file)
    reference = source + _RUN.format(arguments=", ".join(arguments), first=arguments[0], names=arguments)
    scope: dict[str, Any] = {}
    exec(compile(reference, str(file), "exec"), scope)
    values = scope["get_inputs"]()
    result = scope["run"](*values)
    outputs = result if isinstance(result, tuple | list) else (result,)
    given = {
        n: Given("custom") if isinstance(v, torch.Tensor) else Given("scalar", value=v)
        for n, v in zip(arguments, values, strict=True)
    }
    definition = Definition(
        name=file.stem,
        axes={"one": Axis("const", value=1)},
        inputs={n: _spec(v) for n, v in zip(arguments, values, strict=True)},
        outputs={f"out{i}": _spec(v) for i, v in enumerate(outputs)},
        reference=reference,
        op_type="kernelbench",
        custom_inputs="_evolve_inputs",
    )
    workload = Workload(file.stem, {}, given, Tolerance(atol=1e-2, rtol=1e-2, ratio=1.0))
    return Problem(definition, (workload,), source=str(file), family="kernelbench", root=file.parent)


def _forward_arguments(module: ast.Module, file: Path) -> list[str]:
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Model":
            for item in node.body:
                if isinstance(item, ast.FunctionDef) and item.name == "forward":
                    return [arg.arg for arg in item.args.args[1:]]
    raise UsageError(f"{file}: class Model has no forward")


def _spec(value: Any) -> Spec:
    import torch

    if isinstance(value, torch.Tensor):
        return Spec(tuple(str(n) for n in value.shape), str(value.dtype).removeprefix("torch."))
    return Spec(None, "bool" if isinstance(value, bool) else "int64" if isinstance(value, int) else "float32")

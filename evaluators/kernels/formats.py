"""Reading problems (SOL-ExecBench folders and parquet, flashinfer-trace, KernelBench) and writing solutions and traces.

Field names follow NVIDIA/SOL-ExecBench @ 8d2237d and flashinfer-ai/flashinfer-bench @ ecafa9c.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from evolve.evaluators.kernels.definition import Axis, Definition, Given, Problem, Spec, Tolerance, Workload
from evolve.tasks.errors import UsageError

LANGUAGES = {
    "python": ("pytorch", "triton", "cute_dsl", "cutile", "cudnn_frontend"),
    "cpp": ("cuda_cpp", "cutlass", "cudnn", "cublas"),
}
"""Upstream's two groups; a solution never mixes them (`solution.py:175-231`)."""


# ---- reading ---------------------------------------------------------------------------------------------------------


def load(path: str | Path) -> list[Problem]:
    """Problems at `path`: a problem folder, a flashinfer-trace folder, a folder of problem folders, a parquet file.

    Raises UsageError where nothing is found or a file is not what it should be.
    """
    path = Path(path)
    if path.suffix == ".parquet":
        return list(load_parquet(path))
    if (path / "definition.json").is_file():
        return [load_folder(path)]
    if (path / "definitions").is_dir():
        return list(load_trace_set(path))
    found = [load_folder(folder.parent) for folder in sorted(path.glob("*/definition.json"))]
    if not found:
        raise UsageError(f"{path} holds no definition.json, no definitions/ and no */definition.json")
    return found


def load_folder(folder: Path) -> Problem:
    """A SOL-ExecBench problem folder: definition.json and workload.jsonl."""
    definition = definition_from_json(_json(folder / "definition.json"), str(folder))
    rows = _lines(folder / "workload.jsonl")
    workloads = tuple(workload_from_json(row, definition, f"{folder}/workload.jsonl:{n}") for n, row in rows)
    return Problem(definition, workloads, source=str(folder), family=definition.op_type, root=folder)


def load_trace_set(root: Path) -> Iterator[Problem]:
    """A flashinfer-trace data set: definitions/<op>/<name>.json and workloads/<op>/<name>.jsonl (wrapped rows)."""
    for file in sorted((root / "definitions").glob("*/*.json")):
        definition = definition_from_json(_json(file), str(file))
        rows = root / "workloads" / file.parent.name / f"{file.stem}.jsonl"
        if rows.is_file():
            items = [(n, row.get("workload", row)) for n, row in _lines(rows)]
            workloads = tuple(workload_from_json(row, definition, f"{rows}:{n}") for n, row in items)
            yield Problem(definition, workloads, source=str(file), family=definition.op_type, root=root)


def load_parquet(file: Path) -> Iterator[Problem]:
    """The Hugging Face data set's parquet (columns of JSON strings), from the user's own copy. Needs pyarrow."""
    try:
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise UsageError("reading parquet needs pyarrow: pip install 'evolve-search[analysis]'") from error
    for row in parquet.read_table(file).to_pylist():
        data = {key: _decoded(value) for key, value in row.items()}
        definition = definition_from_json(data, f"{file}: {data.get('name')}")
        workloads = tuple(
            workload_from_json(item, definition, f"{file}: {definition.name}: workload {n}")
            for n, item in enumerate(data.get("workloads") or [])
        )
        yield Problem(definition, workloads, source=str(file), family=definition.op_type, root=file.parent)


def load_kernelbench(file: Path) -> Problem:
    """A KernelBench module (class Model, get_inputs, get_init_inputs), wrapped as a problem of one workload.

    Shapes and dtypes are taken from one call of `get_inputs` on the CPU, so torch is imported and the module run:
    give it only files you trust (a candidate is never loaded this way).
    """
    from evolve.evaluators.kernels import kernelbench

    return kernelbench.wrap(file)


def definition_from_json(data: Mapping[str, Any], where: str = "definition") -> Definition:
    """Raises UsageError naming `where` and the field."""
    for key in ("name", "axes", "inputs", "outputs", "reference"):
        if key not in data:
            raise UsageError(f"{where}: a definition needs {key!r}")
    try:
        return Definition(
            name=data["name"],
            axes={name: _axis(item, f"{where}: axis {name!r}") for name, item in data["axes"].items()},
            inputs={name: _spec(item) for name, item in data["inputs"].items()},
            outputs={name: _spec(item) for name, item in data["outputs"].items()},
            reference=data["reference"],
            op_type=data.get("op_type") or "",
            description=data.get("description") or "",
            custom_inputs=data.get("custom_inputs_entrypoint") or "",
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{where}: not a definition: {error!r}") from error


def workload_from_json(data: Mapping[str, Any], definition: Definition, where: str = "workload") -> Workload:
    """Raises UsageError for an unknown axis or input, and for a mix of custom and other tensor inputs."""
    axes = {name: int(value) for name, value in data["axes"].items()}
    inputs = {name: _given(item, f"{where}: input {name!r}") for name, item in data["inputs"].items()}
    if unknown := (set(inputs) ^ set(definition.inputs)):
        raise UsageError(f"{where}: inputs differ from the definition's by {', '.join(sorted(unknown))}")
    kinds = {given.kind for given in inputs.values()} - {"scalar"}
    if "custom" in kinds and kinds != {"custom"}:
        raise UsageError(f"{where}: custom inputs are all or nothing; this mixes {', '.join(sorted(kinds))}")
    workload = Workload(str(data["uuid"]), axes, inputs, _tolerance(data.get("tolerance") or {}))
    definition.sizes(axes)
    return workload


def _axis(item: Mapping[str, Any], where: str) -> Axis:
    match item.get("type"):
        case "const":
            return Axis("const", value=int(item["value"]))
        case "var":
            return Axis("var")
        case "expr":
            return Axis("expr", expression=item["expression"])
    raise UsageError(f"{where}: type {item.get('type')!r}; known: const, var, expr")


def _spec(item: Mapping[str, Any]) -> Spec:
    shape = item["shape"]
    return Spec(None if shape is None else tuple(str(axis) for axis in shape), item["dtype"])


def _given(item: Mapping[str, Any], where: str) -> Given:
    kind = item.get("type")
    if kind in ("random", "custom"):
        return Given(kind)
    if kind == "scalar":
        return Given(kind, value=item["value"])
    if kind == "safetensors":
        return Given(kind, path=item["path"], key=item["tensor_key"])
    raise UsageError(f"{where}: type {kind!r}; known: random, scalar, safetensors, custom")


def _tolerance(item: Mapping[str, Any]) -> Tolerance:
    return Tolerance(
        atol=item.get("max_atol", 1e-2),
        rtol=item.get("max_rtol", 1e-2),
        ratio=item.get("required_matched_ratio", 0.99),
        cap=item.get("max_error_cap"),
        negative_inf=bool(item.get("allow_negative_inf", False)),
    )


def _json(file: Path) -> Any:
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def _lines(file: Path) -> list[tuple[int, Any]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
        return [(n, json.loads(line)) for n, line in enumerate(lines, 1) if line.strip()]
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def _decoded(value: Any) -> Any:
    """A parquet column: JSON where it is JSON of an object or list, else the text itself."""
    if isinstance(value, str) and value[:1] in "[{":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


# ---- writing ---------------------------------------------------------------------------------------------------------


def solution(
    definition: str,
    sources: Mapping[str, str],
    entry_point: str,
    *,
    languages: Iterable[str],
    name: str = "",
    author: str = "evolve",
    hardware: Iterable[str] = ("LOCAL",),
    description: str = "",
    passing: bool = False,
) -> dict[str, Any]:
    """Upstream's solution.json (`solution.py`). passing: destination-passing style (outputs given as last arguments).

    Raises UsageError for mixed language groups, an entry point outside the sources or a path that leaves the folder.
    """
    languages = list(languages)
    groups = {group for group, members in LANGUAGES.items() for language in languages if language in members}
    if unknown := set(languages) - {m for members in LANGUAGES.values() for m in members}:
        raise UsageError(f"unknown language {sorted(unknown)[0]!r}; known: {', '.join(sum(LANGUAGES.values(), ()))}")
    if len(groups) != 1:
        raise UsageError(
            f"languages {', '.join(languages)} mix upstream's Python and C++ groups; give one solution each"
        )
    file, _, function = entry_point.partition("::")
    if file not in sources or not function:
        raise UsageError(
            f"entry point {entry_point!r} must be 'file::function' with the file among {', '.join(sources)}"
        )
    for path in sources:
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise UsageError(f"source path {path!r} must be relative, without '..'")
    ordered = [{"path": path, "content": text} for path, text in sorted(sources.items())]
    return {
        "name": name or f"{definition}_{content_hash(sources)[:12]}",
        "definition": definition,
        "author": author,
        "description": description,
        "spec": {
            "languages": languages,
            "target_hardware": list(hardware),
            "entry_point": entry_point,
            "dependencies": [],
            "destination_passing_style": passing,
            "binding": "torch" if groups == {"cpp"} else None,
        },
        "sources": ordered,
    }


def content_hash(sources: Mapping[str, str]) -> str:
    """Hex sha256 of canonical JSON (upstream's concatenation without separators is ambiguous, `solution.py:332-344`)."""
    return hashlib.sha256(json.dumps(dict(sources), sort_keys=True).encode()).hexdigest()


NEEDS = {"PASSED": (True, True), "INCORRECT_NUMERICAL": (True, False)}
"""Status -> (correctness block, performance block) that must be there; all others have neither (`trace.py:134-173`)."""


def trace(
    definition: str,
    workload: Mapping[str, Any],
    solution_name: str,
    status: str,
    *,
    hardware: str,
    libraries: Mapping[str, str],
    log: str = "",
    correctness: Mapping[str, Any] | None = None,
    performance: Mapping[str, Any] | None = None,
    when: float | None = None,
) -> dict[str, Any]:
    """One upstream trace; strict JSON (no NaN). Raises UsageError where the blocks do not fit the status."""
    wants = NEEDS.get(status, (False, False))
    for (wanted, block), what in zip(
        ((wants[0], correctness), (wants[1], performance)), ("correctness", "performance"), strict=True
    ):
        if wanted != (block is not None):
            raise UsageError(f"a trace of status {status} {'needs' if wanted else 'has no'} {what} block")
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(when if when is not None else time.time()))
    evaluation = {
        "status": status,
        "environment": {"hardware": hardware, "libs": dict(libraries)},
        "timestamp": stamp,
        "log": log,
        "correctness": dict(correctness) if correctness is not None else None,
        "performance": dict(performance) if performance is not None else None,
    }
    record = {"definition": definition, "workload": dict(workload), "solution": solution_name, "evaluation": evaluation}
    json.dumps(record, allow_nan=False)
    return record


def correctness_block(relative: float, absolute: float) -> dict[str, Any]:
    """Upstream's correctness block; a value that is no number is capped at the largest float and flagged."""
    finite = math.isfinite(relative) and math.isfinite(absolute)
    big = 1.7976931348623157e308
    return {
        "max_relative_error": relative if math.isfinite(relative) else big,
        "max_absolute_error": absolute if math.isfinite(absolute) else big,
        "has_nan": math.isnan(relative) or math.isnan(absolute),
        "has_inf": not finite and not math.isnan(relative),
        "extra": None,
    }


def workload_to_json(workload: Workload) -> dict[str, Any]:
    """A workload in upstream's shape (our own tolerance keys are left out)."""
    inputs: dict[str, Any] = {}
    for name, given in workload.inputs.items():
        item: dict[str, Any] = {"type": given.kind}
        if given.kind == "scalar":
            item["value"] = given.value
        if given.kind == "safetensors":
            item |= {"path": given.path, "tensor_key": given.key}
        inputs[name] = item
    t = workload.tolerance
    tolerance = {
        "max_atol": t.atol,
        "max_rtol": t.rtol,
        "required_matched_ratio": t.ratio,
        "max_error_cap": t.cap,
        "allow_negative_inf": t.negative_inf,
    }
    return {"uuid": workload.uuid, "axes": dict(workload.axes), "inputs": inputs, "tolerance": tolerance}


def definition_to_json(definition: Definition) -> dict[str, Any]:
    """definition.json of a definition."""

    def axis(item: Axis) -> dict[str, Any]:
        table: dict[str, dict[str, Any]] = {
            "const": {"value": item.value},
            "expr": {"expression": item.expression},
            "var": {},
        }
        extra = table[item.kind]
        return {"type": item.kind, **extra}

    def spec(item: Spec) -> dict[str, Any]:
        return {"shape": None if item.shape is None else list(item.shape), "dtype": item.dtype}

    return {
        "name": definition.name,
        "op_type": definition.op_type or None,
        "description": definition.description or None,
        "axes": {name: axis(item) for name, item in definition.axes.items()},
        "custom_inputs_entrypoint": definition.custom_inputs or None,
        "inputs": {name: spec(item) for name, item in definition.inputs.items()},
        "outputs": {name: spec(item) for name, item in definition.outputs.items()},
        "reference": definition.reference,
    }


def compat(problem: Problem) -> Problem:
    """The problem under upstream's own rules: the global matched ratio only, no per-slice check."""
    workloads = tuple(replace(w, tolerance=replace(w.tolerance, slices=0.0, rms_atol=0.0)) for w in problem.workloads)
    return replace(problem, workloads=workloads)


def imports_of(source: str) -> set[str]:
    """Top-level modules a Python source imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found

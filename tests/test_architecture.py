"""Who may import whom: tasks <- population, tasks <- evaluators, all <- evolve; and no module cycle."""

from __future__ import annotations

import ast
from collections.abc import Container, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ALLOWED = {
    "tasks": {"tasks"},
    "population": {"tasks", "population"},
    "evaluators": {"tasks", "evaluators"},
}
LAYERS = ("tasks", "population", "evaluators")


def modules() -> dict[str, Path]:
    """Importable name -> file, for all of the package (not the seeds and graders of bundled tasks)."""
    found = {}
    for layer in LAYERS:
        for path in sorted((ROOT / layer).rglob("*.py")):
            if "seed" not in path.parts and not (layer == "tasks" and path.name == "evaluate.py"):
                found[_name(path, ROOT / layer, f"evolve.{layer}")] = path
    for path in sorted((ROOT / "evolve").rglob("*.py")):
        if not any(part in LAYERS for part in path.relative_to(ROOT / "evolve").parts[:1]):
            found[_name(path, ROOT / "evolve", "evolve")] = path
    return found


def _name(path: Path, root: Path, prefix: str) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join([prefix, *(part for part in parts if part != "__init__")])


def imports(path: Path, name: str, *, top_level: bool = False, known: Container[str] = ()) -> set[str]:
    """Modules that a file imports; `top_level`: only what runs when it is imported.

    `from package import name` names the module `package.name` where that is one of `known`, else the package.
    """
    found: set[str] = set()
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = list(ast.walk(tree)) if not top_level else [n for statement in tree.body for n in _running(statement)]
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = name.split(".")[: -node.level]
                base = ".".join([*parent, base]).rstrip(".")
            for alias in node.names:
                found.add(f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base)
    return found


def _running(statement: ast.stmt) -> list[ast.AST]:
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
        return []
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    return list(ast.walk(statement))


def forbidden(layer: str, targets: set[str]) -> list[str]:
    """Those of `targets` that a module of `layer` may not import: the front door, the search, a layer beside or above."""
    ours = [target.split(".") for target in sorted(targets) if target.split(".")[0] == "evolve"]
    return [".".join(parts) for parts in ours if len(parts) < 2 or parts[1] not in ALLOWED[layer]]


def cycle(graph: Mapping[str, set[str]]) -> list[str]:
    """One import cycle, first module repeated at its end; empty where there is none."""
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> list[str]:
        if name in trail:
            return [*trail[trail.index(name) :], name]
        if name not in done:
            for target in sorted(graph.get(name, ())):
                if found := visit(target, [*trail, name]):
                    return found
            done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("layer", LAYERS)
def test_lower_layers_import_only_what_is_below(layer: str) -> None:
    known = modules()
    for name, path in known.items():
        if name.startswith(f"evolve.{layer}"):
            assert not forbidden(layer, imports(path, name, known=known)), path.relative_to(ROOT)


def test_nobody_imports_a_bare_layer() -> None:
    for name, path in modules().items():
        for target in imports(path, name):
            assert target.split(".")[0] not in LAYERS, (
                f"{path.relative_to(ROOT)} imports {target}: write evolve.{target}"
            )


def test_no_module_cycle() -> None:
    known = modules()
    graph = {
        name: {t for t in imports(path, name, top_level=True, known=known) if t in known and t != name}
        for name, path in known.items()
    }
    assert not cycle(graph)


def test_planted_faults_are_seen(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text(
        "from evolve.population.archive import Archive\nfrom evolve import evaluators, Task\nimport evolve.search\n"
        "from evolve.tasks.task import Metric\nimport population\n"
    )
    found = imports(bad, "evolve.tasks.bad", known=modules())
    assert "population" in found
    assert forbidden("tasks", found) == ["evolve", "evolve.evaluators", "evolve.population.archive", "evolve.search"]
    assert forbidden("population", found) == ["evolve", "evolve.evaluators", "evolve.search"]
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_folders_are_the_agreed_ones() -> None:
    agreed = {"evolve", "population", "tasks", "evaluators", "tests", "notebooks", "docs", "benchmarks"}
    found = {
        p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.name.endswith(".egg-info")
    }
    assert found - {"dist", "build"} <= agreed | {n for n in found if n.startswith("evolve-")}

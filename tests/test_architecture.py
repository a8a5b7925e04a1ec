"""Who may import whom: tasks <- population, tasks <- evaluators, all <- evolve; and no module cycle."""

from __future__ import annotations

import ast
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


def imports(path: Path, name: str, *, top_level: bool = False) -> set[str]:
    """Modules of ours that a file imports; `top_level`: only what runs when it is imported."""
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
            found |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return found


def _running(statement: ast.stmt) -> list[ast.AST]:
    if isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.dump(statement.test):
        return []
    if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return []
    return list(ast.walk(statement))


@pytest.mark.parametrize("layer", LAYERS)
def test_lower_layers_import_only_what_is_below(layer: str) -> None:
    for name, path in modules().items():
        if not name.startswith(f"evolve.{layer}"):
            continue
        for target in imports(path, name):
            parts = target.split(".")
            if parts[0] != "evolve" or len(parts) < 2:
                continue
            assert parts[1] in ALLOWED[layer], f"{path.relative_to(ROOT)} imports {target}"


def test_nobody_imports_a_bare_layer() -> None:
    for name, path in modules().items():
        for target in imports(path, name):
            assert target.split(".")[0] not in LAYERS, (
                f"{path.relative_to(ROOT)} imports {target}: write evolve.{target}"
            )


def test_no_module_cycle() -> None:
    known = modules()
    graph = {
        name: {t for t in imports(path, name, top_level=True) if t in known and t != name}
        for name, path in known.items()
    }
    for package in [n for n in known if known[n].name == "__init__.py"]:
        graph[package] = (
            {t for t in graph[package] if not t.startswith(package + ".")} if package == "evolve" else graph[package]
        )
    state: dict[str, int] = {}

    def visit(name: str, trail: list[str]) -> None:
        state[name] = 1
        for target in sorted(graph[name]):
            if state.get(target) == 1:
                cycle = [*trail[trail.index(target) :], target] if target in trail else [name, target]
                pytest.fail(f"import cycle: {' -> '.join(cycle)}")
            if target not in state:
                visit(target, [*trail, target])
        state[name] = 2

    for name in sorted(graph):
        if name not in state:
            visit(name, [name])


def test_the_test_sees_a_forbidden_import(tmp_path: Path) -> None:
    """A planted fault."""
    bad = tmp_path / "bad.py"
    bad.write_text("from evolve.population.archive import Archive\nimport evolve.search\n")
    found = imports(bad, "evolve.tasks.bad")
    assert "evolve.population.archive" in found and "evolve.search" in found


def test_folders_are_the_agreed_ones() -> None:
    agreed = {"evolve", "population", "tasks", "evaluators", "tests", "notebooks", "docs", "benchmarks"}
    found = {
        p.name for p in ROOT.iterdir() if p.is_dir() and not p.name.startswith(".") and not p.name.endswith(".egg-info")
    }
    assert found - {"dist", "build"} <= agreed | {n for n in found if n.startswith("evolve-")}

"""What `evolve init` can see for itself: the language, what is likely to be evolved, what scores it, what must hold."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_SOURCE = {".py", ".c", ".cc", ".cpp", ".cu", ".rs", ".go", ".js", ".ts", ".jl", ".f90", ".zig", ".java"}
_ASIDE = re.compile(
    r"(^|/)(tests?|docs?|examples?|build|dist|vendor|third_party|node_modules|\.\w[^/]*)/"
    r"|(^|/)(setup|conftest|noxfile|__init__)\.py$|(^|/)test_[^/]*$|_test\.\w+$|\.(test|spec)\.\w+$"
)
_TEST = re.compile(r"(^|/)(test_[^/]*\.py|[^/]*_test\.py)$")
_SCORER = re.compile(r"(evaluate|bench|perf|score|train)", re.IGNORECASE)
_SCORER_WORDS = ("evaluate", "bench", "perf", "score", "train")
_BENCH_FOLDER = re.compile(r"(^|/)(bench|benches|benchmarks?|perf)/")
_TARGET = re.compile(r"^([A-Za-z][\w-]*)\s*:(?!=)", re.MULTILINE)
_PRINTED = (
    re.compile(r"""print\(\s*f?["']([A-Za-z_]\w*)\s*[:=]\s*\{"""),
    re.compile(r"""print\(\s*["']([A-Za-z_]\w*)\s*[:=]\s*["']\s*,"""),
    re.compile(r"""(?:printf|println!?|log|print)\w*\(\s*(?:f|std(?:out|err),\s*)?["'`]([A-Za-z_]\w*)\s*[:=]\s*(?:%|\{|\$\{|["'`])"""),
    re.compile(r"""echo\s+["']?([A-Za-z_]\w*)\s*[:=]\s*\$"""),
)
_LESS = re.compile(
    r"loss|bpb|time|second|error|latency|bytes|size|cost|memory|vram|perplexity|miss|(^|_)(ns|us|ms|s|sec|secs)(_|$)",
    re.IGNORECASE,
)
_UNITS = {"seconds": "s", "sec": "s", "secs": "s", "ms": "ms", "bytes": "bytes", "val_bpb": "bits/byte"}
_MOST_EDITABLE = 3


@dataclass(frozen=True, slots=True)
class Scorer:
    """How a version is scored. command: a shell command, empty for a grader `evaluate(trial)`. path: file it is in."""

    path: str
    command: str
    metrics: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Survey:
    """text: of an evolve.toml. guesses: what it rests on, in sentences. warnings: what is missing."""

    text: str
    guesses: tuple[str, ...]
    warnings: tuple[str, ...] = ()


def survey(root: Path, tracked: Sequence[str]) -> Survey:
    """Look at a repository's tracked files; nothing is run."""
    sources = [path for path in tracked if Path(path).suffix in _SOURCE and not _ASIDE.search(path)]
    scorer = _scorer(root, tracked, sources)
    editable = _editable(root, sources, scorer)
    gates = _gates(root, tracked)
    instructions = next((p for p in ("program.md", "TASK.md", "README.md", "README.rst") if p in tracked), None)
    metrics = scorer.metrics if scorer and scorer.metrics else ("seconds",)
    shown = scorer.command or scorer.path if scorer else "nothing found"
    guesses = [
        f"may change: {', '.join(editable) if editable else 'nothing found'}",
        f"scored by: {shown}",
        f"metric: {metrics[0]} ({_goal(metrics[0])})",
        f"must pass first: {'; '.join(gates) if gates else 'nothing found'}",
    ]
    warnings = []
    if not editable:
        warnings.append("no source file was found; name the files that may change as task.editable")
    if scorer is None:
        warnings.append("no benchmark was found; say how a version is scored as evaluate.command")
    elif not scorer.metrics and scorer.command:
        warnings.append(f"{scorer.path} prints no line such as 'seconds: 1.5' that could be seen; correct evaluate.metrics")
    if not gates and not (scorer and not scorer.command):
        warnings.append("no tests were found: nothing checks that a better score is still right; add evaluate.gates")
    text = _text(root.name, editable, scorer, metrics, gates, instructions, tracked)
    return Survey(text, tuple(guesses), tuple(warnings))


# ---- what scores it --------------------------------------------------------------------------------------------------


def _scorer(root: Path, tracked: Sequence[str], sources: Sequence[str]) -> Scorer | None:
    """A grader or benchmark by its file, else by a build file's target."""
    found = [path for path in sources if _SCORER.search(PurePosixPath(path).name) or _BENCH_FOLDER.search(path)]
    runnable = [path for path in found if path.endswith((".py", ".js"))]
    runnable += [path for path in tracked if path.endswith(".sh") and _SCORER.search(PurePosixPath(path).name)]
    printing = [path for path in runnable if _printed(root, path)]
    for path in sorted(runnable, key=lambda p: (p not in printing, *_rank(p))):
        if path.endswith("evaluate.py") and re.search(r"^def evaluate\(", _read(root, path), re.MULTILINE):
            return Scorer(path, "", tuple(_returned(_read(root, path))))
        interpreter = {".py": _python(tracked), ".js": "node", ".sh": "sh"}[Path(path).suffix]
        return Scorer(path, f"{interpreter} {path}", _printed(root, path))
    for target, command in _targets(root, tracked):
        if _SCORER.search(target):
            inside = next((path for path in found if _printed(root, path)), "")
            return Scorer(command, command, _printed(root, inside) if inside else ())
    return None


def _rank(path: str) -> tuple[int, int, str]:
    name = PurePosixPath(path).name.lower()
    order = next((i for i, word in enumerate(_SCORER_WORDS) if word in name), len(_SCORER_WORDS))
    return order, path.count("/"), path


def _printed(root: Path, path: str) -> tuple[str, ...]:
    """Names that a file prints as `name: value`, in the order of the text, each once."""
    text = _read(root, path)
    found = sorted((match.start(), match[1]) for pattern in _PRINTED for match in pattern.finditer(text))
    return tuple(dict.fromkeys(name for _, name in found))


def _returned(text: str) -> list[str]:
    """Keys of the last dictionary that a grader returns."""
    returns = re.findall(r"return\s*\{(.*?)\}", text, re.DOTALL)
    return re.findall(r"""["'](\w+)["']\s*:""", returns[-1]) if returns else []


def _targets(root: Path, tracked: Sequence[str]) -> list[tuple[str, str]]:
    """(name, command) of what build files offer to run."""
    found: list[tuple[str, str]] = []
    for name in ("Makefile", "makefile", "GNUmakefile"):
        if name in tracked:
            found += [(target, f"make -s {target}") for target in _TARGET.findall(_read(root, name))]
    if "package.json" in tracked:
        try:
            scripts = json.loads(_read(root, "package.json")).get("scripts", {})
        except (ValueError, AttributeError):
            scripts = {}
        found += [(script, f"npm run --silent {script}") for script in scripts]
    if "Cargo.toml" in tracked:
        found += [("test", "cargo test --quiet")]
        found += [("bench", "cargo bench --quiet")] if any(path.startswith("benches/") for path in tracked) else []
    if "go.mod" in tracked:
        found += [("test", "go test ./...")]
        benches = any("func Benchmark" in _read(root, path) for path in tracked if path.endswith("_test.go"))
        found += [("bench", "go test -run '^$' -bench .")] if benches else []
    return found


# ---- what may change, what must hold ---------------------------------------------------------------------------------


def _editable(root: Path, sources: Sequence[str], scorer: Scorer | None) -> list[str]:
    """A training script is evolved itself; else what the benchmark imports; else the first sources."""
    if scorer and PurePosixPath(scorer.path).name.startswith("train"):
        return [scorer.path]
    others = [p for p in sources if not (scorer and p == scorer.path) and not _BENCH_FOLDER.search(p)]
    others = [p for p in others if not _SCORER.search(PurePosixPath(p).name)] or others
    if scorer and scorer.path.endswith(".py"):
        text = _read(root, scorer.path)
        used = _imported(text) | set(re.findall(r"""["']([\w/.-]+\.\w+)(?::\w+)?["']""", text))
        named = [p for p in others if p in used or p.removesuffix(".py").replace("/", ".").removeprefix("src.") in used]
        if named:
            return named[:_MOST_EDITABLE]
    return others[:_MOST_EDITABLE]


def _imported(text: str) -> set[str]:
    """Modules that a Python file imports, and what it imports from them."""
    found = set(re.findall(r"^\s*import\s+([\w.]+)", text, re.MULTILINE))
    for module, names in re.findall(r"^\s*from\s+([\w.]+)\s+import\s+([\w, ]+)", text, re.MULTILINE):
        found |= {module} | {f"{module}.{name.strip()}" for name in names.split(",")}
    return found


def _gates(root: Path, tracked: Sequence[str]) -> list[str]:
    """The repository's own tests."""
    tests = [path for path in tracked if _TEST.search(path)]
    if tests:
        configured = {"pytest.ini", "conftest.py", "tests/conftest.py"} & set(tracked)
        uses = configured or any("import pytest" in _read(root, path) for path in tests) or _has_pytest_table(root, tracked)
        plain = any(re.search(r"^(?:async )?def test", _read(root, path), re.MULTILINE) for path in tests)
        if uses or plain:
            return [f"{_python(tracked)} -m pytest -q -x"]
        which = "-q " + " ".join(tests) if len(tests) <= 2 else "discover -q"
        return [f"{_python(tracked)} -m unittest {which}"]
    named = {name: command for name, command in _targets(root, tracked) if name in ("test", "check", "tests")}
    return [named[name] for name in ("test", "tests", "check") if name in named][:1]


def _has_pytest_table(root: Path, tracked: Iterable[str]) -> bool:
    if "pyproject.toml" not in tracked:
        return False
    try:
        return "pytest" in tomllib.loads(_read(root, "pyproject.toml")).get("tool", {})
    except tomllib.TOMLDecodeError:
        return False


def _read(root: Path, path: str) -> str:
    try:
        return (root / path).read_text(encoding="utf-8", errors="replace")[:200_000] if path else ""
    except OSError:
        return ""


# ---- the file --------------------------------------------------------------------------------------------------------


def _goal(metric: str) -> str:
    return "min" if _LESS.search(metric) else "max"


def _metric(name: str, pattern: bool) -> str:
    unit = f', unit = "{_UNITS[name.lower()]}"' if name.lower() in _UNITS else ""
    where = f", pattern = '^{name}\\s*[:=]\\s*(\\S+)'" if pattern else ""
    return f'{{ name = "{name}", goal = "{_goal(name)}"{unit}{where} }}'


def _quoted(texts: Iterable[str]) -> str:
    return ", ".join(json.dumps(text, ensure_ascii=False) for text in texts)


def _text(
    name: str, editable: Sequence[str], scorer: Scorer | None, metrics: Sequence[str], gates: Sequence[str],
    instructions: str | None, tracked: Sequence[str],
) -> str:  # fmt: skip
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-.")[:64] or "task"
    grader = scorer is not None and not scorer.command
    setup = next((command for file, command in _SETUPS.items() if file in tracked), None)
    shown = [_metric(metric, pattern=not grader) for metric in metrics]
    lines = [
        "# What may change, how a version is scored, and what it may cost. 'evolve check' tries it.",
        "[task]",
        f'name = "{safe}"',
        f"editable = [{_quoted(editable or ['FILE-THAT-MAY-CHANGE'])}]   # globs; every other file is protected",
        f"instructions = {_quoted([instructions])}" if instructions else '# instructions = "README.md"',
        "",
        "[environment]",
        f"{'' if setup else '# '}setup = {_quoted([setup or 'pip install ...'])}   # once per base; what it leaves is under every candidate",
        '# data = ["~/data:ro"]         # mounted read-only at the same path',
        '# env = { OMP_NUM_THREADS = "1" }',
        "",
        "[evaluate]",
        f"gates = [{_quoted(gates)}]   # must pass before anything is measured"
        if gates
        else '# gates = ["python3 -m pytest -q -x"]   # must pass before anything is measured',
        f"script = {_quoted([scorer.path])}   # evaluate(trial), outside the candidate's process"
        if scorer and grader
        else f"command = {_quoted([scorer.command if scorer else 'COMMAND-THAT-PRINTS-THE-METRIC'])}",
        f"metrics = [{', '.join(shown)}]",
        *([f"objective = {_quoted(metrics[:1])}   # the others are recorded"] if len(metrics) > 1 else []),
        'timeout = "10m"',
        "repeats = { screen = 1, confirm = 3 }",
        "",
        "[limits]",
        'memory = "2G"',
        "",
    ]
    return "\n".join(lines)


_SETUPS = {
    "uv.lock": "uv sync --frozen",
    "requirements.txt": "python3 -m venv .venv && .venv/bin/pip install -q -r requirements.txt",
    "package-lock.json": "npm ci --silent",
}
"""Lock file -> what makes its environment, the first that is there."""


def _python(tracked: Sequence[str]) -> str:
    return ".venv/bin/python" if {"uv.lock", "requirements.txt"} & set(tracked) else "python3"

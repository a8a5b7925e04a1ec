"""What `evolve init` can see for itself: the language, what is likely to be evolved, and what may score it."""

from __future__ import annotations

import re
from pathlib import Path

_BENCH = re.compile(r"(bench|perf|evaluate|score|train)", re.IGNORECASE)
_SOURCE = {".py", ".c", ".cc", ".cpp", ".cu", ".rs", ".go", ".js", ".ts", ".jl"}
_SKIP = re.compile(
    r"(^|/)(tests?|docs?|examples?|build|dist|vendor|third_party|node_modules|\.\w+)/|(^|/)(setup|conftest)\.py$"
)
_PRINTED = re.compile(r"""print\(\s*f?["']([A-Za-z_]\w*)\s*[:=]\s*\{""")
_LESS = re.compile(r"(loss|bpb|time|second|sec|ms|error|latency|bytes|size|cost)", re.IGNORECASE)


def survey(root: Path, tracked: list[str]) -> tuple[str, list[str]]:
    """An evolve.toml's text for the repository, and what was guessed, in sentences."""
    sources = [path for path in tracked if Path(path).suffix in _SOURCE and not _SKIP.search(path)]
    scorers = sorted((path for path in sources if _BENCH.search(Path(path).name)), key=_rank)
    grader = next((path for path in tracked if path == "evaluate.py"), None)
    scorer = grader or next(iter(scorers), None)
    train = scorer is not None and Path(scorer).name.startswith("train")
    editable = [scorer] if train and scorer else [p for p in sources if p != scorer][:3] or sources[:1]
    metric, goal, pattern = _metric(root, scorer)
    guesses = [
        f"editable: {', '.join(editable) if editable else 'nothing found; name the files that may change'}",
        f"scored by: {scorer or 'nothing found; say how a version is scored'}",
        f"metric: {metric} ({goal})",
    ]
    instructions = next((p for p in ("program.md", "README.md", "README.rst") if p in tracked), None)
    return _text(root.name, editable, scorer, grader, metric, goal, pattern, instructions, tracked), guesses


def _rank(path: str) -> tuple[int, int, str]:
    name = Path(path).name.lower()
    order = next((i for i, word in enumerate(("evaluate", "bench", "perf", "score", "train")) if word in name), 9)
    return order, path.count("/"), path


def _metric(root: Path, scorer: str | None) -> tuple[str, str, str]:
    """A `name: value` line the scorer prints, if its source shows one."""
    if scorer and scorer.endswith(".py"):
        text = (root / scorer).read_text(encoding="utf-8", errors="replace")
        for name in _PRINTED.findall(text):
            goal = "min" if _LESS.search(name) else "max"
            return name, goal, rf"^{name}\s*[:=]\s*(\S+)"
    return "seconds", "min", r"^seconds:\s*(\S+)"


def _text(
    name: str, editable: list[str], scorer: str | None, grader: str | None, metric: str, goal: str, pattern: str,
    instructions: str | None, tracked: list[str],
) -> str:  # fmt: skip
    safe = re.sub(r"[^A-Za-z0-9_.-]", "-", name).strip("-.") or "task"
    files = ", ".join(f'"{path}"' for path in editable) or '"FILE-THAT-MAY-CHANGE"'
    setup = '# setup = "uv sync --frozen"   # run once in the base; what it leaves is under every candidate'
    if "uv.lock" in tracked:
        setup = 'setup = "uv sync --frozen"'
    lines = [
        "# What may change, how a version is scored, and what it may cost. 'evolve check' tries it.",
        "[task]",
        f'name = "{safe}"',
        f"editable = [{files}]   # globs; every other file is protected",
        f'instructions = "{instructions}"' if instructions else '# instructions = "README.md"',
        "",
        "[environment]",
        setup,
        '# data = ["~/data:ro"]         # mounted read-only at the same path',
        '# env = { OMP_NUM_THREADS = "1" }',
        "",
        "[evaluate]",
    ]
    if grader:
        lines += [
            'script = "evaluate.py"          # evaluate(trial), outside the candidate\'s process',
            f'metrics = [{{ name = "{metric}", goal = "{goal}" }}]',
        ]
    else:
        command = f"python3 {scorer}" if scorer and scorer.endswith(".py") else "COMMAND-THAT-PRINTS-THE-METRIC"
        lines += [
            f'command = "{command}"',
            f'metrics = [{{ name = "{metric}", goal = "{goal}", pattern = \'{pattern}\' }}]',
        ]
    lines += [
        '# gates = ["python3 -m pytest -q -x"]   # must pass before anything is measured',
        'timeout = "10m"',
        "repeats = { screen = 1, confirm = 3 }",
        "",
        "[limits]",
        'memory = "2G"',
        "",
    ]
    return "\n".join(lines)

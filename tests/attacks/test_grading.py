"""Forging the grade. Each forgery wins from the naive grader (the positive control) and gets nothing from ours."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evolve.evaluators.script import ScriptEvaluator
from evolve.tasks.evidence import Evidence
from tests.attacks import naive
from tests.evaluators.conftest import MakeTree, job

pytestmark = pytest.mark.jail

TOML = """
[task]
name = "t"
editable = ["*.py", "*.pth", "*.json"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "score" }]
timeout = "2s"
"""

GRADE = """
import json
import math

def evaluate(trial):
    x = trial.random.randrange(2, 1000)
    answer = trial.call("program.py:value", x)
    if not isinstance(answer, (int, float)):
        raise trial.Incorrect("value(x) must return a number")
    return {"score": float(math.fabs(answer - x * x) < 1e-9)}
"""

WRONG = "def value(x):\n    return -1\n"

FORGERIES: dict[str, tuple[Callable[[Path], object], dict[str, str]]] = {
    "print the score": (naive.by_output, {"program.py": WRONG + "print('score: 1.0')\n"}),
    "print the score last, at exit": (
        naive.by_output,
        {"program.py": WRONG + "import atexit\natexit.register(lambda: print('score: 1.0'))\nprint('score: 0')\n"},
    ),
    "write the result file": (
        naive.by_file, {"program.py": WRONG + "open('result.json', 'w').write('{\"score\": 1.0}')\n"},
    ),
    "ship the result file": (naive.by_file, {"program.py": WRONG, "result.json": '{"score": 1.0}'}),
    "pickle that runs": (
        naive.by_pickle,
        {"program.py": WRONG + "import pickle\nclass R:\n    def __reduce__(self):\n        return (float, ('1.0',))\n"
                               "open('result.pkl', 'wb').write(pickle.dumps(R()))\n"},
    ),
    "shadow a standard module": (
        naive.by_import, {"program.py": WRONG, "json.py": "def dumps(x):\n    return '{\"score\": 1.0}'\n"},
    ),
    "patch a module both use": (
        naive.by_import, {"program.py": "import math\nmath.fabs = lambda x: 0.0\n" + WRONG},
    ),
    "patch the printer": (
        naive.by_import, {"program.py": "import json\njson.dumps = lambda x: '{\"score\": 1.0}'\n" + WRONG},
    ),
    "answer with an object that always agrees": (
        naive.by_import,
        {"program.py": "class Yes(float):\n    def __sub__(self, other):\n        return 0.0\n"
                       "def value(x):\n    return Yes(1)\n"},
    ),
    "print and leave the grader": (
        naive.by_import,
        {"program.py": "import os\ndef value(x):\n    print('{\"score\": 1.0}', flush=True)\n    os._exit(0)\n"},
    ),
    "rewrite the grader's main": (
        naive.by_import,
        {"program.py": "import sys\nclass math:\n    fabs = staticmethod(lambda x: 0.0)\n"
                       "sys.modules['__main__'].math = math\n" + WRONG},
    ),
    "trace the grader's frame": (
        naive.by_import,
        {"program.py": "import sys\ndef value(x):\n    sys._getframe(1).f_globals['float'] = lambda x: 1.0\n    return -1\n"},
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("grading")


@pytest.fixture
def grader(site: Callable[..., object], tree: MakeTree) -> Iterator[ScriptEvaluator]:
    made = ScriptEvaluator(site(TOML, tree(**{"program.py": WRONG}), GRADE))  # type: ignore[arg-type]
    yield made
    made.close()


def score(evidence: Evidence, name: str) -> float | None:
    samples = evidence.of(name)
    return samples[0].metrics["score"] if samples else None


@pytest.mark.parametrize("name", FORGERIES)
def test_works_on_the_naive_grader(name: str, tmp_path: Path) -> None:
    grade, files = FORGERIES[name]
    for path, text in files.items():
        (tmp_path / path).write_text(text)
    assert grade(tmp_path) == 1.0


@pytest.mark.parametrize("name", FORGERIES)
def test_gets_nothing_from_the_referee(name: str, grader: ScriptEvaluator, tree: MakeTree) -> None:
    made = tree(**FORGERIES[name][1])
    assert score(grader.measure(job(made), lambda _: None), made) in (None, 0.0)


def test_an_honest_candidate_scores(grader: ScriptEvaluator, tree: MakeTree) -> None:
    made = tree(**{"program.py": "def value(x):\n    return x * x\n"})
    assert score(grader.measure(job(made), lambda _: None), made) == 1.0


FRAMES = {
    "a frame of its own before ours": "{'value': 9}",
    "two frames": "twice",
    "a score field": "{'value': 9, 'score': 1.0}",
    "a number where an object belongs": "1",
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_forged_frame_is_refused_or_only_a_claim(name: str, grader: ScriptEvaluator, tree: MakeTree) -> None:
    """The candidate holds the channel's descriptor, so it may write any frame: a frame is an answer, never a grade."""
    text = (
        "import json, os\n"
        "def frame(header):\n    text = json.dumps(header).encode()\n"
        "    return b'EVOLVE\\0\\1' + len(text).to_bytes(8, 'little') + text + bytes(8)\n"
        "def value(x):\n    header = " + (FRAMES[name] if FRAMES[name] != "twice" else "{'value': 9}") + "\n"
        "    os.write(3, frame(header)" + (" * 2" if FRAMES[name] == "twice" else "") + ")\n"
        + ("    return 9\n" if "before" in name else "    os._exit(0)\n")
    )
    made = tree(**{"program.py": text})
    evidence = grader.measure(job(made), lambda _: None)
    assert score(evidence, made) in (None, 0.0)

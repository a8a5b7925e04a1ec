"""A grader as they are often written, without the walls: what the forgeries of test_grading.py are shown to work on.

It runs the candidate as a child in its own folder, believes what it prints or writes, imports it, and unpickles it.
"""

from __future__ import annotations

import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any


def by_output(tree: Path) -> float:
    """The last `score: x` on stdout, whoever printed it."""
    done = subprocess.run([sys.executable, "program.py"], cwd=tree, capture_output=True, text=True, timeout=10, check=False)
    return float(re.findall(r"^score: (\S+)", done.stdout, re.MULTILINE)[-1])


def by_file(tree: Path) -> Any:
    """Whatever result.json says."""
    subprocess.run([sys.executable, "program.py"], cwd=tree, capture_output=True, timeout=10, check=False)
    return json.loads((tree / "result.json").read_text())["score"]


def by_pickle(tree: Path) -> Any:
    """What the candidate pickled, loaded here."""
    subprocess.run([sys.executable, "program.py"], cwd=tree, capture_output=True, timeout=10, check=False)
    return pickle.loads((tree / "result.pkl").read_bytes())


GRADER = """
import sys
sys.path.insert(0, sys.argv[1])
import json, math
import program
answer = program.value(3)
print(json.dumps({"score": float(math.fabs(answer - 9) < 1e-9)}))
"""


def by_import(tree: Path) -> float:
    """Import the candidate into the grader's process and compare there."""
    done = subprocess.run([sys.executable, "-c", GRADER, str(tree)], capture_output=True, text=True, timeout=10, check=False)
    return float(json.loads(done.stdout.strip().splitlines()[-1])["score"])

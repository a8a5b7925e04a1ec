"""The evaluator the peers are given: the task's exact checker, the score as `combined_score`.

openevolve imports it and calls `evaluate(path)`; shinka runs it with --program_path and --results_dir. EVOLVE_BENCH_TASK
names the task, EVOLVE_BENCH_LOG a file that gets one line [time, score or null, CPU seconds] an evaluation, failed ones
included. The programs hold a literal table and nothing that needs a sandbox (proposer.py wrote them); still each is
compiled in an empty namespace with a CPU limit on the process where that is ours (shinka).
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from pathlib import Path

import proposer


def measured(path: str) -> tuple[float | None, str]:
    """Score of the program at `path` and why it has none."""
    try:
        space: dict[str, object] = {}
        exec(compile(Path(path).read_text(), "program.py", "exec"), space)
        return proposer.scorer(os.environ["EVOLVE_BENCH_TASK"])(space["answer"]()), ""  # type: ignore[operator]
    except Exception as error:  # noqa: BLE001  a candidate's failure of any kind is its own
        return None, f"{type(error).__name__}: {error}"


def note(score: float | None, cpu: float) -> None:
    with open(os.environ["EVOLVE_BENCH_LOG"], "a", encoding="ascii") as file:
        file.write(json.dumps([time.time(), score, round(cpu, 6)]) + "\n")


def evaluate(path: str) -> dict[str, float | str]:
    began = time.process_time()
    score, why = measured(path)
    note(score, time.process_time() - began)
    return {"combined_score": score} if score is not None else {"combined_score": 0.0, "error": why}


def main(words: list[str]) -> int:
    options = dict(zip(words[::2], words[1::2], strict=True))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    score, why = measured(options["--program_path"])
    place = Path(options["--results_dir"])
    place.mkdir(parents=True, exist_ok=True)
    metrics = {"combined_score": score or 0.0, "public": {}, "private": {}}
    (place / "metrics.json").write_text(json.dumps(metrics))
    (place / "correct.json").write_text(json.dumps({"correct": score is not None, "error": why}))
    note(score, time.process_time())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

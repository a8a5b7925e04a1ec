"""What the key-less parts of the policy are worth on bundled tasks and on models of them, each arm at equal evaluations.

    python benchmarks/tasks/parts.py [--seeds 4] [--models NAME,...] [--arms NAME,...]     # appends to parts.jsonl
    python benchmarks/tasks/parts.py --summary                                             # only what is on record
    python benchmarks/tasks/parts.py --alone                                               # the tuner's method by itself, repeatable
    python benchmarks/tasks/parts.py --smoke                                               # one seed, 60 evaluations, not kept

Whole searches with the real archive and mutators; only the evaluator is a model in this process, which reads the numbers
(or signs) out of the program's text and executes nothing: circles (52 numbers, circle_packing), coefficients (six, a
polynomial for 2**x), signs (a string of 64, low_autocorrelation). A candidate whose text it cannot read is invalid.

`circle_packing` and `exp2_in_c` are the real tasks with their own evaluators, in the jail.

Rows of the arms `tune` and `both` are of an earlier tuner (quasi-random trials and CMA-ES over wide ranges), which is no
longer what a search with other mutators does; they stay for the record.

An arm is a policy (population/policy.py) that differs from `base` in the parts named. A row is appended for each finished
run; one on record is not run again.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evolve import api
from evolve.evaluators.evaluator import Job, Stage
from evolve.evaluators.executors import InProcessExecutor
from evolve.mutators import trust
from evolve.mutators.tune import ROOM
from evolve.opening import Opened
from evolve.session import Session
from evolve.settings import RunSettings
from evolve.tasks.evidence import Evidence, Failure, FailureKind, Sample
from evolve.tasks.statistics import t_quantile, variance

HERE = Path(__file__).resolve().parent
TASKS = HERE.parents[1] / "tasks"
BASE = {"tune": 0.0, "ladder": False}
ARMS: dict[str, dict[str, Any]] = {
    "base": {},
    "near": {"tune": 0.15},  # the default's tuner: near studies, and a polish where the task has one
    "ladder": {"ladder": True, "lineages": True},
    "no cross": {"cross": 0.0},
    "no other": {"other": 0.0},
    "no fix": {"fix": 0.0},
    "no climb": {"climb": 0},
    "no levels": {"levels": False},
    "no duplicates": {"duplicates": False},
    "opening 3": {"opening": 3},
}
"""All but `near` and `ladder` are compared without tuner and ladder, so that one part differs at a time."""
TOML = """
[task]
name = "model"
editable = ["program.py"]
[evaluate]
command = "true"
metrics = [{ name = "score", goal = "max", pattern = "(.+)" }]
repeats = { screen = 1, confirm = 1 }
"""


def circles(names: Mapping[str, Any]) -> float:
    """The sum of radii that circle_packing's seed gives to these centres."""
    centres = [(min(max(float(x), 0.0), 1.0), min(max(float(y), 0.0), 1.0)) for x, y in names["CENTRES"]]
    if len(centres) != 26:
        raise ValueError("not 26 centres")
    placed: list[tuple[float, float, float]] = []
    for i, (x, y) in enumerate(centres):
        room = min(x, y, 1 - x, 1 - y)
        room = min([room, *(math.hypot(x - u, y - v) - r for u, v, r in placed)])
        room = min([room, *(math.hypot(x - u, y - v) / 2 for u, v in centres[i + 1 :])])
        if room <= 0:
            raise ValueError("a circle without room")
        placed.append((x, y, room))
    return sum(r for _, _, r in placed)


def coefficients(names: Mapping[str, Any]) -> float:
    """Digits of the root mean square relative error of a polynomial in 2x - 1 for 2**x on 0..1."""
    values = [float(names[name]) for name in "ABCDEF"]
    total = 0.0
    for k in range(65):
        x = k / 64
        u = 2 * x - 1
        got = sum(c * u**power for power, c in enumerate(values))
        total += (got / 2**x - 1) ** 2
    return -0.5 * math.log10(max(total / 65, 1e-30))


def signs(names: Mapping[str, Any]) -> float:
    """The merit factor of 64 signs (Golay 1972)."""
    text = names["SIGNS"]
    if len(text) != 64 or not set(text) <= {"+", "-"}:
        raise ValueError("not 64 signs")
    values = [1 if sign == "+" else -1 for sign in text]
    energy = sum(sum(a * b for a, b in zip(values, values[k:], strict=False)) ** 2 for k in range(1, 64))
    return 64**2 / (2 * energy)


MODELS: dict[str, tuple[Callable[[Mapping[str, Any]], float], int]] = {
    "circles": (circles, 800), "coefficients": (coefficients, 500), "signs": (signs, 500),
}  # fmt: skip
"""Name -> (score, evaluations of a run)."""


def alone(step: float, alike: bool, trials: int = 73) -> float:
    """Digits that the near tuner's method reaches on `coefficients` by itself. step: the first region's radius in the natural
    steps of the numbers. alike: one natural step for all, their median size; else each number's own size."""
    start = np.array([float(line.partition("=")[2]) for line in program("coefficients").splitlines()])
    size = np.full(len(start), np.median(np.abs(start))) if alike else np.abs(start)
    values: dict[int, float | None] = {}

    def score(point: Sequence[float]) -> float:
        return coefficients(dict(zip("ABCDEF", start + (np.asarray(point) - 0.5) * 2 * ROOM * size, strict=True)))

    base = score([0.5] * len(start))
    for number in range(trials):
        point = trust.next_point([0.5] * len(start), base, values, number, step / (2 * ROOM))
        if point is None:
            break
        values[number] = score(point.tolist())
    return max(value for value in (base, *values.values()) if value is not None)


REAL = {"circle_packing": 600, "exp2_in_c": 300}
"""Bundled tasks -> evaluations of a run."""


def program(model: str) -> str:
    if model == "circles":
        text = (TASKS / "circle_packing/seed/program.py").read_text()
        return text[text.index("CENTRES") : text.index("def whole")]
    if model == "signs":
        return 'SIGNS = "' + "+-" * 32 + '"\n'
    return "".join(f"{name} = {1.0 if name == 'A' else 0.1}\n" for name in "ABCDEF")


def names_of(text: str) -> dict[str, Any]:
    """Names with a literal value in a text. Raises ValueError, SyntaxError."""
    found = {}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found[node.targets[0].id] = ast.literal_eval(node.value)
    return found


class Model:
    """An evaluator that reads a program's literals and scores them."""

    def __init__(self, opened: Opened, score: Callable[[Mapping[str, Any]], float]) -> None:
        self.opened, self.score = opened, score

    def digest(self) -> str:
        return "model"

    def stages(self) -> Sequence[Stage]:
        return (Stage("run", 1, 5.0),)

    def measure(self, job: Job, progress: Callable[[str], None]) -> Evidence:
        samples, failures = [], {}
        for tree in job.trees:
            text = (self.opened.archive.store.file(tree, "program.py") or b"").decode("utf-8", "replace")
            try:
                value = self.score(names_of(text))
            except (ValueError, SyntaxError, TypeError, KeyError, OverflowError, RecursionError, AttributeError) as error:
                failures[tree] = Failure(FailureKind.CRASH, str(error)[:200] or "unreadable")
                continue
            samples += [Sample(tree, {"score": value}, job.first_block + n, 0.001) for n in range(job.blocks)]
        site = self.opened.sites["model"]
        return Evidence(
            job.id, job.trees, site.task_digest, site.evaluator, site.machine, job.stage, samples=tuple(samples),
            failures=failures, sandbox="none",
        )  # fmt: skip

    def close(self) -> None:
        return None


def search(model: str, arm: str, seed: int, evaluations: int) -> dict[str, Any]:
    """One run in a folder of its own; its row."""
    score, _ = MODELS[model]
    with tempfile.TemporaryDirectory(prefix="evolve-parts-") as place:
        (Path(place) / "program.py").write_text(program(model))
        (Path(place) / "evolve.toml").write_text(TOML)
        for words in (["init", "-q"], ["add", "."], ["-c", "user.name=a", "-c", "user.email=a@b.invalid", "commit", "-qm", "Start"]):
            subprocess.run(["git", *words], cwd=place, check=True)
        settings = RunSettings(
            where=Path(place), seed=seed, workers=1, evaluations=evaluations, publish=False, control=False, policy={**BASE, **ARMS[arm]},
        )  # fmt: skip
        return played(api.open_session(settings, executor=lambda opened: InProcessExecutor({"model": Model(opened, score)}, 1)), model, arm)


def real(task: str, arm: str, seed: int, evaluations: int) -> dict[str, Any]:
    """One run of a bundled task in a folder of its own; its row."""
    with tempfile.TemporaryDirectory(prefix="evolve-parts-") as place:
        settings = RunSettings(
            tasks=(task,), where=Path(place), seed=seed, workers=1, evaluations=evaluations, publish=False, control=False,
            policy={**BASE, **ARMS[arm]},
        )  # fmt: skip
        return played(api.open_session(settings), task, arm)


def played(session: Session, model: str, arm: str) -> dict[str, Any]:
    load, began = os.getloadavg()[0], time.monotonic()
    result = api.run(session)
    if result.reason != "evaluations":
        sys.exit(f"the run ended early ({result.reason}); no row is kept of it")
    state, (task, best) = session.state, next(iter(result.best.items()))
    reigns, evaluations = state.lineage.reigns.get(task, []), result.evaluations
    marks = {share: max((r.fitness or 0.0 for r in reigns if r.evaluated <= share * evaluations), default=None) for share in (0.25, 0.5)}
    return {
        "model": model, "arm": arm, "seed": session.search.seed, "evaluations": evaluations, "best": best.fitness,
        "at": marks, "by_tuning": sum(state.candidates[r.candidate].operator.startswith("tune/") for r in reigns),
        "promotions": len(reigns), "tuned": state.studies.evaluations.get(task, 0),
        "steps": state.plateaus.count.get(task, 0), "seconds": round(time.monotonic() - began, 1), "load": round(load, 1),
    }  # fmt: skip


def lead(pairs: Sequence[tuple[float, float]]) -> list[float] | None:
    """Mean difference of pairs and Student's 95% interval of it; None for fewer than three."""
    if len(pairs) < 3:
        return None
    gaps = [a - b for a, b in pairs]
    half = t_quantile(0.975, len(gaps) - 1) * math.sqrt(variance(gaps) / len(gaps))
    return [round(value, 4) for value in (statistics.fmean(gaps), statistics.fmean(gaps) - half, statistics.fmean(gaps) + half)]


def summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """One line a model and arm; over_base: wins and losses of the same seeds against the arm `base`."""
    out = []
    for model in dict.fromkeys(row["model"] for row in rows):
        base = {row["seed"]: row["best"] for row in rows if row["model"] == model and row["arm"] == "base"}
        for arm in dict.fromkeys(row["arm"] for row in rows):
            mine = {row["seed"]: row["best"] for row in rows if row["model"] == model and row["arm"] == arm}
            if not mine:
                continue
            pairs = [(mine[seed], base[seed]) for seed in mine if seed in base]
            out.append({
                "model": model, "arm": arm, "runs": len(mine), "min": round(min(mine.values()), 4),
                "median": round(statistics.median(mine.values()), 4), "max": round(max(mine.values()), 4),
                "over_base": [sum(a > b for a, b in pairs), sum(a < b for a, b in pairs)], "lead": lead(pairs),
            })  # fmt: skip
    return out


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=",".join(MODELS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--out", type=Path, default=HERE / "parts.jsonl")
    parser.add_argument("--summary", action="store_true")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    options = parser.parse_args(arguments)
    if options.alone:
        for alike in (True, False):
            print(json.dumps({"alike": alike, "digits": {step: round(alone(step, alike), 2) for step in (0.1, 0.3, 1.0)}}))
        return 0
    rows: list[dict[str, Any]] = []
    if not options.smoke and options.out.exists():
        rows = [json.loads(line) for line in options.out.read_text().splitlines()]
    done = {(row["model"], row["arm"], row["seed"]) for row in rows}
    for seed in range(0 if options.summary else 1 if options.smoke else options.seeds):
        for model in options.models.split(","):
            run = real if model in REAL else search
            evaluations = 60 if options.smoke else REAL[model] if model in REAL else MODELS[model][1]
            for arm in options.arms.split(","):
                if (model, arm, seed) in done:
                    continue
                rows.append(run(model, arm, seed, evaluations))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
                if not options.smoke:
                    with options.out.open("a") as file:
                        file.write(json.dumps(rows[-1]) + "\n")
    for line in summary(rows):
        print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(main())

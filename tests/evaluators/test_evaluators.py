"""The command and script evaluators on real trees in a real sandbox."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from evolve.evaluators.command import CommandEvaluator
from evolve.evaluators.evaluator import Job, Site
from evolve.evaluators.referee.secret import Secrets
from evolve.evaluators.script import ScriptEvaluator
from evolve.evaluators.testing import EvaluatorContract
from evolve.tasks.errors import BaselineError, GraderError, InfrastructureError
from evolve.tasks.evidence import FailureKind
from evolve.tasks.verdict import CONFIRM, STRICT
from tests.evaluators.conftest import MakeTree, job

pytestmark = pytest.mark.jail

COMMAND = """
[task]
name = "t"
editable = ["program.py"]
[evaluate]
gates = ["python3 -m py_compile program.py"]
command = "python3 program.py"
metrics = [{ name = "loss", goal = "min", pattern = '^loss: (\\S+)' }]
timeout = "2s"
"""

SCRIPT = """
[task]
name = "t"
editable = ["program.py"]
[evaluate]
script = "evaluate.py"
metrics = [{ name = "score" }]
timeout = "2s"
"""

GRADE = """
def evaluate(trial):
    value = trial.call("program.py:value", trial.random.random())
    if not isinstance(value, (int, float)):
        raise trial.Incorrect("value() must return a number")
    return {"score": value}
"""


class TestCommand(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, site: Callable[..., Site], tree: MakeTree) -> Iterator[CommandEvaluator]:
        made = CommandEvaluator(site(COMMAND, tree(**{"program.py": "print('loss: 1.5')"})))
        yield made
        made.close()

    @pytest.fixture
    def good(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "print('loss: 1.5')"}), blocks=2, first_block=3)

    @pytest.fixture
    def bad(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "print('loss: nan')"}))

    def measured(self, evaluator: CommandEvaluator, tree: MakeTree, text: str, **more: object) -> object:
        name = tree(**{"program.py": text})
        evidence = evaluator.measure(job(name, **more), lambda _: None)  # type: ignore[arg-type]
        assert evidence.self_reported
        failure = evidence.failures.get(name)
        return (failure.kind, failure.message) if failure else evidence.of(name)[0].metrics["loss"]

    def test_the_last_match_counts(self, evaluator: CommandEvaluator, tree: MakeTree) -> None:
        assert self.measured(evaluator, tree, "print('loss: 3')\nprint('loss: 2')\nprint('done')") == 2.0

    @pytest.mark.parametrize(
        ("text", "kind", "says"),
        [
            ("print('nothing')", FailureKind.METRIC, "no line"),
            ("print('loss: inf')", FailureKind.METRIC, "inf"),
            ("print('loss: 1e301')", FailureKind.METRIC, "1e\\+301"),
            ("print('loss: abc')", FailureKind.METRIC, "abc"),
            ("print('loss: 1')\nraise SystemExit(3)", FailureKind.CRASH, "exit code 3"),
            ("this is no program (", FailureKind.GATE, "py_compile"),
            ("import time\nprint('loss: 1', flush=True)\ntime.sleep(60)", FailureKind.TIMEOUT, "2 s"),
        ],
    )
    def test_failures_are_evidence(
        self, evaluator: CommandEvaluator, tree: MakeTree, text: str, kind: FailureKind, says: str
    ) -> None:
        got = self.measured(evaluator, tree, text)
        assert isinstance(got, tuple) and got[0] is kind and re.search(says, got[1]), got

    def test_protected_files_come_from_the_base(
        self, evaluator: CommandEvaluator, tree: MakeTree, site: Callable[..., Site]
    ) -> None:
        base = tree(**{"program.py": "import helper\nprint('loss:', helper.LOSS)", "helper.py": "LOSS = 5"})
        cheat = tree(**{"program.py": "import helper\nprint('loss:', helper.LOSS)", "helper.py": "LOSS = 0", "new.py": "x"})
        other = CommandEvaluator(site(COMMAND, base))
        evidence = other.measure(job(cheat), lambda _: None)
        other.close()
        assert evidence.of(cheat)[0].metrics["loss"] == 5.0


class TestMetricsFile:
    TOML = COMMAND.replace("metrics = [", 'metrics_file = "out.json"\nmetrics = [').replace(", pattern = '^loss: (\\S+)'", "")

    @pytest.fixture
    def evaluator(self, site: Callable[..., Site], tree: MakeTree) -> Iterator[CommandEvaluator]:
        made = CommandEvaluator(site(self.TOML, tree(**{"program.py": ""})))
        yield made
        made.close()

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("open('out.json','w').write('{\"loss\": NaN}')", "NaN"),
            ("open('out.json','w').write('{\"loss\": 1e999}')", "range"),
            ("open('out.json','w').write('{\"loss\": 1, \"loss\": 2}')", "twice"),
            ("open('out.json','w').write('['*100 + ']'*100)", "deeper"),
            ("open('out.json','w').write('{\"loss\": ' + '9'*5000 + '}')", "digits"),
            ("open('out.json','w').write('{\"loss\": \"low\"}')", "no number"),
            ("open('out.json','w').write('{}')", "missing"),
            ("open('out.json','w').write(' '*(2<<20))", "JSON|large|allowed"),
            ("import os; os.symlink('/etc/passwd', 'out.json')", "no regular file"),
            ("import os; os.mkfifo('out.json')", "no regular file"),
            ("import os; os.mkdir('out.json')", "no regular file"),
            ("pass", "no regular file"),
        ],
    )
    def test_bad_files(self, evaluator: CommandEvaluator, tree: MakeTree, text: str, says: str) -> None:

        name = tree(**{"program.py": text})
        failure = evaluator.measure(job(name), lambda _: None).failures[name]
        assert failure.kind in (FailureKind.METRIC, FailureKind.OUTPUT) and re.search(says, failure.message), failure

    def test_a_good_file(self, evaluator: CommandEvaluator, tree: MakeTree) -> None:
        name = tree(**{"program.py": "open('out.json','w').write('{\"loss\": 0.25, \"other\": [1]}')"})
        assert evaluator.measure(job(name), lambda _: None).of(name)[0].metrics == {"loss": 0.25}


class TestScript(EvaluatorContract):
    @pytest.fixture
    def evaluator(self, site: Callable[..., Site], tree: MakeTree) -> Iterator[ScriptEvaluator]:
        made = ScriptEvaluator(site(SCRIPT, tree(**{"program.py": "def value(x): return 1"}), GRADE))
        yield made
        made.close()

    @pytest.fixture
    def good(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "def value(x):\n    return x"}), blocks=2, first_block=1)

    @pytest.fixture
    def bad(self, tree: MakeTree) -> Job:
        return job(tree(**{"program.py": "def value(x):\n    return 'high'"}))

    def test_blocks_differ_and_a_block_is_shared(self, evaluator: ScriptEvaluator, tree: MakeTree) -> None:
        """Two trees alternate ABBA within a block on the same hidden instance; the next block has another."""
        one, two = (tree(**{"program.py": f"def value(x):\n    return x  # {i}"}) for i in range(2))
        evidence = evaluator.measure(job(one, two, stage=CONFIRM, blocks=3, first_block=4), lambda _: None)
        assert [(s.tree == one, s.block) for s in evidence.samples] == [
            (True, 4), (False, 4), (False, 5), (True, 5), (True, 6), (False, 6),
        ]  # fmt: skip
        scores = {s.block: s.metrics["score"] for s in evidence.of(one)}
        assert scores == {s.block: s.metrics["score"] for s in evidence.of(two)} and len(set(scores.values())) == 3

    def test_a_secret_can_be_revealed_and_checked(self, evaluator: ScriptEvaluator, good: Job) -> None:
        evidence = evaluator.measure(good, lambda _: None)
        folder = Path(evaluator.site.scratch) / "secrets"
        secret = Secrets(folder).reveal(evidence.secret)
        assert secret is not None and secret.commitment == evidence.secret
        assert folder.stat().st_mode & 0o777 == 0o700 and all(p.stat().st_mode & 0o777 == 0o600 for p in folder.iterdir())
        import random

        assert random.Random(secret.of_block(1)).random() == evidence.samples[0].metrics["score"]

    @pytest.mark.parametrize(
        ("text", "kind"),
        [
            ("def value(x): raise ValueError", FailureKind.CRASH),
            ("def value(x):\n    while True: pass", FailureKind.TIMEOUT),
            ("def value(x): return float('nan')", FailureKind.CRASH),
            ("import os\ndef value(x): os._exit(0)", FailureKind.OUTPUT),
            ("def value(x): return 1e300 * 10", FailureKind.METRIC),
            ("def value(x): return 'x' * (8 << 20)", FailureKind.OUTPUT),
            ("def value(:", FailureKind.CRASH),
        ],
    )
    def test_failures_are_evidence(self, evaluator: ScriptEvaluator, tree: MakeTree, text: str, kind: FailureKind) -> None:
        name = tree(**{"program.py": text})
        assert evaluator.measure(job(name), lambda _: None).failures[name].kind is kind

    def test_a_planted_secret_that_comes_out_is_a_cheat(self, evaluator: ScriptEvaluator, tree: MakeTree) -> None:
        """As if a candidate had read the referee: the canary is put into its mouth here."""
        name = tree(**{"program.py": f"def value(x):\n    print({evaluator.bench.canary!r}[::-1])\n    return x"})
        evidence = evaluator.measure(job(name), lambda _: None)
        assert [(c.name, c.outcome.value, c.tree) for c in evidence.checks] == [("canary", "cheat", name)]
        assert evaluator.bench.canary not in str(evidence.checks)

    def test_a_grader_that_fails_is_ours(self, site: Callable[..., Site], tree: MakeTree) -> None:
        seed, other = (tree(**{"program.py": f"def value(x): return {i}"}) for i in (1, 2))
        made = ScriptEvaluator(site(SCRIPT, seed, "def evaluate(trial):\n    return {'score': 1 / 0}"))
        for name, says in ((seed, r"line 2\) on the unchanged seed"), (other, "seed is not judged any more either")):
            with pytest.raises(GraderError, match=f"evaluate.py raised ZeroDivisionError.*{says}"):
                made.measure(job(name), lambda _: None)
        made.close()

    @pytest.mark.parametrize(
        ("grader", "says"),
        [
            ("return {'score': 1 / trial.call('program.py:value', 3)}", r"raised ZeroDivisionError: .*\(line 2\) on what"),
            ("v = trial.call('program.py:value', 3); return {'score': v} if v else None", "returned NoneType"),
        ],
    )
    def test_what_a_grader_cannot_take_is_the_candidates_failure(
        self, site: Callable[..., Site], tree: MakeTree, grader: str, says: str
    ) -> None:
        """Many in a row, too: the seed is judged as ever."""
        seed, zero = (tree(**{"program.py": f"def value(x): return {i}"}) for i in (1, 0))
        made = ScriptEvaluator(site(SCRIPT, seed, f"def evaluate(trial):\n    {grader}"))
        for _ in range(7):
            failure = made.measure(job(zero), lambda _: None).failures[zero]
            assert failure.kind is FailureKind.OUTPUT and re.search(says, failure.message), failure
        assert made.measure(job(seed), lambda _: None).of(seed)[0].metrics == {"score": 1}
        made.close()

    def test_a_machine_that_is_full_is_ours(self, site: Callable[..., Site], tree: MakeTree) -> None:
        seed, other = (tree(**{"program.py": f"def value(x): return {i}"}) for i in (1, 2))
        made = ScriptEvaluator(site(SCRIPT, seed, "import errno\ndef evaluate(trial):\n    raise OSError(errno.ENOSPC, 'full')"))
        with pytest.raises(InfrastructureError, match="full") as caught:
            made.measure(job(other), lambda _: None)
        assert not isinstance(caught.value, GraderError)
        made.close()

    @pytest.mark.parametrize(
        ("program", "found"),
        [
            ("def value(x): return x * x", []),
            ("def value(x):\n    import json\n    return json.load(open('{answers}'))[str(x)]", [("impossible variant", "cheat")]),
            ("def value(x): raise ValueError", []),
            ("def value(x): return x * x if x < 1000 else 'what?'", [("impossible variant", "unable")]),
        ],
    )
    def test_who_solves_the_impossible_variant_has_the_answers(
        self, site: Callable[..., Site], tree: MakeTree, tmp_path: Path, program: str, found: list[tuple[str, str]]
    ) -> None:
        """A task that mounts its answers by mistake: the true score is the same, the planted answers tell them apart."""
        answers = tmp_path / "answers" / "answers.json"
        answers.parent.mkdir()
        answers.write_text('{"7": 49, "1001": 123456}')
        grader = (
            "def evaluate(trial):\n    return {'score': 1.0 if trial.call('program.py:value', 7) == 49 else 0.0}\n"
            "def impossible(trial):\n    return trial.call('program.py:value', 1001) - 123456 == 0\n"
        )
        toml = SCRIPT + f'[environment]\ndata = ["{answers.parent}:ro"]\n'
        seed, name = tree(**{"program.py": "def value(x): return x * x + 0"}), tree(**{"program.py": program.format(answers=answers)})
        made = ScriptEvaluator(site(toml, seed, grader))
        assert not made.measure(job(name), lambda _: None).checks, "not tried at every candidate"
        for stage in STRICT:
            evidence = made.measure(job(name, stage=stage), lambda _: None)
            assert [(c.name, c.outcome.value) for c in evidence.checks] == found
        made.close()

    def test_the_digest_follows_the_grader(self, evaluator: ScriptEvaluator) -> None:
        before = evaluator.digest()
        evaluator.script.write_text(GRADE + "# changed\n")
        assert evaluator.digest() != before


class TestLargeTree:
    def test_a_tree_too_large_to_copy_is_the_candidates_own_all_the_same(self, site: Callable[..., Site], tree: MakeTree) -> None:
        program = (
            "import os\nopen('many/f7', 'a').write('changed')\nopen('many/new', 'w').write('x')\nos.remove('many/f8')\n"
            "os.mkdir('many/deep/er')\nprint('loss:', len(os.listdir('many')) + len(open('many/f7').read()))\n"
        )
        base = tree(**{"program.py": program, "many/deep/x": "", **{f"many/f{i}": "x" for i in range(300)}})
        made = CommandEvaluator(site(COMMAND, base))
        first, second = (made.measure(job(base), lambda _: None) for _ in range(2))
        folder = made.bench.workshop.folder(base)
        assert first.of(base)[0].metrics == second.of(base)[0].metrics == {"loss": 301 + 8}, first.failures
        assert (folder / "many/f7").read_text() == "x" and (folder / "many/f8").exists()
        assert folder.parents[1].stat().st_mode & 0o777 == 0o700
        made.close()


class TestSetup:
    @pytest.mark.parametrize("folder", ["scratch", "with, comma: and colon"])
    def test_setup_lies_under_every_tree_and_runs_once(
        self, site: Callable[..., Site], tree: MakeTree, folder: str, tmp_path: Path
    ) -> None:
        setup = "mkdir built; echo 7 > built/value; date +%N >> built/count; pwd > built/where"
        toml = COMMAND + f'[environment]\nsetup = "{setup}"\n'
        program = (
            "import os\nprint(open('built/where').read().strip() == os.getcwd())\n"
            "print('loss:', open('built/value').read())\nopen('built/value','w').write('0')"
        )
        base = tree(**{"program.py": program})
        for _ in range(2):
            made = CommandEvaluator(replace(site(toml, base), scratch=str(tmp_path / folder)))
            for text in (program, program + "\n"):
                name = tree(**{"program.py": text})
                evidence = made.measure(job(name), lambda _: None)
                assert evidence.of(name)[0].metrics["loss"] == 7.0, evidence.failures
                assert "True" in evidence.artifacts[0].data
            made.close()
        built = next(Path(made.site.scratch).glob("setup-*/tree/built"))
        assert len((built / "count").read_text().split()) == 1 and (built / "value").read_text().strip() == "7"

    def test_a_failing_setup_is_the_baselines(self, site: Callable[..., Site], tree: MakeTree) -> None:
        base = tree(**{"program.py": ""})
        made = CommandEvaluator(site(COMMAND + '[environment]\nsetup = "echo why >&2; exit 4"\n', base))
        with pytest.raises(BaselineError, match="exit code 4: why"):
            made.measure(job(base), lambda _: None)
        made.close()

    def test_data_is_mounted_read_only_at_home_too(self, site: Callable[..., Site], tree: MakeTree) -> None:
        data = Path.home() / ".cache" / "corpus"
        data.mkdir(parents=True)
        (data / "words").write_text("12")
        program = (
            "import os, pathlib\np = pathlib.Path('~/.cache/corpus/words').expanduser()\nprint('loss:', p.read_text())\n"
            "try:\n    p.write_text('0')\nexcept OSError: pass\n"
        )
        base = tree(**{"program.py": program})
        made = CommandEvaluator(site(COMMAND + '[environment]\ndata = ["~/.cache/corpus:ro"]\n', base))
        evidence = made.measure(job(base), lambda _: None)
        made.close()
        assert evidence.of(base)[0].metrics["loss"] == 12.0 and (data / "words").read_text() == "12"

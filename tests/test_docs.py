"""Docs are tested: their commands exist, their Python runs, their links lead somewhere, README and CI do not part."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from evolve.cli import COMMANDS
from evolve.cli.run import command as run_command
from evolve.settings import USER_KEYS
from evolve.tasks import task as task_schema
from tests.search.scene import cli, make_repository

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def commands_of(text: str) -> list[str]:
    """`evolve VERB` as it stands in code, wherever it stands."""
    code = "\n".join(re.findall(r"`[^`\n]+`|```.*?```", text, re.DOTALL))
    return re.findall(r"(?:^|[`$\s/(\"'])evolve ([a-z]+)\b(?! [=:])", code)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_the_docs_exist(page: Path) -> None:
    for name in commands_of(page.read_text(encoding="utf-8")):
        assert name in COMMANDS or name in ("import",), f"{page.name} names 'evolve {name}'"


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
    for target in re.findall(r"\bdocs/[\w./-]+\.md\b", text):
        assert (ROOT / target).exists(), f"{page.name} names {target}"


def test_readme_commands_are_the_ones_ci_runs() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci/run").read_text()
    for name in ("run", "tests"):
        block = re.search(rf"<!-- command: {name} -->\n```sh\n(.+?)\n```", readme, re.DOTALL)
        assert block and "\n" not in block[1], f"README must print the {name} command as one line"
    assert "<!-- command: tests -->" in ci and "README.md" in ci


def test_python_of_the_docs_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.+?)```", (ROOT / "docs/python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "steps from the seed" in done.stdout and "BaselineError" in done.stdout


def test_the_task_of_the_docs_is_judged(tmp_path: Path) -> None:
    """docs/tasks.md: its evolve.toml and evaluate.py, with a program to judge."""
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    toml, grader = (re.findall(rf"```{kind}\n(.+?)```", page, re.DOTALL)[0] for kind in ("toml", "python"))
    program = """def choose(sizes, values, room):
    chosen = []
    for index in range(len(sizes)):
        if sizes[index] <= room:
            chosen.append(index)
            room -= sizes[index]
    return chosen
"""
    place = make_repository(tmp_path / "knapsack", toml=toml)
    for name, text in (("knapsack.py", program), ("evaluate.py", grader)):
        (place / name).write_text(text)
    for words in (["add", "."], ["commit", "-qm", "A task"]):
        subprocess.run(["git", *words], cwd=place, check=True)
    report = json.loads(cli("check", "--json", cwd=place).stdout)[0]
    assert report["metric"] == "value" and report["seed"] > 0
    assert {f["name"]: f["level"] for f in report["findings"]}["broken"] == "ok"


def test_every_key_of_a_task_is_documented() -> None:
    page = (ROOT / "docs/tasks.md").read_text(encoding="utf-8")
    for section, keys in task_schema._SCHEMA.items():
        for key in keys:
            named = re.search(rf"`[^`\n]*\b{key}\b[^`\n]*`", page)
            assert named, f"docs/tasks.md does not name {section}.{key}"


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs/cli.md").read_text(encoding="utf-8")
    variables = {parameter.envvar for parameter in run_command.params if getattr(parameter, "envvar", None)}
    assert variables == set(re.findall(r"`(EVOLVE_[A-Z_]+)`", page.partition("\n## evolve")[0]))
    flags = {flag.lstrip("-") for parameter in run_command.params for flag in parameter.opts}
    assert set(USER_KEYS) <= flags


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"(?:^|[\s`'\"(=])/(?:root|home/\w+|work|tmp/pytest)\b", text, re.MULTILINE), page.name


def test_the_index_links_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"({page.name})" in index, f"docs/index.md does not link {page.name}"


def test_the_command_line_page_is_current() -> None:
    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs/make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == module.text(), "run: python docs/make_cli.py"

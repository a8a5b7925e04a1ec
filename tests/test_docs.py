"""Docs are tested: their commands exist, their Python runs, their links lead somewhere, README and CI do not part."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from evolve.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def commands_of(text: str) -> list[str]:
    """`evolve VERB` as it stands in code, wherever it stands."""
    return re.findall(r"(?:^|[`$\s/(\"'])evolve ([a-z]+)\b(?! [=:])", "\n".join(re.findall(r"`[^`\n]+`|```.*?```", text, re.DOTALL)))


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


def test_no_page_names_a_place_of_one_machine() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert not re.search(r"/(?:root|home/\w+|tmp/pytest)\b", text), page.name


def test_the_command_line_page_is_current() -> None:
    import importlib.util

    spec = importlib.util.spec_from_file_location("make_cli", ROOT / "docs/make_cli.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (ROOT / "docs/cli.md").read_text(encoding="utf-8") == module.text(), "run: python docs/make_cli.py"

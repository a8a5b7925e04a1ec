"""What tests share: optional parts that may be skipped, unless EVOLVE_REQUIRE says that they must be there."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

_CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def _missing(part: str) -> str:
    """Why an optional part is not here, or an empty string."""
    if part == "torch":
        return "" if importlib.util.find_spec("torch") else "torch is not installed"
    if part == "browser":
        if not any(shutil.which(name) for name in _CHROMIUM):
            return "no Chromium on the PATH"
        return "" if importlib.util.find_spec("playwright") else "playwright is not installed"
    if part == "node":
        return "" if shutil.which("node") and shutil.which("npm") else "no Node.js with npm on the PATH"
    if part == "jail":
        return _no_jail()
    if part == "gpu":
        return "" if shutil.which("nvidia-smi") else "no NVIDIA GPU"
    raise ValueError(f"no optional part {part!r}")


@functools.cache
def _no_jail() -> str:
    from evolve.evaluators.sandbox.ladder import strongest

    rung = strongest()
    return "" if rung in ("native", "userns", "bubblewrap") else f"the strongest sandbox rung here is {rung!r}"


def require(part: str) -> None:
    """Skip the calling test or module with a reason where `part` is not here; fail where EVOLVE_REQUIRE names it."""
    if why := _missing(part):
        missing(part, why)


def missing(part: str, why: str) -> NoReturn:
    """Skip the calling test or module, or fail it where EVOLVE_REQUIRE names `part`."""
    if part in os.environ.get("EVOLVE_REQUIRE", "").split(","):
        pytest.fail(f"EVOLVE_REQUIRE names {part!r}, but {why}")
    pytest.skip(why, allow_module_level=True)


def test_data(*parts: str) -> Path:
    """A path below EVOLVE_TEST_DATA; skips, saying so, where it is not set."""
    root = os.environ.get("EVOLVE_TEST_DATA")
    if not root:
        pytest.skip("EVOLVE_TEST_DATA is not set: no outside data to test on")
    path = Path(root, *parts)
    if not path.exists():
        pytest.fail(f"EVOLVE_TEST_DATA is set, but there is no {path}")
    return path


test_data.__test__ = False  # type: ignore[attr-defined]

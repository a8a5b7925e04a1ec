"""Every notebook runs from top to bottom in a real Jupyter kernel, against what the repository has recorded.

With EVOLVE_SCREENSHOTS naming a folder, the figures are written there.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ROOT / "notebooks"

FIGURES = {"lineage_tour": 1, "search_diagnostics": 3, "kernel_results": 3, "training_results": 3}


@pytest.fixture(autouse=True)
def _one_font_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLCONFIGDIR", str(tmp_path_factory.getbasetemp() / "matplotlib"))


def run(path: Path) -> Any:
    """The executed notebook; a cell that raises fails the test with its traceback."""
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    for extra in ("ipykernel", "pandas", "networkx", "matplotlib"):
        pytest.importorskip(extra)
    book = nbformat.read(path, as_version=4)
    assert not any(cell.get("outputs") for cell in book.cells), (
        "committed without outputs: 'jupyter nbconvert --clear-output'"
    )
    client = nbclient.NotebookClient(
        book,
        timeout=240,
        startup_timeout=240,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    return client.execute()


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_a_notebook_runs(name: str) -> None:
    book = run(NOTEBOOKS / f"{name}.ipynb")
    data = [out["data"] for cell in book.cells for out in cell.get("outputs", []) if "data" in out]
    pictures = [base64.b64decode(one["image/png"]) for one in data if "image/png" in one]
    assert len(pictures) == FIGURES[name] and all(len(picture) > 5000 for picture in pictures)
    if folder := os.environ.get("EVOLVE_SCREENSHOTS"):
        for k, picture in enumerate(pictures):
            Path(folder, f"notebook-{name}-{k}.png").write_bytes(picture)


def test_all_notebooks_are_run() -> None:
    assert sorted(FIGURES) == sorted(path.stem for path in NOTEBOOKS.glob("*.ipynb"))


def test_ranks_correlate_as_spearman_says() -> None:
    from evolve.export.measured import spearman

    assert spearman([1, 2, 3, 4], [10, 20, 30, 40]) == 1.0
    assert spearman([1, 2, 3, 4], [4, 3, 2, 1]) == -1.0
    assert spearman([1, 1, 2], [5, 5, 9]) == pytest.approx(1.0)
    assert spearman([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    assert spearman([1, 1], [1, 2]) == 0.0

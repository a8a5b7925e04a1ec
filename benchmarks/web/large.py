"""The lineage of 100,000 candidates in headless Chromium with software rendering: open, pan, click.

    python -m benchmarks.web.large --out benchmarks/web/results/large.json        (from the repository's root)

The run is synthetic (tests/web/synthetic.py), served by the real server on loopback. `open`: from the address to a
drawn graph that answers, in seconds, each in a fresh profile. `pan`: milliseconds between frames while the graph is
dragged, at three zooms; `draw`: milliseconds the page's own drawing took of each. `clicks`: random candidates brought
into view and clicked with the mouse. Load of the machine before and after is recorded beside.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import platform
import random
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import sync_playwright

from evolve.population.archive import Archive
from evolve.web.columns import lineage
from evolve.web.serve import Server
from tests.population.scene import repository
from tests.web.conftest import FLAGS, TOKEN
from tests.web.synthetic import SyntheticLive, SyntheticRuns, candidates, state_of
from tests.web.test_browser import click, open_large, pan


def quantiles(values: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(values, n=20)
    return {"n": len(values), "median": statistics.median(values), "p95": cut[-1], "max": max(values)}


def measure(n: int, opens: int, clicks: int) -> dict[str, Any]:
    live = SyntheticLive("large", state_of(candidates(n), "large"))
    began = time.perf_counter()
    body = json.dumps(lineage(live), separators=(",", ":")).encode()
    packed = gzip.compress(body, 1)
    found: dict[str, Any] = {
        "candidates": n, "columns_seconds": time.perf_counter() - began, "columns_bytes": len(body), "columns_gz": len(packed),
    }  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patched:
        repo = repository(Path(folder) / "repo")
        Archive.open(repo, create=True, durable=False).close()
        patched.setattr("evolve.web.runs.Runs", lambda archive: SyntheticRuns(archive, live))
        server = Server(repo / ".git" / "evolve" / "archive.git", port=0, token=TOKEN)
        server.start()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
            found["chromium"] = browser.version
            times = []
            for _ in range(opens):
                context = browser.new_context(viewport={"width": 1280, "height": 800})
                page = context.new_page()
                times.append(open_large(page, server))
                if len(times) < opens:
                    context.close()
            found["open"] = times
            found["pan"] = {}
            for steps in (0, 6, 12):
                page.evaluate(f"() => {{ evolveStage.camera.fit(); evolveStage.camera.zoom(-{steps}, 600, 300); evolveStage.redraw() }}")
                page.wait_for_timeout(500)
                page.evaluate("() => { evolveStage.frames.length = 0 }")
                gaps = pan(page, 180)
                drawn = page.evaluate("() => evolveStage.frames")
                found["pan"][f"zoomed in {steps} steps"] = {"gap": quantiles(gaps), "draw": quantiles(drawn)}
            rng = random.Random(7)
            found["clicks"] = {"tried": clicks, "right": sum(click(page, k) == k for k in rng.sample(range(n), clicks))}
            browser.close()
        server.stop()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=100)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    load = os.getloadavg()[0]
    found = measure(options.candidates, options.opens, options.clicks)
    found |= {"cores": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0], "python": platform.python_version()}
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""A run of 100,000 candidates behind the web UI, in headless Chromium with software rendering: open, pan, click, live.

    python -m benchmarks.web.large --keep FOLDER --out benchmarks/web/results/large.json     (from the repository's root)

The archive is real: every candidate is a commit with a tree of its own and its events (asked, born, started, measured,
judged; for half of them a model's request and answer), written through the archive's writer without fsync. The search
that they tell of is simulated: parents mostly among the recent best of an island, 4% crossovers, a third invalid.
With --keep, an archive that is in FOLDER already is measured again.

`first`: the first `evolve ui` on the archive, nothing folded before: seconds from its start to the printed address,
from then to an interactive lineage, and until every event is indexed. `again`: the same with what the first one kept.
`open`: from the address to a drawn graph that answers, each in a fresh profile, the server being up; after the pan and
the clicks, `live`: seconds from an event's flush in another process to the page that counts it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from playwright.sync_api import Page, sync_playwright

from benchmarks.web.simulated import RUN, Simulation, make
from evolve.population.archive import Archive
from evolve.web import kept
from tests.web.conftest import FLAGS, TOKEN
from tests.web.test_browser import click, pan, until

DRAWN = "window.evolveStage?.ready && window.evolveStage.frames.length > 2 && evolveStage.tiles.size > 3"


def quantiles(values: list[float]) -> dict[str, float]:
    cut = statistics.quantiles(values, n=20)
    return {"n": len(values), "median": statistics.median(values), "p95": cut[-1], "max": max(values)}


@contextmanager
def serving(place: Path) -> Iterator[tuple[int, float]]:
    """`evolve ui` in a process of its own: its port, and the seconds until it printed its address."""
    began = time.monotonic()
    words = [sys.executable, "-m", "evolve", "ui", "--port", "0", "--token", TOKEN]
    process = subprocess.Popen(words, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        address = process.stdout.readline()
        yield int(address.split(":")[2].partition("/")[0]), time.monotonic() - began
    finally:
        process.terminate()
        process.wait()


def open_lineage(page: Page, port: int, seconds: float = 600.0) -> float:
    """Seconds from the address to a drawn, answering graph."""
    began = time.monotonic()
    page.goto(f"http://127.0.0.1:{port}/r/{RUN}/lineage?token={TOKEN}", wait_until="commit", timeout=seconds * 1e3)
    until(page, DRAWN, seconds)
    return time.monotonic() - began


def indexed(port: int, began: float) -> float:
    """Seconds since `began` until a page says that all events are indexed; a candidate's page, which is little work."""
    asked = Request(f"http://127.0.0.1:{port}/r/{RUN}/c/0.json", headers={"Authorization": f"Bearer {TOKEN}"})
    while not json.load(urlopen(asked))["indexed"]:
        time.sleep(1.0)
    return time.monotonic() - began


def start(place: Path, browser: Any) -> dict[str, float]:
    with serving(place) as (port, printed):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        began = time.monotonic()
        opened = open_lineage(context.new_page(), port)
        context.close()
        found = {"address": printed, "open": opened, "indexed": indexed(port, began)}
        until_kept(place)
        return found


def until_kept(place: Path) -> None:
    """The index is written just after it is whole."""
    with Archive.open(place, durable=False) as archive:
        while not kept.path(archive.home, RUN).exists():
            time.sleep(0.5)


def used(place: Path, browser: Any, n: int, opens: int, clicks: int, wait: bool = True) -> dict[str, Any]:
    """wait: until the events are indexed; else at once, from the state's checkpoint, the server indexing beside it."""
    found: dict[str, Any] = {"open": []}
    with serving(place) as (port, found["address"]):
        if wait:
            indexed(port, 0.0)
        for _ in range(opens):
            context = browser.new_context(viewport={"width": 1280, "height": 800})
            page = context.new_page()
            found["open"].append(open_lineage(page, port))
            if len(found["open"]) < opens:
                context.close()
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
        found["live"] = live(place, page)
        found["candidate"] = candidate(page, port, rng.sample(range(n), 5))
    return found


def live(place: Path, page: Page) -> list[float]:
    """Seconds from the flush of a birth to the page that counts it."""
    took = []
    with Archive.open(place, durable=False) as archive:
        more = Simulation(archive, archive.writer(RUN, exclusive=True), seed=99, resumed=True)
        for _ in range(3):
            before = page.evaluate("() => evolveStage.graph.n")
            more.candidate()
            more.writer.flush()
            began = time.monotonic()
            until(page, f"evolveStage.graph.n > {before}")
            took.append(time.monotonic() - began)
            page.wait_for_timeout(400)
        more.writer.close()
    return took


def candidate(page: Page, port: int, numbers: list[int]) -> list[float]:
    """Seconds from the address of a candidate to its page with the diff."""
    took = []
    for number in numbers:
        began = time.monotonic()
        page.goto(f"http://127.0.0.1:{port}/r/{RUN}/c/{number}", wait_until="commit")
        until(page, "document.querySelector('.diff .file, #diff .empty') && document.querySelector('#main .evidence')")
        took.append(time.monotonic() - began)
    return took


def forget(place: Path) -> None:
    """As if nothing had ever read the run."""
    with Archive.open(place, durable=False) as archive:
        shutil.rmtree(archive.home / "cache", ignore_errors=True)
        subprocess.run(["git", "-C", archive.path, "update-ref", "-d", f"refs/evolve/{RUN}/checkpoint"], check=True)


def measure(place: Path, n: int, opens: int, clicks: int, first: bool, short: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"candidates": n}
    if first and not short:
        forget(place)
    with Archive.open(place, durable=False) as archive:
        found["events"] = sum(archive.recorded(tip).position + 1 for tip in archive.tips(RUN).values())
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        found["chromium"] = browser.version
        if short:
            return found | used(place, browser, n, opens, clicks, wait=False)
        found["first" if first else "from the checkpoint"] = start(place, browser)
        print(json.dumps(found), flush=True)
        found["again"] = [start(place, browser) for _ in range(2)]
        print(json.dumps(found["again"]), flush=True)
        found |= used(place, browser, n, opens, clicks)
        browser.close()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--candidates", type=int, default=100_000)
    parser.add_argument("--opens", type=int, default=5)
    parser.add_argument("--clicks", type=int, default=100)
    parser.add_argument("--keep", type=Path, help="make the archive in this folder and leave it there")
    parser.add_argument("--not-first", action="store_true", help="keep the state's checkpoint: leave `first` out")
    parser.add_argument("--short", action="store_true", help="only `used`, while the server indexes; no start is timed")
    parser.add_argument("--make", action="store_true", help="only make the archive")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = options.keep or Path(folder, "repo")
        made = make(place, options.candidates) if not place.exists() else {}
        if options.make:
            print(json.dumps(made))
            return
        load = os.getloadavg()[0]
        found = measure(place, options.candidates, options.opens, options.clicks, not options.not_first, options.short)
    found |= made | {
        "cores": os.cpu_count(), "load_before": load, "load_after": os.getloadavg()[0], "python": platform.python_version(),
    }  # fmt: skip
    text = json.dumps(found, indent=1)
    print(text)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()

"""The front-end in a real Chromium: live, hostile, wrong at the door, large, accessible, on a phone.

With EVOLVE_SCREENSHOTS naming a folder, the pictures of the docs are written there.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evolve.export.bundle import unpack
from evolve.population import events as ev
from evolve.tasks.evidence import Artifact, Cost, Evidence
from evolve.tasks.verdict import Status, Verdict
from evolve.web.serve import Server
from tests.pick.scene import PROGRAM, RUN, Scene
from tests.web.conftest import TOKEN, serving
from tests.web.synthetic import SyntheticLive, SyntheticRuns, candidates, state_of

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "notebooks" / "recorded" / "circle_packing-syntactic.bundle"
AXE = ROOT / "evolve" / "web" / "frontend" / "node_modules" / "axe-core" / "axe.min.js"


def until(page: Any, holds: str, seconds: float = 10.0) -> None:
    """Wait for a JavaScript expression to hold. (The page's own policy forbids what `wait_for_function` does.)"""
    deadline = time.monotonic() + seconds
    while not page.evaluate(f"() => !!({holds})"):
        assert time.monotonic() < deadline, f"never came to hold: {holds}"
        time.sleep(0.015)


def enter(page: Any, server: Server, path: str = "") -> None:
    page.goto(f"http://127.0.0.1:{server.port}{path}{'&' if '?' in path else '?'}token={TOKEN}")


# ---- live ------------------------------------------------------------------------------------------------------------


def test_a_live_event_shows_within_a_second_and_the_zoom_stays(page: Any, server: Server, place: Scene) -> None:
    parent = place.base
    for k in range(1, 60):
        parent = place.bear([parent], {f"SPEED = {k}": f"SPEED = {k + 1}"}, float(k + 1), f"step {k}")
    place.promote(parent, 59.0)
    enter(page, server, f"/r/{RUN}/lineage")
    until(page, "window.evolveStage?.ready && window.evolveStage.graph.n === 60")
    page.wait_for_selector(".connection.live")
    page.evaluate("() => { const s = window.evolveStage; s.camera.zx = 0; s.camera.centre(20, s.y[20]); s.redraw() }")
    before = page.evaluate("[evolveStage.camera.zx, evolveStage.camera.ox, evolveStage.y[20]]")
    began = time.monotonic()
    place.bear([parent], {"SPEED = 60": "SPEED = 61"}, 61.0, "step 60")
    place.writer.flush()
    until(page, "document.getElementById('lineage-count').textContent.startsWith('61 ')")
    took = time.monotonic() - began
    assert page.evaluate("[evolveStage.camera.zx, evolveStage.camera.ox, evolveStage.y[20]]") == before
    assert took < 1.0
    page.goto(f"http://127.0.0.1:{server.port}/r/{RUN}")
    page.wait_for_selector("text=61")
    began = time.monotonic()
    place.writer.append(ev.Directive("unroll the inner loop"))
    place.writer.flush()
    page.wait_for_selector("#feed >> text=unroll the inner loop", timeout=3000)
    assert time.monotonic() - began < 1.5  # the page waits 0.4 s for more before it asks again


# ---- hostile ---------------------------------------------------------------------------------------------------------

ATTACK = "<img src=x onerror=\"window.pwned=1\"><script>window.pwned=1</script><svg onload='window.pwned=1'>"


def test_a_candidate_of_script_injections_stays_text(page: Any, server: Server, place: Scene) -> None:
    store = place.archive.store
    program = PROGRAM + f"# {ATTACK}\nX = '</script><script>window.pwned=1</script>'\n"
    files: dict[str, bytes | None] = {"program.py": program.encode(), "<b onmouseover=pwned=1>.py": b"javascript:alert(1)\n"}
    tree = store.edit(store.tree_of(place.base), files)
    commit = store.commit(tree, [place.base], f"{ATTACK}\n", place.writer.now())
    place.writer.append(ev.Born(1, "knobs", commit, tree, (place.base,), 1, ATTACK, ATTACK, ATTACK, "main"), [Artifact("answer-0", ATTACK)])
    evidence = Evidence("1/screen/0", (tree,), "d", "e", "m", "screen", cost=Cost(1.0), facts={ATTACK: ATTACK})
    place.writer.append(ev.Measured("1/screen/0", "knobs", (commit,), "e", evidence), [Artifact(f"log {ATTACK[:20]}", ATTACK)])
    place.writer.append(ev.Judged("knobs", commit, "e", Verdict(Status.INVALID, stage="screen", reason=ATTACK, kind=ATTACK)))
    place.writer.append(ev.Lesson("knobs", ATTACK, (commit,)))
    place.writer.flush()
    page.on("dialog", lambda dialog: pytest.fail(f"a dialog opened: {dialog.message}"))
    enter(page, server, f"/r/{RUN}/c/1")
    page.wait_for_selector(".diff .file")
    page.wait_for_selector("text=Its events")
    for summary in page.query_selector_all("details:not([open]) > summary"):
        summary.click()
    page.wait_for_timeout(300)
    text = page.inner_text("#main")
    assert ATTACK in text, "the injection is shown as the text it is"
    for path in ("", "/lineage?at=1", "/table", "/islands", "/cells", "/pareto", "/compare/0/1", "/c/1?view=unified"):
        page.goto(f"http://127.0.0.1:{server.port}/r/{RUN}{path}")
        page.wait_for_selector("#main > *")
        page.wait_for_timeout(250)
        assert page.evaluate("window.pwned") is None
        assert page.evaluate("document.querySelectorAll('img, #main script, [onerror], [onload], [onmouseover]').length") == 0
    with pytest.raises(Exception, match="TrustedHTML"):
        page.evaluate("document.body.innerHTML = '<b>x</b>'")
    page.problems[:] = [text for text in page.problems if "TrustedHTML" not in text]  # that one was ours


# ---- at the door -----------------------------------------------------------------------------------------------------


def test_a_wrong_token_and_a_foreign_page_see_nothing(chromium: Any, server: Server, tmp_path: Path) -> None:
    context = chromium.new_context()
    page = context.new_page()
    answer = page.goto(f"http://127.0.0.1:{server.port}/r/{RUN}?token=wrong")
    assert answer.status == 401 and "evolve ui" in page.inner_text("body")
    page.goto(f"http://127.0.0.1:{server.port}/?token={TOKEN}")
    assert page.title() == "evolve"
    (tmp_path / "evil.html").write_text("<title>evil</title>")
    evil = context.new_page()
    evil.goto((tmp_path / "evil.html").as_uri())
    got = evil.evaluate(
        f"""async () => {{ try {{ const r = await fetch("http://127.0.0.1:{server.port}/index.json", {{credentials: "include"}});
        return await r.text() }} catch (e) {{ return "blocked" }} }}"""
    )
    assert got == "blocked"
    assert not evil.evaluate(
        f"""() => new Promise(done => {{ const s = document.createElement("script"); s.src = "http://127.0.0.1:{server.port}/static/app.js";
        s.onload = () => done(true); s.onerror = () => done(false); document.head.append(s) }})"""
    )
    context.close()


def test_actions_from_the_browser(chromium: Any, place: Scene) -> None:
    place.bear([place.base], {"SPEED = 1": "SPEED = 2"}, 2.0)
    place.writer.flush()
    for server in serving(place.archive.path, allow_actions=True):
        context = chromium.new_context()
        page = context.new_page()
        enter(page, server, f"/r/{RUN}")
        page.fill("#directive", "prefer short code")
        page.click("text=Give directive")
        page.wait_for_selector("text=On record.")
        page.goto(f"http://127.0.0.1:{server.port}/r/{RUN}/c/1")
        page.click("text=Pin")
        page.wait_for_selector(".chip >> text=pinned")
        context.close()
    kinds = [e.event.kind for e in place.archive.events(RUN)]
    assert kinds[-2:] == ["directive", "pinned"]


# ---- large -----------------------------------------------------------------------------------------------------------

LARGE = int(os.environ.get("EVOLVE_UI_CANDIDATES", "100000"))
SLACK = float(os.environ.get("EVOLVE_UI_SLACK", "3"))
"""The goals (2 s, 20 ms) are for two cores of its own; here they are held with slack, and benchmarks/web measures."""


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from evolve.population.archive import Archive
    from tests.population.scene import repository

    path = tmp_path_factory.mktemp("large")
    Archive.open(repository(path / "repo"), create=True, durable=False).close()
    live = SyntheticLive("large", state_of(candidates(LARGE), "large"))
    with pytest.MonkeyPatch.context() as patched:  # only while this server is made
        patched.setattr("evolve.web.runs.Runs", lambda archive: SyntheticRuns(archive, live))
        server = Server(path / "repo" / ".git" / "evolve" / "archive.git", port=0, token=TOKEN)
    server.start()
    yield server
    server.stop()


def open_large(page: Any, server: Server) -> float:
    """Seconds from the address to a drawn, answering graph."""
    enter(page, server, "/")
    began = time.monotonic()
    page.goto(f"http://127.0.0.1:{server.port}/r/large/lineage", wait_until="commit")
    until(page, "window.evolveStage?.ready && window.evolveStage.frames.length > 2 && evolveStage.tiles.size > 3")
    return time.monotonic() - began


def pan(page: Any, moves: int = 90) -> list[float]:
    """Milliseconds between frames while the graph is dragged about."""
    page.evaluate(
        """() => { window.gaps = []; let last = performance.now(); window.panning = true;
        const step = (now) => { gaps.push(now - last); last = now; if (panning) requestAnimationFrame(step) }; requestAnimationFrame(step) }"""
    )
    page.mouse.move(700, 420)
    page.mouse.down()
    for k in range(moves):
        page.mouse.move(700 + 260 * ((k % 30) / 30 - 0.5) * (1 if (k // 30) % 2 else -1), 420 + 4 * (k % 9))
    page.mouse.up()
    gaps: list[float] = page.evaluate("() => { panning = false; return gaps }")
    return gaps[2:]


@pytest.mark.slow
def test_100_000_candidates_open_pan_and_answer_clicks(page: Any, large: Server) -> None:
    took = open_large(page, large)
    assert took < 2.0 * SLACK, took
    rng = random.Random(3)
    for steps in (0, 6, 12):
        page.evaluate(f"() => {{ evolveStage.camera.zoom(-{steps}, 600, 300); evolveStage.redraw() }}")
        page.wait_for_timeout(300)
        page.evaluate("evolveStage.frames.length = 0")
        gaps = pan(page)
        p95 = statistics.quantiles(gaps, n=20)[-1]
        assert p95 < 20 * SLACK, (steps, p95)
    page.evaluate("() => { evolveStage.camera.fit(); evolveStage.redraw() }")
    for number in rng.sample(range(LARGE), 100):
        assert click(page, number) == number


def click(page: Any, number: int) -> int:
    """Bring a candidate into view as the find box does, then click it with the mouse; the one its panel then shows."""
    x, y = page.evaluate(
        """(number) => { const s = evolveStage, i = s.graph.find(number); s.camera.zx = 0; s.camera.centre(i, s.y[i]); s.redraw();
        const [x, y] = s.camera.screen(i, s.y[i]), box = document.querySelector("canvas").getBoundingClientRect(); return [x + box.left, y + box.top] }""",
        number,
    )
    page.mouse.click(x, y)
    found: int = page.evaluate("() => evolveStage.selected < 0 ? -1 : evolveStage.graph.number[evolveStage.selected]")
    if found >= 0:
        until(page, f"document.querySelector('#panel h2')?.textContent === '#{found}'")
    return found


@pytest.mark.slow
def test_a_candidate_among_100_000_is_found_by_number_and_words(page: Any, large: Server) -> None:
    open_large(page, large)
    number = LARGE - 77
    page.fill("#find", str(number))
    page.wait_for_selector("#found li")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"#panel >> text=#{number}")
    assert f"at={number}" in page.url
    page.keyboard.press("k")
    page.wait_for_selector(f"#panel h2 >> text=#{number - 1}")


# ---- with a real run -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    if not BUNDLE.exists():
        pytest.skip("the recorded run is not part of this installation")
    archive = unpack(BUNDLE, tmp_path_factory.mktemp("recorded"))
    path = archive.path
    archive.close()
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(path.parent.parent)  # so that commands in the pictures name no path of this machine
        yield from serving(path)


VIEWS = {
    "run": "/r/circles", "lineage": "/r/circles/lineage?at=best", "islands": "/r/circles/islands", "table": "/r/circles/table",
    "candidate": "/r/circles/c/best", "compare": "/r/circles/compare/0/best", "pareto": "/r/circles/pareto", "cells": "/r/circles/cells",
    "runs": "/",
}  # fmt: skip


def settle(page: Any, server: Server, view: str) -> None:
    page.goto(f"http://127.0.0.1:{server.port}{VIEWS[view]}")
    page.wait_for_selector("#main > *")
    until(page, "!document.querySelector('.loading')")
    page.wait_for_timeout(400)


def best(server: Server) -> int:
    from tests.web.conftest import Client

    number: int = Client(server.port).json("/r/circles/c/best.json")["number"]
    return number


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_view_breaks_wcag_aa(chromium: Any, recorded: Server, scheme: str) -> None:
    if not AXE.exists():
        pytest.skip("axe-core is not installed: npm ci in evolve/web/frontend")
    context = chromium.new_context(viewport={"width": 1360, "height": 860}, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    enter(page, recorded)
    for view in VIEWS:
        settle(page, recorded, view)
        page.add_script_tag(path=str(AXE))
        found = page.evaluate(
            """async () => (await axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]})).violations
            .map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 120) + " " + n.failureSummary.slice(0, 160)).join(" | "))"""
        )
        assert found == [], (view, found)
        shoot(page, view, scheme)
    context.close()


def shoot(page: Any, view: str, scheme: str) -> None:
    if folder := os.environ.get("EVOLVE_SCREENSHOTS"):
        from PIL import Image

        path = Path(folder, f"ui-{view}-{scheme}.png")
        page.screenshot(path=path)
        Image.open(path).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE).save(path, optimize=True)  # a third of the bytes


WIDEST = """[...document.querySelectorAll("#app *")].filter(e => e.getBoundingClientRect().right > 391 && !e.closest(".scroll, nav, svg, .command"))
.slice(0, 5).map(e => e.outerHTML.slice(0, 100))"""


def test_on_a_phone_nothing_is_wider_than_the_screen(chromium: Any, recorded: Server) -> None:
    context = chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = context.new_page()
    enter(page, recorded)
    for view in VIEWS:
        settle(page, recorded, view)
        wide = page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 391, (view, wide, page.evaluate(WIDEST))
        if view in ("run", "lineage", "candidate"):
            shoot(page, f"phone-{view}", "light")
    context.close()


def test_keys_lead_from_candidate_to_candidate(page: Any, recorded: Server) -> None:
    enter(page, recorded, "/r/circles/c/10")
    page.wait_for_selector("h1 >> text=#10")
    page.keyboard.press("j")
    page.wait_for_selector("h1 >> text=#11")
    page.keyboard.press("k")
    page.wait_for_selector("h1 >> text=#10")
    page.keyboard.press("p")
    until(page, "!document.querySelector('h1')?.textContent.includes('#10')")
    parent = page.inner_text("h1")
    page.keyboard.press("c")
    until(page, f"document.querySelector('h1').textContent !== {parent!r}")
    page.keyboard.press("d")
    until(page, "location.search.includes('against=base')")
    page.go_back()
    page.keyboard.press("?")
    page.wait_for_selector("role=dialog")
    page.keyboard.press("Escape")
    page.wait_for_selector("role=dialog", state="detached")


def test_filters_live_in_the_address(page: Any, recorded: Server) -> None:
    enter(page, recorded, "/r/circles/lineage?status=invalid&colour=operator&y=fitness")
    until(page, "window.evolveStage?.ready && document.getElementById('lineage-count').textContent.includes(' of 400')")
    shown = int(page.inner_text("#lineage-count").split()[0])
    assert shown == page.evaluate("evolveStage.graph.status.slice(0, evolveStage.graph.n).filter(s => s === 2).length") > 0
    page.select_option("select:near(:text('colour'))", "island")
    until(page, "location.search.includes('colour=island') && location.search.includes('status=invalid')")


def test_the_best_has_an_address_in_the_lineage(page: Any, recorded: Server) -> None:
    enter(page, recorded, "/r/circles/lineage?at=best")
    page.wait_for_selector(f"#panel h2 >> text=#{best(recorded)}")


def test_a_cell_of_the_map_opens_its_elite(page: Any, recorded: Server) -> None:
    enter(page, recorded, "/r/circles/cells")
    until(page, "document.querySelectorAll('.chart g.pick').length > 5")
    assert "does not use cells" in page.inner_text("#main")
    page.locator(".chart g.pick").nth(3).hover()
    shown = page.locator(".chart g[pointer-events=none] text").text_content()
    page.locator(".chart g.pick").nth(3).click()
    page.wait_for_selector("h1")
    assert shown.split()[0] == page.inner_text("h1")


def test_pictures_leave_as_svg_and_png(page: Any, recorded: Server) -> None:
    enter(page, recorded, "/r/circles")
    page.wait_for_selector(".chart path")
    for name, magic in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.click(f".chart figcaption >> text={name}")
        data = Path(download.value.path()).read_bytes()
        assert data.startswith(magic) and b"var(--" not in data
    page.goto(f"http://127.0.0.1:{recorded.port}/r/circles/lineage")
    until(page, "window.evolveStage?.ready")
    for name, magic in (("SVG", b"<svg"), ("PNG", b"\x89PNG")):
        with page.expect_download() as download:
            page.click(f".toolbar >> text={name}")
        assert Path(download.value.path()).read_bytes().startswith(magic)


def test_nothing_is_fetched_from_anywhere_else(page: Any, recorded: Server) -> None:
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    enter(page, recorded)
    for view in VIEWS:
        settle(page, recorded, view)
    own = f"http://127.0.0.1:{recorded.port}/"
    assert asked and all(url.startswith((own, "blob:", "data:")) for url in asked)

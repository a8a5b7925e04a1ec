"""The smoke form of benchmarks/web/large.py: the archive it measures is one that the pages can show."""

from __future__ import annotations

import time
from pathlib import Path

from benchmarks.web.simulated import RUN, Simulation, make
from evolve.population.archive import Archive
from evolve.web import columns, pages
from evolve.web.runs import Live


def test_the_simulated_run_is_whole(tmp_path: Path) -> None:
    place = tmp_path / "repo"
    make(place, 60)
    with Archive.open(place, durable=False) as archive:
        live = Live(archive.path, RUN)
        more = Simulation(archive, archive.writer(RUN, exclusive=True), seed=3, resumed=True)
        more.candidate()
        more.writer.close()
        deadline = time.monotonic() + 30
        while not (live.indexed and len(live.order) == 61):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        live.close()
    assert columns.lineage(live)["n"] == 61 and live.state.ledger.evaluations == 61
    found = pages.run(live)
    assert found["failures"] and found["models"] and found["checks"] == {"clock": {"passed": 60}}
    assert pages.cells(live, "knobs")["cells"] and pages.pareto(live, "knobs")["front"]

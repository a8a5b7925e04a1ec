"""--until and the forecast."""

from __future__ import annotations

from pathlib import Path

import pytest

from evolve.cli.progress import line, view
from evolve.cli.status import lines, row
from evolve.errors import UsageError
from evolve.forecast import carried_on, forecast
from evolve.population.archive import Archive
from evolve.population.folds import RunState
from tests.search.scene import TOML, cli, make_repository, open_toy, run_toy


def test_a_run_stops_once_its_champion_is_good_enough(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, result = run_toy(place, evaluations=500, until={"": 5.0})
    assert result.reason == "until" and result.evaluations < 200 and result.exit_code == 0
    assert (result.best["toy"].fitness or 0) >= 5.0
    again, result = run_toy(place, evaluations=500, until={"": 5.0})
    assert result.reason == "until" and again.state.ledger.evaluations == session.state.ledger.evaluations
    _, further = run_toy(place, evaluations=500, until={"toy": 7.0})
    assert (further.best["toy"].fitness or 0) >= 7.0


def test_the_value_is_in_the_metrics_own_direction(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r", toml=TOML.replace('goal = "max"', 'goal = "min"'))
    _, result = run_toy(place, evaluations=500, until={"": 1.0})
    assert result.reason == "until" and -(result.best["toy"].fitness or 0) <= 1.0


def test_until_names_its_task(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    with pytest.raises(UsageError, match="has no task 'elsewhere'; it has toy"):
        open_toy(place, evaluations=3, until={"elsewhere": 1.0})
    done = cli("run", "--until", "much", cwd=place, ok=False)
    assert done.returncode == 2 and "must be a number" in done.stderr


def test_the_best_is_carried_on_over_doublings() -> None:
    points = [(1, 0.0), (16, 1.0), (64, 3.0)]
    assert carried_on(points, 64, 2.0) == pytest.approx(4.0)
    assert carried_on(points, 64, 4.0) == pytest.approx(5.0)
    assert carried_on(points, 64, 1.0) == 3.0
    assert carried_on(points, 10, 2.0) is None and carried_on([], 64, 2.0) is None


def test_status_and_progress_show_where_a_run_is_heading(tmp_path: Path) -> None:
    place = make_repository(tmp_path / "r")
    session, _ = run_toy(place, evaluations=60)
    session.state.ledger.limits["evaluations"] = 240.0
    found = forecast(session.state)
    assert found.limit == "evaluations" and found.evaluations == pytest.approx(240)
    best = session.state.champion("toy")
    assert best is not None and found.best["toy"] >= (best.fitness or 0)
    shown = line(view(session, 1.0))
    assert f"about {found.best['toy']:.4g} by the end" in shown
    facts = row(Archive.open(place), session.state)
    assert facts["forecast"]["limit"] == "evaluations"
    text = "\n".join(lines({**facts, "live": True}))
    assert "forecast" in text and "evaluations used up in" in text and "best about score" in text
    assert forecast(RunState()).limit == ""

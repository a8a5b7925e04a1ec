"""A run as tables for notebooks: candidates as a pandas frame, descent as a networkx graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from evolve.population.folds import RunState
from evolve.tasks.errors import TaskError, UsageError
from evolve.tasks.task import Task

if TYPE_CHECKING:
    import networkx
    import pandas

_EXTRA = "pip install 'evolve-search[analysis]'"

UNITS = {"born": "UTC", "depth": "first-parent steps from the seed", "children": "candidates", "brief": "number"}


def candidates(state: RunState) -> pandas.DataFrame:
    """One row a candidate, in order of birth, indexed by its number.

    | column | what it is |
    |---|---|
    | commit, tree | hex ids |
    | task, island, operator, model, idea | as recorded at birth |
    | brief | number of the brief that ordered it; 0 for a seed or an import |
    | parent, second_parent | hex ids; missing for a seed |
    | depth, children | first-parent steps from the seed; how many candidates have it as a parent |
    | born | UTC time |
    | status | "scored", "invalid", "audit", "cheat"; missing while unjudged |
    | stage, kind, reason | where and why it is not scored |
    | fitness, low, high | sign x first objective with its 95% interval, more is better; NaN unless scored |
    | self_reported | the numbers came from the candidate's own output |
    | standing, pinned | state in the search |
    | champion, was_champion | reigns now; was ever promoted |
    | <metric>, <metric>.low, <metric>.high, <metric>.n | mean, 95% interval and number of samples, in the metric's unit |

    `frame.attrs["units"]` maps column to unit. Raises UsageError where pandas is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise UsageError(f"frames need pandas, which is not installed: {_EXTRA}") from error
    rows = list(state.candidates.values())
    verdicts = [row.verdict for row in rows]
    reigning = set(state.lineage.champions.values())
    columns: dict[str, Any] = {
        "commit": [row.commit for row in rows],
        "tree": [row.tree for row in rows],
        "task": [row.task for row in rows],
        "island": [row.island for row in rows],
        "operator": [row.operator for row in rows],
        "model": [row.model for row in rows],
        "idea": [row.idea for row in rows],
        "brief": [row.brief for row in rows],
        "parent": [row.parents[0] if row.parents else None for row in rows],
        "second_parent": [row.parents[1] if len(row.parents) > 1 else None for row in rows],
        "depth": [row.depth for row in rows],
        "children": [row.children for row in rows],
        "born": pandas.to_datetime([row.born for row in rows], unit="s", utc=True),
        "status": [v.status.value if v else None for v in verdicts],
        "stage": [v.stage if v else "" for v in verdicts],
        "kind": [v.kind if v else "" for v in verdicts],
        "reason": [v.reason if v else "" for v in verdicts],
        "fitness": [v.fitness if v else None for v in verdicts],
        "low": [v.low if v else None for v in verdicts],
        "high": [v.high if v else None for v in verdicts],
        "self_reported": [v.self_reported if v else False for v in verdicts],
        "standing": [row.standing.value for row in rows],
        "pinned": [row.pinned for row in rows],
        "champion": [row.commit in reigning for row in rows],
        "was_champion": [row.was_champion for row in rows],
    }
    for name in dict.fromkeys(name for v in verdicts if v for name in v.metrics):
        estimates = [v.metrics.get(name) if v else None for v in verdicts]
        label = name if name not in columns else f"metric.{name}"
        for part in ("mean", "low", "high", "n"):
            values = [getattr(e, part) if e else None for e in estimates]
            columns[label if part == "mean" else f"{label}.{part}"] = values
    frame = pandas.DataFrame(columns, index=pandas.Index([row.number for row in rows], name="number"))
    for column in ("fitness", "low", "high"):
        frame[column] = frame[column].astype("float64")
    frame.attrs["units"] = UNITS | _metric_units(state)
    return frame


def _metric_units(state: RunState) -> dict[str, str]:
    """Of the tasks' metrics, as their stored files name them."""
    units: dict[str, str] = {}
    for task in (state.lineage.opened.tasks if state.lineage.opened else {}).values():
        try:
            parsed = Task.parse(task.source)
        except TaskError:
            continue  # written by another version: the numbers are there, their unit is not known here
        units |= {metric.name: metric.unit for metric in parsed.evaluate.metrics if metric.unit}
    return units


def lineage(state: RunState) -> networkx.DiGraph:
    """Edges from parent to child; nodes are commits with number, task, island, operator, fitness, status, standing.

    Edge attribute `order`: 0 for the first parent, 1 for the second of a crossover. Raises UsageError where networkx
    is not installed.
    """
    try:
        import networkx
    except ImportError as error:
        raise UsageError(f"the lineage graph needs networkx, which is not installed: {_EXTRA}") from error
    graph = networkx.DiGraph(run=state.run)
    for row in state.candidates.values():
        graph.add_node(
            row.commit,
            number=row.number,
            task=row.task,
            island=row.island,
            operator=row.operator,
            idea=row.idea,
            fitness=row.fitness,
            status=row.verdict.status.value if row.verdict else None,
            standing=row.standing.value,
        )
        for order, parent in enumerate(row.parents):
            if parent in state.candidates:
                graph.add_edge(parent, row.commit, order=order)
    return graph

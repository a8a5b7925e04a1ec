"""A run in the experiment trackers people already have: one small protocol, three of them. Each is an extra.

    step   number of evaluations when a point was taken
    point  "<task>/<metric>" of the best so far, its interval, and what had been spent
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, runtime_checkable

from evolve.errors import UsageError
from evolve.population.archive import Archive
from evolve.tasks.task import Task
from evolve.web.index import Index


@dataclass(frozen=True, slots=True)
class Point:
    """values: name -> number. time: seconds since the epoch."""

    step: int
    time: float
    values: Mapping[str, float]


@dataclass(slots=True)
class Summary:
    """Facts of a run (plain JSON), its final values, and files worth keeping beside it."""

    run: str
    settings: dict[str, Any] = field(default_factory=dict)
    values: dict[str, float] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)


@runtime_checkable
class Exporter(Protocol):
    """Takes points in order of step, then is closed. A context manager; nothing is written after `__exit__`."""

    def __enter__(self) -> Self: ...
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def point(self, point: Point) -> None: ...

    def finish(self, summary: Summary) -> None:
        """The run as a whole, after its last point."""
        ...


def points(archive: Archive, run: str) -> tuple[list[Point], Summary]:
    """A run's best-so-far as points, one at each promotion, at each improvement of the control, and at the end."""
    state, index = archive.state(run), Index()
    for recorded in archive.events(run):
        index.apply(recorded)
    opened = state.lineage.opened
    if opened is None:
        raise UsageError(f"run {run!r} was never opened")
    tasks = {name: Task.parse(task.source) for name, task in opened.tasks.items()}
    found = sorted(_points(index, tasks), key=lambda p: (p.step, p.time))
    summary = Summary(
        run,
        {"mutator": opened.mutator, "selector": opened.selector, "seed": opened.seed, "tool": opened.tool, "tasks": list(tasks)},
        {"evaluations": float(state.ledger.evaluations), "seconds": state.ledger.seconds(), "money": state.ledger.money,
         "gpu_seconds": state.ledger.gpu_seconds, "scored": float(state.lineage.scored)},
    )  # fmt: skip
    for name, task in tasks.items():
        champion = state.champion(name)
        if champion is not None and champion.verdict is not None:
            summary.values |= {f"{name}/{metric}": e.mean for metric, e in champion.verdict.metrics.items()}
            summary.settings[f"{name}/champion"] = champion.commit
            seed = state.candidates[state.lineage.seeds[name]]
            summary.files[f"{name}.patch"] = archive.store.diff(seed.tree, champion.tree)
        summary.files[f"{name}.toml"] = task.source
    return found, summary


def _points(index: Index, tasks: Mapping[str, Task]) -> Iterator[Point]:
    for name, task in tasks.items():
        metric = task.objectives[0]
        for p in index.points.get(name, ()):
            if p.fitness is None:
                continue
            values = {f"{name}/{metric.name}": metric.sign * p.fitness, "spent/seconds": p.seconds, "spent/money": p.money,
                      "spent/gpu_seconds": p.gpu_seconds}  # fmt: skip
            if p.low is not None and p.high is not None and p.low != p.high:
                low, high = sorted((metric.sign * p.low, metric.sign * p.high))
                values |= {f"{name}/{metric.name}.low": low, f"{name}/{metric.name}.high": high}
            yield Point(p.evaluations, p.time, values)
        when = next((p.time for p in index.points.get(name, ())), time.time())
        for label, found in (("control", index.control), ("greedy", index.greedy)):
            last = None
            for step, best in found.get(name, ()):
                if best is not None and best != last:
                    yield Point(step, when, {f"{name}/{label}/{metric.name}": metric.sign * best})
                    last = best


def export(archive: Archive, run: str, exporter: Exporter) -> int:
    """Send a run; returns how many points."""
    found, summary = points(archive, run)
    with exporter:
        for point in found:
            exporter.point(point)
        exporter.finish(summary)
    return len(found)


# ---- TensorBoard -----------------------------------------------------------------------------------------------------


class TensorBoard:
    """Event files in a folder. Raises UsageError where `tensorboard` is not installed."""

    def __init__(self, folder: Path, run: str) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise _missing("tensorboard") from error
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(folder / run))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()

    def point(self, point: Point) -> None:
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
        self._writer.add_event(self._event(wall_time=point.time, step=point.step, summary=self._summary(value=values)))

    def finish(self, summary: Summary) -> None:
        step = int(summary.values["evaluations"])
        values = {name: value for name, value in summary.values.items() if "/" in name}
        self.point(Point(step, time.time(), values))


# ---- MLflow ----------------------------------------------------------------------------------------------------------


class MLflow:
    """A run in an MLflow store. Raises UsageError where `mlflow` (or `mlflow-skinny`) is not installed.

    store: tracking URI. artifacts: URI for files of a new experiment; empty: the store's own default.
    """

    def __init__(self, store: str, run: str, experiment: str = "evolve", artifacts: str = "") -> None:
        try:
            from mlflow.entities import Metric
            from mlflow.tracking import MlflowClient
        except ImportError as error:
            raise _missing("mlflow") from error
        self._metric, self._client = Metric, MlflowClient(tracking_uri=store)
        known = self._client.get_experiment_by_name(experiment)
        number = known.experiment_id if known else self._client.create_experiment(experiment, artifacts or None)
        self.id: str = self._client.create_run(number, run_name=run).info.run_id

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._client.set_terminated(self.id, "FAILED" if kind else "FINISHED")

    def point(self, point: Point) -> None:
        when = int(point.time * 1000)
        self._client.log_batch(self.id, [self._metric(_plain(n), v, when, point.step) for n, v in point.values.items()])

    def finish(self, summary: Summary) -> None:
        step, when = int(summary.values["evaluations"]), int(time.time() * 1000)
        self._client.log_batch(self.id, [self._metric(_plain(n), v, when, step) for n, v in summary.values.items()])
        for name, value in summary.settings.items():
            self._client.log_param(self.id, _plain(name), value)
        for name, text in summary.files.items():
            self._client.log_text(self.id, text, name)


def _plain(name: str) -> str:
    """MLflow allows letters, digits, _ - . space : / in a name."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)


# ---- Weights & Biases ------------------------------------------------------------------------------------------------


class WeightsAndBiases:
    """A run of wandb; offline unless told otherwise. Raises UsageError where `wandb` is not installed."""

    def __init__(self, folder: Path, run: str, project: str = "evolve", *, online: bool = False) -> None:
        try:
            import wandb
        except ImportError as error:
            raise _missing("wandb") from error
        self._run: Any = wandb.init(
            project=project, name=run, dir=str(folder), mode="online" if online else "offline", reinit="create_new",
            settings=wandb.Settings(silent=True, console="off", disable_git=True),
        )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._run.finish(exit_code=1 if kind else 0)

    def point(self, point: Point) -> None:
        self._run.log({"evaluations": point.step, **point.values})

    def finish(self, summary: Summary) -> None:
        self._run.config.update(summary.settings)
        self._run.summary.update(summary.values)
        for name, text in summary.files.items():
            Path(self._run.dir, name.replace("/", "-")).write_text(text, encoding="utf-8")


NAMES = ("tensorboard", "mlflow", "wandb")


def load(name: str, target: str, run: str) -> Exporter:
    """An exporter by name, or one registered under the entry point group `evolve.exporters` (called with target, run).

    Raises UsageError naming the known ones.
    """
    from importlib.metadata import entry_points

    if name == "tensorboard":
        return TensorBoard(Path(target), run)
    if name == "mlflow":
        if "://" in target:
            return MLflow(target, run)
        place = Path(target).resolve()
        return MLflow(f"sqlite:///{place}", run, artifacts=place.with_name(f"{place.stem}-artifacts").as_uri())
    if name == "wandb":
        return WeightsAndBiases(Path(target), run)
    others = {point.name: point for point in entry_points(group="evolve.exporters")}
    if name not in others:
        raise UsageError(f"no exporter {name!r}; there are: {', '.join([*NAMES, *others])}")
    made: Exporter = others[name].load()(target, run)
    return made


def _missing(package: str) -> UsageError:
    return UsageError(f"this export needs {package}, which is not installed: pip install 'evolve-search[{package}]'")

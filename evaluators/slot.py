"""The process of one slot: the referee. Holds graders, hidden inputs and the clock; runs candidates in its sandbox.

Speaks length-prefixed JSON with the executor: {"sites": ...} once, then {"job": ...} -> {"evidence": ...} or
{"error": ...}, with {"progress": ...} in between. Ends when the socket closes.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

from evolve.evaluators import load
from evolve.evaluators.evaluator import Evaluator, Job, Site
from evolve.evaluators.sandbox import system
from evolve.tasks.errors import EvolveError
from evolve.tasks.records import from_json, to_json
from evolve.tasks.task import Task


class _Line:
    def __init__(self, connection: socket.socket) -> None:
        self._file = connection.makefile("rwb")

    def receive(self) -> dict[str, Any] | None:
        head = self._file.read(4)
        if len(head) < 4:
            return None
        data = self._file.read(int.from_bytes(head, "little"))
        return json.loads(data) if data else None

    def send(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":"), allow_nan=False).encode()
        self._file.write(len(data).to_bytes(4, "little") + data)
        self._file.flush()


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controller's to deal with
    system.prctl(system.PR_SET_DUMPABLE, 0)  # memory and files of the referee are out of a candidate's reach
    line = _Line(socket.socket(fileno=int(sys.argv[1])))
    opening = line.receive()
    if opening is None:
        return
    sites = {name: _site(data) for name, data in opening["sites"].items()}
    graders: dict[str, Evaluator] = {}
    try:
        while (message := line.receive()) is not None:
            job = from_json(Job, message["job"])
            try:
                if job.task not in graders:
                    graders[job.task] = load(sites[job.task])
                evidence = graders[job.task].measure(job, lambda text: line.send({"progress": text[:200]}))
                line.send({"evidence": to_json(evidence)})
            except EvolveError as error:
                line.send({"error": str(error), "kind": type(error).__name__})
            except (BrokenPipeError, ConnectionError):
                raise
            except Exception as error:  # noqa: BLE001 - a fault of ours or of a third party's evaluator, told with its place
                where = traceback.format_exc().strip().splitlines()[-3:]
                line.send({"error": f"evaluation of job {job.id} failed: {error!r} ({' | '.join(w.strip() for w in where)})"})
    except (BrokenPipeError, ConnectionError):
        return  # the controller is gone, and with it whoever wanted to know
    finally:
        for grader in graders.values():
            grader.close()


def _site(data: dict[str, Any]) -> Site:
    task = data.pop("task")
    return Site(task=Task.parse(task["source"], root=Path(task["root"])), **data)


if __name__ == "__main__":
    main()

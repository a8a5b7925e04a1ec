"""A worker that answers many calls on tensors, one process for all of them: `with SharedCalls(...) as calls: calls(x=...)`."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any

from evolve.evaluators.channel import Refused, Tensor
from evolve.evaluators.referee.shared import Region
from evolve.evaluators.sandbox import Command
from evolve.evaluators.sandbox.local import LocalSandbox
from evolve.tasks.evidence import Failure, FailureKind

HARNESS = "evolve.evaluators.referee.harness:serve_shared"
PRELOAD = ("numpy", "evolve.evaluators.referee.harness")
"""What the sandbox must have imported (`LocalSandbox(preload=...)`)."""

_SMALL = 4096
"""Bytes a worker's message may have: it says only which call it has done."""


class SharedCalls:
    """Calls of one candidate's function through shared memory, each on inputs and outputs as declared.

    start: seconds its import may take. Numbers of calls go up, so an answer to an earlier one is refused.
    """

    def __init__(
        self, sandbox: LocalSandbox, command: Command, target: str, inputs: Mapping[str, Tensor],
        outputs: Mapping[str, Tensor], *, start: float = 30.0,
    ) -> None:  # fmt: skip
        self._inputs, self._outputs = Region(inputs, worker_writes=False), Region(outputs, worker_writes=True)
        arguments = (target, self._inputs.layout, self._outputs.layout)
        descriptors = (self._inputs.fd, self._outputs.fd)
        self._session = sandbox.open(command, HARNESS, arguments, descriptors)
        self._start, self._calls = start, 0
        self.failure: Failure | None = None

    def __enter__(self) -> SharedCalls:
        self._expect({"ready": True}, self._start)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._session.__exit__(kind, error, trace)
        self._inputs.close()
        self._outputs.close()

    def __call__(self, seconds: float, **arrays: Any) -> dict[str, Any] | Failure:
        """One call: its validated outputs, copied; or how the candidate failed. After a failure there is no other call."""
        if self.failure is not None:
            return self.failure
        self._calls += 1
        self._inputs.write(arrays)
        self._outputs.poison()
        if failure := self._session.send({"call": self._calls}, seconds=seconds):
            self.failure = failure
            return failure
        self._expect({"done": self._calls}, seconds)
        if self.failure is not None:
            return self.failure
        try:
            return self._outputs.take()
        except Refused as error:
            self.failure = Failure(FailureKind.OUTPUT, str(error))
            return self.failure

    def _expect(self, wanted: dict[str, Any], seconds: float) -> None:
        answer = self._session.receive(_SMALL, seconds)
        if isinstance(answer, Failure):
            self.failure = answer
        elif answer != (wanted, b""):
            self.failure = Failure(FailureKind.OUTPUT, f"the worker answered {str(answer[0])[:80]}, not {wanted}")

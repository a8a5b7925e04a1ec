"""Where jobs run. `LocalExecutor`: slots on this machine, each a process; `InProcessExecutor`: here, for trusted code."""

from evolve.evaluators.executors.inprocess import InProcessExecutor
from evolve.evaluators.executors.local import LocalExecutor

__all__ = ["InProcessExecutor", "LocalExecutor"]

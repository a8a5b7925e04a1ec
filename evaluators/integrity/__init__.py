"""Integrity checks: is a measurement what it claims to be? Each is a function in a registry, with the planted fault that it
catches and the good case that it passes beside it. A check that cannot run says UNABLE, which never counts as passed.

    @check("frame", fault=..., good=...)
    def frame(seen: Seen) -> Finding: ...
"""

from evolve.evaluators.integrity import checks as _checks  # its functions register themselves
from evolve.evaluators.integrity.registry import PASSED, REGISTRY, Entry, Finding, check, examine
from evolve.evaluators.integrity.seen import Seen

__all__ = ["PASSED", "REGISTRY", "Entry", "Finding", "Seen", "check", "examine"]
_ = _checks

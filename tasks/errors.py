"""The error tree. A candidate's failure is a result (`Failure` in evidence); these are ours or the user's.

EvolveError                  anything this tool raises on purpose; `exit_code` is what the command line returns
├── UsageError          2    a wrong argument, an unknown name
│   └── TaskError       2    a task file that cannot be what was meant
├── BaselineError       3    the seed does not score, a metric never parses
├── AccessError         4    authentication or quota at a model's service
├── RepositoryError     5    the state of a git repository forbids the operation
│   └── ArchiveError    5    the archive cannot be read or written
│       └── SchemaError 5    written by a newer version
├── InfrastructureError 1    our own machinery failed (sandbox, executor, referee); never charged to a candidate
│   ├── SandboxError    1    the sandbox could not be set up or was lost
│   └── GraderError     3    the task's own grader raises on its own seed
└── Interrupted         75   stopped on request; the same command resumes
"""

from __future__ import annotations


class EvolveError(Exception):
    """Says what went wrong, with which value, and what to do next."""

    exit_code = 1


class UsageError(EvolveError):
    exit_code = 2


class TaskError(UsageError):
    pass


class BaselineError(EvolveError):
    exit_code = 3


class AccessError(EvolveError):
    exit_code = 4


class RepositoryError(EvolveError):
    exit_code = 5


class ArchiveError(RepositoryError):
    pass


class SchemaError(ArchiveError):
    pass


class InfrastructureError(EvolveError):
    exit_code = 1


class SandboxError(InfrastructureError):
    pass


class GraderError(InfrastructureError):
    exit_code = 3


class Interrupted(EvolveError):
    exit_code = 75

"""The error tree as users meet it; drawn in `evolve.tasks.errors`, where the lowest layer needs it too."""

from evolve.tasks.errors import (
    AccessError,
    ArchiveError,
    BaselineError,
    EvolveError,
    GraderError,
    InfrastructureError,
    Interrupted,
    RepositoryError,
    SandboxError,
    SchemaError,
    TaskError,
    UsageError,
)


class BudgetSpent(EvolveError):
    """A reservation does not fit into what is left; the search stops asking, it does not fail. what: "money" or "tokens"."""

    def __init__(self, message: str, what: str = "money") -> None:
        super().__init__(message)
        self.what = what


__all__ = [
    "AccessError",
    "ArchiveError",
    "BaselineError",
    "BudgetSpent",
    "EvolveError",
    "GraderError",
    "InfrastructureError",
    "Interrupted",
    "RepositoryError",
    "SandboxError",
    "SchemaError",
    "TaskError",
    "UsageError",
]

"""How a tree becomes evidence: stages, sandbox, referee, executors. Imports `evolve.tasks` only, never the population."""

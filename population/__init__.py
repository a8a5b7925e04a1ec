"""What has been tried, what to try next: the archive in git, the lineage, selection. Imports `evolve.tasks` only."""

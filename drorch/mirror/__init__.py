"""The off-site mirror of a restic repository, its audit and its recovery: ordered by barriers, verified by name."""

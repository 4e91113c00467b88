"""restic: pure builders of its commands, pure parsers of its answers, and the repository that a host runs them for."""

"""Repositories: restic, and one in memory."""

"""Plans, due-ness, durable runs and their records."""

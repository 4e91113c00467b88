"""Claims: who moves a service now, and where it lives, as a store off-site knows it."""

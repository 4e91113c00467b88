"""Inventory and runbooks: from YAML to frozen models, every mistake with its line."""

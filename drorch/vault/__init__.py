"""Signing, sealing, secrets."""

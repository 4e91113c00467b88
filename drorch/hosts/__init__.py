"""Hosts: local, ssh and fake; each behind the one protocol of core.host."""

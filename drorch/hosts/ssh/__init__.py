"""Machines reached by SSH; all of paramiko lives in this folder."""

from drorch.hosts.ssh.connection import fetch_host_key
from drorch.hosts.ssh.host import SshHost
from drorch.hosts.ssh.keys import fingerprint

__all__ = ["SshHost", "fetch_host_key", "fingerprint"]

"""Fixtures for all tests: real parts, each started once per session."""

pytest_plugins: list[str] = [
    "support.sshd",
    "support.properties",
    "support.postgres",
    "support.replicas",
    "support.web",
    "support.restic",
    "support.vaults",
    "support.site",
    "support.place",
    "support.stores",
    "support.ceph",
    "support.rclone",
    "support.strict.server",
    "support.offsite",
    "support.disks",
    "support.haproxy",
    "support.knot",
    "support.networks",
    "support.route53",
    "lab.fixtures",
]

"""People with real SSH keys, who sign as a person does: with OpenSSH's ssh-keygen."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from drorch.core.approval import NAMESPACE
from support.hands import eventually


@dataclass(frozen=True)
class Signer:
    """A person's key."""

    path: Path

    @property
    def public(self) -> str:
        """Its public half, without the comment."""
        return " ".join(self.path.with_suffix(".pub").read_text().split()[:2])

    def sign(self, text: str, *, namespace: str = NAMESPACE) -> str:
        """The signature over a text."""
        argv = ["ssh-keygen", "-Y", "sign", "-q", "-f", str(self.path), "-n", namespace]
        return str(subprocess.run(argv, input=text, capture_output=True, text=True, check=True).stdout)


@cache
def _folder() -> "tempfile.TemporaryDirectory[str]":
    """Where keys lie; gone with this process."""
    return tempfile.TemporaryDirectory(prefix="drorch-test-keys-")


@cache
def signer(name: str, kind: str = "ed25519") -> Signer:
    """The key of a person, made once in this process."""
    if not shutil.which("ssh-keygen"):
        pytest.skip("no ssh-keygen here: apt-get install openssh-client")
    path = Path(_folder().name) / name
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", name, "-f", path], check=True)
    return Signer(path)


@contextmanager
def agent(*signers: Signer) -> Iterator[str]:
    """An agent that holds these keys; gives its socket."""
    with tempfile.TemporaryDirectory(prefix="drorch-test-agent-") as folder:
        path = f"{folder}/socket"
        process = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
        try:
            eventually(Path(path).exists, "the agent listens")
            env = {**os.environ, "SSH_AUTH_SOCK": path}
            subprocess.run(["ssh-add", "-q", *(one.path for one in signers)], env=env, check=True, capture_output=True)
            yield path
        finally:
            process.terminate()
            process.wait()

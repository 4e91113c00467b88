"""`drorch kit make|open|show`, as a person types them."""

import getpass
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from drorch import __version__
from drorch.cli.main import drorch as cli
from drorch.core.errors import DrorchError
from drorch.core.exits import Exit, of_error
from support.kits import Keys, make_keys, typed
from support.place import Place
from support.site import PASSWORD, Site, lay_env
from support.sshd import Sshd

pytestmark = pytest.mark.skipif(shutil.which("age") is None, reason="needs the age tool: apt-get install age")
PHRASE = "correct horse battery staple"
PLANTED = "planted-3b9f-nas"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """Keys as the standard tools make them."""
    return make_keys(tmp_path_factory.mktemp("keys"))


@pytest.fixture
def kit(place: Place, keys: Keys) -> Path:
    """A kit of the place."""
    file = place.folder / "kit.age"
    here(place, "kit", "make", str(file), "-r", keys.age_public)
    return file


def told(*words: str, expect: Exit = Exit.OK, **env: str) -> str:
    """What drorch says, in this process: there are many words to try, and starting it takes longer than most of them.

    It knows nothing but these words and variables; an error is given as its text.
    """
    inherited: dict[str, str | None] = {key: None for key in os.environ if key.startswith(("DRORCH_", "NAS_"))}
    done = CliRunner().invoke(cli, words, env={**inherited, **env}, standalone_mode=False)
    error = done.exception
    code = of_error(error) if isinstance(error, DrorchError) else done.return_value
    assert code == expect, f"{code}\n{done.output}\n{error!r}"
    return f"{done.stdout}{error or ''}"


def here(place: Place, *words: str, expect: Exit = Exit.OK, nas: str = PLANTED) -> str:
    """What drorch says on the controller."""
    config = ("--config", str(place.inventory.parent), "--state", str(place.state))
    return told(*config, *words, expect=expect, NAS_PASSWORD=nas)


def at(folder: Path, *words: str) -> str:
    """What drorch says on a laptop that has nothing of drorch but an opened kit."""
    return told("--config", str(folder / "config"), "--state", str(folder / "state"), *words)


def opened(kit: Path, keys: Keys, to: Path) -> Any:  # noqa: ANN401 - any JSON
    """What `kit open` says on a laptop."""
    return json.loads(told("kit", "open", str(kit), "--to", str(to), "-i", str(keys.age), "--json"))


def holding(folder: Path, value: str) -> list[str]:
    """The files below a folder that hold a value."""
    return [str(path) for path in folder.rglob("*") if path.is_file() and value.encode() in path.read_bytes()]


def test_an_opened_kit_works_wherever_it_is_moved(place: Place, kit: Path, keys: Keys, tmp_path: Path) -> None:
    """Secrets that were variables are files of the kit; status and plan work at once, and there is nothing to edit."""
    said = opened(kit, keys, tmp_path / "opened")
    assert said["manifest"]["drorch"] == __version__
    original = place.inventory.read_bytes()
    place.inventory.unlink()
    moved = (tmp_path / "opened").rename(tmp_path / "moved")
    assert (moved / "config" / "drorch.yaml.original").read_bytes() == original
    assert (moved / "secrets" / "nas").read_text() == f"{PLANTED}\n"
    assert "2 runbooks" in at(moved, "check")
    assert str(moved / "secrets" / "nas") in at(moved, "plan", "nightly", "--json")
    status = at(moved, "status")
    assert "UNPROTECTED" in status
    assert "recovery kit" not in status, "the opened kit is the kit, wherever it lies"


def test_no_plaintext_touches_a_disk(place: Place, kit: Path, tmp_path: Path) -> None:
    """Of what was sealed nothing lies anywhere else: not in the state folder, not in a draft."""
    assert kit.stat().st_mode & 0o777 == 0o600
    assert holding(tmp_path, PLANTED) == []
    key = (place.state / "keys" / "signing.key").read_bytes().splitlines()[1].decode()
    assert holding(tmp_path, key) == [str(place.state / "keys" / "signing.key")]
    assert sorted(path.name for path in place.folder.iterdir()) == ["config", "kit.age", "state"]


def test_the_standard_tools_open_it(kit: Path, keys: Keys, tmp_path: Path) -> None:
    """`age -d | tar x` gives the folder that `kit open` gives, and its README tells what to do without drorch."""
    by_hand = tmp_path / "by-hand"
    by_hand.mkdir()
    subprocess.run(f"age -d -i {keys.age} {kit} | tar x -C {by_hand}", shell=True, check=True)  # noqa: S602 - as typed
    assert "1 service" in at(by_hand, "check")
    readme = (by_hand / "README.txt").read_text()
    assert "RESTIC_PASSWORD_FILE=secrets/nas" in readme
    assert f"restic -r {kit.parent / 'nas'} snapshots" in readme
    assert PLANTED not in readme
    assert {path.stat().st_mode & 0o077 for path in by_hand.rglob("*") if path.name != "work"} == {0}


def test_a_kit_sealed_again_by_the_standard_tool_opens(kit: Path, keys: Keys, tmp_path: Path) -> None:
    """Whoever changes the recipients by hand still has a kit."""
    plain = subprocess.run(["age", "-d", "-i", keys.age, kit], check=True, capture_output=True).stdout
    again = tmp_path / "again.age"
    subprocess.run(["age", "-a", "-r", keys.ssh_public, "-o", again], input=plain, check=True)
    told("kit", "open", str(again), "--to", str(tmp_path / "opened"), "-i", str(keys.ssh))
    assert (tmp_path / "opened" / "secrets" / "nas").read_text() == f"{PLANTED}\n"


def test_nothing_is_made_while_a_secret_is_missing(place: Place, keys: Keys, tmp_path: Path) -> None:
    """Everything that is missing is named; what is left out on purpose is remembered, shown, and warned of."""
    text = place.inventory.read_text() + "  keys: {file: none}\n  chat: {env: NONE}\n"
    place.inventory.write_text(text)
    kit = tmp_path / "kit.age"
    make, identity = ("kit", "make", str(kit), "-r", keys.ssh_public), ("-i", str(keys.ssh))
    refused = here(place, *make, expect=Exit.FAILED)
    assert "2 things" in refused
    assert "--without keys --without chat" in refused
    here(place, *make, "--without", "keys", expect=Exit.FAILED)
    here(place, *make, "--without", "kez", expect=Exit.UNKNOWN)
    assert not kit.exists()
    assert "left out: chat" in here(place, *make, "--without", "keys", "--without", "chat")
    assert "left out: keys" in told("kit", "show", str(kit), *identity)
    said = told("kit", "open", str(kit), "--to", str(tmp_path / "opened"), *identity)
    assert said.count("left out when it was made") == 2
    assert f"{place.folder}/nas is a folder of the machine" in said


def test_only_the_right_key_opens_it(kit: Path, keys: Keys, tmp_path: Path) -> None:
    """Without a key, with another, for another signer or over something: refused with a remedy, nothing written."""
    to, right = tmp_path / "opened", ("-i", str(keys.age))
    open_ = ("kit", "open", str(kit), "--to", str(to))
    assert "--identity" in told(*open_, expect=Exit.FAILED)
    assert "sealed for 1 age key" in told(*open_, "-i", str(keys.ssh), expect=Exit.FAILED)
    told(*open_, *right, "--signer", "AAAA", expect=Exit.REFUSED)
    told("kit", "open", str(keys.age), "--to", str(to), *right, expect=Exit.FAILED)
    assert not to.exists()
    told("kit", "open", str(kit), "--to", str(tmp_path), *right, expect=Exit.REFUSED)
    signer = json.loads(told("kit", "show", str(kit), *right, "--json"))["manifest"]["signer"]
    told(*open_, *right, "--signer", signer)


def test_somebody_must_be_able_to_open_it(place: Place, keys: Keys, tmp_path: Path) -> None:
    """No recipient and nobody at the terminal, both ways at once, a slip, a file that is there: nothing is written."""
    words, kit = written(tmp_path / "words"), tmp_path / "kit.age"
    assert "--recipient" in here(place, "kit", "make", str(kit), expect=Exit.REFUSED)
    both = ("-r", keys.age_public, "--passphrase-file", str(words))
    here(place, "kit", "make", str(kit), *both, expect=Exit.FAILED)
    here(place, "kit", "make", str(kit), "-r", keys.age_public[:-1], expect=Exit.FAILED)
    assert not kit.exists()
    here(place, "kit", "make", str(words), "-r", keys.age_public, expect=Exit.REFUSED)
    assert words.read_text() == f"{PHRASE}\n"


def written(path: Path, phrase: str = PHRASE) -> Path:
    """A file with the passphrase."""
    path.touch(mode=0o600)
    path.write_text(f"{phrase}\n")
    return path


def test_a_passphrase_works_both_ways(place: Place, kit: Path, keys: Keys, tmp_path: Path) -> None:
    """It is typed twice and not shown, and `age -d` takes it; what `age -p` sealed, such as an identity that is kept
    so, opens here, with a passphrase from a file that others cannot read; a wrong one is told.
    """
    env = {**os.environ, "DRORCH_CONFIG": str(place.inventory.parent), "DRORCH_STATE": str(place.state)}
    ours, theirs, plain = (tmp_path / name for name in ("ours.age", "theirs.age", "plain"))
    argv = (sys.executable, "-m", "drorch.cli.main", "kit", "make", str(ours))
    code, shown = typed(argv, [PHRASE, PHRASE], {**env, "NAS_PASSWORD": PLANTED})
    assert code == 0, shown
    assert PHRASE not in shown
    code, shown = typed(["age", "-d", "-o", plain, ours], [PHRASE])
    assert code == 0, shown
    assert PLANTED in plain.read_text()
    code, shown = typed(["age", "-p", "-o", theirs, keys.age], [PHRASE, PHRASE])
    assert code == 0, shown
    words = written(tmp_path / "words")
    show = ("kit", "show", str(kit), "-i", str(theirs), "--passphrase-file", str(words))
    assert "secret nas" in told(*show)
    words.chmod(0o644)
    assert "by others" in told(*show, expect=Exit.FAILED)
    wrong = ("--passphrase-file", str(written(tmp_path / "wrong", PHRASE.upper())))
    assert "does not open it" in told("kit", "show", str(ours), *wrong, expect=Exit.FAILED)


def test_status_knows_the_kit(place: Place, keys: Keys, tmp_path: Path) -> None:
    """It is missed, then there, then older than the documents, and then replaced."""
    assert "· there is no recovery kit" in here(place, "status")
    make = ("kit", "make", str(tmp_path / "kit.age"), "-R", str(keys.ssh.with_name("id_ed25519.pub")))
    assert "2 runbooks; opens with" in here(place, *make)
    assert "recovery kit" not in here(place, "status")
    place.inventory.write_text(place.inventory.read_text().replace("rto: 1h", "rto: 2h"))
    assert "· the recovery kit is older than the documents" in here(place, "status")
    here(place, *make, "--force")
    assert "recovery kit" not in here(place, "status")


def test_where_a_failover_led_a_service_goes_along(place: Place, keys: Keys, tmp_path: Path) -> None:
    """The documents do not tell it, and acting on the former primary would be the worst of mistakes."""
    home = {"host": "web2", "since": "2026-03-01T00:00:00+00:00", "run": "shop-failover@1"}
    place.journal.put("home:shop", home)
    here(place, "kit", "make", str(tmp_path / "kit.age"), "-r", keys.age_public)
    opened(tmp_path / "kit.age", keys, tmp_path / "opened")
    assert Place(tmp_path / "opened").journal.get("home:shop") == home


def test_the_keys_of_the_hosts_are_in_it(place: Place, sshd: Sshd, keys: Keys, tmp_path: Path) -> None:
    """After the controller is gone with its keys, the laptop logs in with those of the kit, to the pinned machine."""
    key = Path(shutil.copy(sshd.key, place.folder / "controller-key"))
    login = f"address: 127.0.0.1, port: {sshd.port}, user: {getpass.getuser()}"
    spec = f"web2: {{{login}, key: ../controller-key, host_key: {sshd.host_key}}}"
    place.inventory.write_text(place.inventory.read_text().replace("web2: {home: ../web2}", spec))
    here(place, "kit", "make", str(tmp_path / "kit.age"), "-r", keys.age_public)
    key.unlink()
    opened(tmp_path / "kit.age", keys, tmp_path / "opened")
    assert json.loads(at(tmp_path / "opened", "host", "test", "web2", "--json"))["hosts"][0]["ok"]


def test_a_shop_comes_back_from_its_copy_with_the_kit_alone(shop: Site, keys: Keys, tmp_path: Path) -> None:
    """Controller, state and repository are gone: the opened kit restores the shop from the store off-site."""
    kit, laptop = tmp_path / "kit.age", lay_env(tmp_path / "laptop")
    shop.drorch("kit", "make", str(kit), "-r", keys.age_public)
    for lost in ("config", "runbooks", "state", "vault", "primary"):
        shutil.rmtree(shop.folder / lost)
    said = opened(kit, keys, laptop.folder)
    assert any("repository vault" in warning for warning in said["warnings"])
    assert not any("store offsite" in warning for warning in said["warnings"]), "that folder is here"
    laptop.drorch("restore", "shop", "--store", "offsite", "--host", "standby")
    (restored,) = (path for path in (shop.folder / "standby").rglob("shop.db") if path.is_file())
    assert restored.read_bytes().startswith(b"SQLite format 3")
    assert not holding(laptop.state, PASSWORD)

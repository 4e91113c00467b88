"""`drorch store` as a user meets it: against a real Ceph, a folder, and a server that gets worse."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from drorch.core.exits import Exit
from support.ceph import WRITER, Ceph
from support.place import Place
from support.s3 import Keys
from support.strict.holdings import Traits
from support.strict.server import StrictS3

OFFSITE = """\
stores:
  offsite: {{kind: s3, endpoint: {endpoint}, bucket: {bucket}, prefix: site, {lock}credentials: {{secret: writer}}}}
  disk: {{kind: directory, path: {folder}}}
secrets:
  writer: {{file: {keys}/writer}}
  admin: {{file: {keys}/admin}}
"""

Lay = Callable[..., Place]


@pytest.fixture
def lay(place: Place) -> Lay:
    """Declares a bucket and a folder as stores."""

    def declare(endpoint: str, bucket: str, writer: Keys, admin: Keys | None = None, lock: str = "") -> Place:
        folder = place.folder / "disk"
        folder.mkdir(exist_ok=True)
        for name, keys in (("writer", writer), ("admin", admin or writer)):
            file = place.folder / name
            file.touch(mode=0o600)
            file.write_text(":".join(keys))
        declared = OFFSITE.format(
            endpoint=endpoint,
            bucket=bucket,
            folder=folder,
            keys=place.folder,
            lock=f"lock: {lock}, " if lock else "",
        )
        text = place.inventory.read_text().replace("secrets:\n", declared)
        place.inventory.write_text(text)
        return place

    return declare


@pytest.fixture
def strict(lay: Lay, strict_s3: StrictS3) -> Place:
    """A good store without locks."""
    return lay(strict_s3.endpoint, strict_s3.bucket(), strict_s3.owner)


def create(place: Place, *words: str, expect: Exit = Exit.OK) -> Any:  # noqa: ANN401 - any JSON
    """Make the store ``offsite``."""
    return place.json("store", "create", "offsite", "--yes=offsite", *words, expect=expect)


def test_a_bucket_is_made_and_made_again(lay: Lay, ceph: Ceph) -> None:
    """A new bucket has lock, versions and the default lock; making it again changes nothing and tells the same."""
    name = f"made-{ceph.user('x').id[-8:]}"
    place = lay(ceph.endpoint, name, ceph.user("writer"), ceph.owner, "{days: 3}")
    made = create(place, "--credentials=admin", expect=Exit.EXCEPTIONS)
    assert made["done"][0] == f"made bucket {name}"
    assert made["has"] == ["versions", "Object Lock", "a default lock of 3 days, governance"]
    s3 = ceph.client()
    default = s3.get_object_lock_configuration(Bucket=name)["ObjectLockConfiguration"]["Rule"]["DefaultRetention"]
    assert default == {"Mode": "GOVERNANCE", "Days": 3}
    rules = s3.get_bucket_lifecycle_configuration(Bucket=name)["Rules"]
    assert {rule["ID"] for rule in rules} == {"drorch-uploads", "drorch-probes"}
    assert "Versions" not in s3.list_object_versions(Bucket=name)
    s3.put_object(Bucket=name, Key="a", Body=b"x")  # public access is blocked, and ours goes on
    again = create(place, "--credentials=admin", expect=Exit.EXCEPTIONS)
    assert (again["done"], again["has"]) == ([], made["has"])
    assert "nothing was changed" in again["lacks"][-1]


def test_an_existing_bucket_without_lock_is_told_so(lay: Lay, ceph: Ceph) -> None:
    """Object Lock cannot be had afterwards: that is said, with what to do, and what is there stays as it was."""
    bucket = ceph.bucket()
    ceph.client().put_object(Bucket=bucket, Key="mine", Body=b"x")
    said = create(lay(ceph.endpoint, bucket, ceph.owner, lock="{days: 3}"), expect=Exit.EXCEPTIONS)
    assert said["done"] == []
    assert any("no Object Lock" in lack for lack in said["lacks"])
    assert "Status" not in ceph.client().get_bucket_versioning(Bucket=bucket)


@pytest.mark.parametrize(("words", "said"), [((), "nobody is here"), (("--yes=disk",), "is not offsite")])
def test_nothing_is_made_without_the_name(
    strict: Place, strict_s3: StrictS3, words: tuple[str, ...], said: str
) -> None:
    """A script that does not say the store's own name is refused after it was shown what would be done."""
    strict_s3.forget()
    refused = strict.drorch("store", "create", "offsite", *words, expect=Exit.REFUSED)
    assert said in refused.stderr
    assert "this will be done" in refused.stderr
    assert strict_s3.requests() == []


def test_compliance_is_warned_of(lay: Lay, strict_s3: StrictS3) -> None:
    """That nobody, the payer included, can delete is said before anybody agrees."""
    place = lay(strict_s3.endpoint, "never-made", strict_s3.owner, lock="{mode: compliance, days: 400}")
    said = place.drorch("store", "create", "offsite", expect=Exit.REFUSED).stderr
    assert "for 400 days" in said
    assert "nobody can delete" in said
    assert "who pays" in said


def test_a_probe_is_told_and_remembered(strict: Place) -> None:
    """Every trial with its answer, the grade, and both again in the list, which connects to nothing."""
    assert "never probed" in strict.drorch("store", "list").stdout
    told = strict.drorch("store", "probe", "offsite").stdout
    assert "✓ wrong_sha256" in told
    assert "? locked_deletion" in told
    assert "offsite: refuses;" in told
    offsite, disk = strict.json("store", "list")["stores"]
    assert (offsite["probe"]["grade"], offsite["fresh"], disk["probe"]) == ("refuses", True, None)
    assert "✓ refuses" in strict.drorch("store", "list").stdout


def test_a_store_that_got_worse_is_an_alarm(strict: Place, strict_s3: StrictS3) -> None:
    """Worse than ever before fails, stays failed, and is taken for good only when a person accepts it."""
    strict.drorch("store", "probe", "offsite")
    strict_s3.traits = Traits(payload="ignores")
    for _ in range(2):
        worse = strict.json("store", "probe", "offsite", expect=Exit.FAILED)
        assert (worse["grade"], worse["best"], worse["worse"]) == ("neither", "refuses", True)
    assert "better once" in strict.drorch("store", "probe", "offsite", expect=Exit.FAILED).stdout
    assert strict.json("store", "list")["stores"][0]["probe"]["worse"]
    accepted = strict.json("store", "probe", "offsite", "--accept", expect=Exit.FAILED)
    assert (accepted["worse"], accepted["grade"]) == (False, "neither")


def test_a_probe_shows_no_secret(lay: Lay, ceph: Ceph) -> None:
    """Neither what is told nor what is remembered holds a key."""
    bucket, writer = ceph.bucket(lock=True), ceph.user("writer")
    ceph.allow(bucket, [(writer, WRITER)])
    place = lay(ceph.endpoint, bucket, writer, lock="{days: 3}")
    told = place.drorch("store", "probe", "offsite")
    assert "refuses and locks" in told.stdout
    assert writer.secret not in told.stdout + told.stderr + str(place.journal.get("probe:offsite"))


def test_policies_are_printed_to_be_pasted(strict: Place) -> None:
    """One policy alone is JSON on stdout, with the notes elsewhere; a folder says that it has none."""
    printed = strict.drorch("store", "policy", "offsite", "--for", "writer")
    assert '"Version": "2012-10-17"' in printed.stdout.splitlines()[1]
    assert "note: " in printed.stderr
    assert set(strict.json("store", "policy", "offsite")["policies"]) == {"writer", "deleter"}
    assert "no credentials" in strict.drorch("store", "policy", "disk", expect=Exit.REFUSED).stderr


def test_a_folder_is_made_and_probed(strict: Place) -> None:
    """A store of another kind goes through the same verbs."""
    strict.drorch("store", "probe", "disk", expect=Exit.FAILED)
    strict.drorch("store", "create", "disk", "--yes=disk")
    assert strict.json("store", "probe", "disk")["grade"] == "refuses"
    assert [path for path in Path(strict.folder, "disk").rglob("*probe*/*") if path.is_file()] == []


@pytest.mark.parametrize(
    "words",
    [("probe", "other"), ("policy", "other"), ("create", "other"), ("create", "offsite", "--credentials=other")],
)
def test_unknown_names(strict: Place, words: tuple[str, ...]) -> None:
    """A name that the inventory does not have is answered with those that it has."""
    assert "there is " in strict.drorch("store", *words, expect=Exit.UNKNOWN).stderr

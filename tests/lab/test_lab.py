"""The lab does what the tests in it rely on. Most of these share one lab and leave it as they found it."""

import http.client
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dns.query
import dns.tsigkeyring
import dns.update
import pytest

from drorch.core.host import SshHostSpec
from drorch.hosts.ssh import fetch_host_key
from lab import database, network, paths, web, zone
from lab.commands import run
from lab.host import Host
from lab.lab import Lab
from lab.waiting import LabFailed, until
from support.ceph_daemons import missing as no_ceph
from support.processes import alive
from support.s3 import md5, told

pytestmark = pytest.mark.root


@pytest.fixture
def here(shared_lab: Lab) -> Iterator[Lab]:
    """The shared lab; its network is healed afterwards."""
    yield shared_lab
    shared_lab.power_fault(None)
    shared_lab.network.heal()


def greeted(host: Host, within: float = 0.5) -> bool:
    """Whether the host's SSH server says its name in time."""
    try:
        with socket.create_connection((host.address, 22), timeout=within) as visit:
            return visit.recv(4) == b"SSH-"
    except TimeoutError:
        return False


def power(lab: Lab, *words: str) -> tuple[int, str]:
    """What the provider's command says."""
    done = subprocess.run([lab.power, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout.strip()


def floating_health(lab: Lab) -> int:
    """The shop's health at the floating address; 0 when nobody answers."""
    asking = http.client.HTTPConnection(lab.floating, web.PORT, timeout=0.3)
    try:
        asking.request("GET", "/health")
        return asking.getresponse().status
    except OSError:
        return 0
    finally:
        asking.close()


def test_an_order_that_is_acknowledged_is_in_both_databases(here: Lab) -> None:
    """Acknowledged means committed, at both sites while the replication is synchronous."""
    here.database("web1").synchronous()
    with here.customer().shopping() as customer:
        customer.await_orders(20)
    assert not customer.failures
    assert not customer.lost(here.database("web1"))
    assert not customer.lost(here.database("web2"))
    here.database("web1").synchronous(None)


def test_a_cut_cable_is_silent(here: Lab) -> None:
    """Nobody is told: what was sent waits, and arrives after the cable is mended."""
    with socket.create_connection((here.web1.address, 22), timeout=5) as visit:
        visit.recv(100)
        here.web1.cut()
        assert not select.select([visit], [], [], 0.2)[0]
        here.web1.mend()
        visit.sendall(b"SSH-2.0-somebody\r\n")
        assert visit.recv(100)


def test_a_partition_may_have_one_direction(here: Lab) -> None:
    """What web1 sends to the controller gets lost; all others still hear it."""
    here.web1.isolate(from_="controller", ways="out")
    assert not greeted(here.web1, 0.2)
    assert here.database("web1").streams_to("web2")
    here.await_serving()


def test_a_lossy_cable_loses_and_a_thin_one_is_slow(here: Lab) -> None:
    """All packets lost is silence; a thin cable lets all through, later."""
    here.web1.lose(100)
    assert not greeted(here.web1, 0.2)
    here.network.heal()
    here.web1.slow("1mbit")
    began = time.monotonic()
    asking = http.client.HTTPConnection(here.web1.address, web.PORT, timeout=10)
    asking.request("POST", "/orders", body=b"x" * 100_000)
    assert asking.getresponse().status == 400
    asking.close()
    here.web1.slow(None)
    assert time.monotonic() - began > 0.2


def test_a_host_that_hangs_takes_connections_and_says_nothing(here: Lab) -> None:
    """As a machine out of memory does; afterwards it goes on."""
    here.web1.hang()
    assert not greeted(here.web1, 0.2)
    here.web1.unhang()
    assert greeted(here.web1, 5)


def test_a_frozen_unit_hangs_alone(here: Lab) -> None:
    """The database says nothing, its host does."""
    unit = here.web2.unit(database.UNIT)
    unit.freeze()
    with socket.create_connection((here.web2.address, 5432), timeout=5) as visit:
        visit.sendall(b"\0\0\0\x08\x04\xd2\x16\x2f")  # does it speak TLS?
        assert not select.select([visit], [], [], 0.2)[0]
        assert greeted(here.web2)
        unit.thaw()
        assert visit.recv(1) in (b"N", b"S")


def test_a_full_disk_takes_no_byte(here: Lab) -> None:
    """Neither the root disk nor the database's, each by itself."""
    write = ("dd", "if=/dev/zero", f"of={database.VOLUME}/bytes", "bs=4096", "count=1")
    here.web2.disk.fill(database.VOLUME)
    assert "No space left" in here.web2.run(*write, check=False).stderr
    assert not here.web2.run("touch", "/root/file", check=False).returncode
    here.web2.disk.free(database.VOLUME)
    here.web2.run(*write)


def test_both_name_servers_tell_an_update_that_is_signed(here: Lab) -> None:
    """The second one learns it from the first, within a moment."""
    keys = dns.tsigkeyring.from_text({zone.TSIG_NAME: zone.TSIG_SECRET})
    update = dns.update.UpdateMessage(zone.ZONE, keyring=keys, keyalgorithm=zone.TSIG_ALGORITHM)
    update.replace("www", zone.TTL, "A", here.web2.address)
    assert here.zone.address() == here.web1.address
    assert dns.query.tcp(update, here.zone.servers[0], timeout=5).rcode() == 0
    assert here.zone.address() == here.web2.address
    until(lambda: here.zone.address(second=True) == here.web2.address, "the second name server follows")


def test_the_floating_address_moves_when_it_is_announced(here: Lab) -> None:
    """Neighbours believe the old place until somebody tells them."""
    here.web2.unit(web.UNIT).start()
    assert floating_health(here) == 200
    here.web1.unit("floating-ip.service").stop()
    here.web2.unit("floating-ip.service").start()
    assert floating_health(here) == 0
    here.web2.start("arping", "-U", "-c", "1", "-i", "eth0", "-S", here.floating, here.floating)
    until(lambda: floating_health(here) == 503, "web2 answers: it takes no writes")


def test_hosts_reach_a_port_that_is_exposed(here: Lab) -> None:
    """A server on this machine's loopback, such as an S3."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address, _, port = here.expose(server.getsockname()[1]).partition(":")
        with here.web1.start("bash", "-c", f"exec 3<>/dev/tcp/{address}/{port}; cat <&3") as reading:
            visit, _ = server.accept()
            visit.sendall(b"hello")
            visit.close()
            assert reading.communicate(timeout=10)[0] == "hello"


def test_another_machine_at_the_same_address_has_another_identity(here: Lab) -> None:
    """Another host key on the wire, another machine id on the disk."""
    extra = here.add_host("extra", 40)
    before = (extra.host_key, extra.machine_id)
    here.exchange(extra)
    shown, _ = fetch_host_key(SshHostSpec(address=extra.address))
    assert shown == extra.host_key
    assert not {extra.host_key, extra.machine_id} & set(before)


def test_the_providers_command_tells_and_switches(here: Lab) -> None:
    """It knows no more than the power; told to, it lies."""
    extra = here.add_host("switched", 41)
    assert power(here, "status", "switched") == (0, "running")
    here.power_fault("lie")
    assert power(here, "off", "switched") == (0, "")
    assert power(here, "status", "switched") == (0, "off")
    assert extra.running
    here.power_fault("fail")
    assert power(here, "off", "switched")[0] == 1
    here.power_fault(None)
    assert power(here, "off", "switched") == (0, "")
    assert not extra.running
    assert power(here, "status", "switched") == (0, "off")
    here.power_fault("slow")
    assert power(here, "on", "switched") == (0, "")
    assert not extra.running
    until(lambda: extra.running, "the provider does it at last")


def test_faults_come_from_another_terminal_too(here: Lab, capsys: pytest.CaptureFixture[str]) -> None:
    """They find the lab, and leave it to the kernel to remember."""
    number = ["--number", str(here.number)]
    assert run([*number, "cut", "web1"]) == 0
    assert here.network.is_cut("web1")
    assert run([*number, "status"]) == 0
    assert f"web1   {here.web1.address:12} on, cable pulled" in capsys.readouterr().out
    assert run([*number, "mend", "web1"]) == 0
    assert greeted(here.web1)
    assert run([*number, "freeze", "web1", "nothing"]) == 1


def test_labs_stand_side_by_side(here: Lab) -> None:
    """Each has addresses, names and faults of its own."""
    with Lab.prepare() as other:
        twin = other.add_host("web1", network.WEB1)
        assert twin.address != here.web1.address
        assert greeted(twin)
        twin.cut()
        assert greeted(here.web1)


def test_the_s3_keeps_what_is_locked_and_outlives_a_reset_and_a_cut(lab: Lab) -> None:
    """A version under a lock cannot be deleted; a cable that was pulled takes nothing, and neither does a reset."""
    if reason := no_ceph():
        pytest.skip(reason)
    store = lab.s3.client
    store.create_bucket(Bucket="orders", ObjectLockEnabledForBucket=True)
    until_then = datetime.now(UTC) + timedelta(hours=1)
    locked = {"ObjectLockMode": "COMPLIANCE", "ObjectLockRetainUntilDate": until_then}
    put = store.put_object(Bucket="orders", Key="1", Body=b"one", ContentMD5=md5(b"one"), **locked)
    assert told(lambda: store.delete_object(Bucket="orders", Key="1", VersionId=put["VersionId"])).startswith("403")
    assert run(["--number", str(lab.number), "cut", "s3"]) == 0
    with pytest.raises(OSError, match="timed out"):
        socket.create_connection((lab.s3.host.address, 22), timeout=0.3).close()
    lab.reset()
    assert store.get_object(Bucket="orders", Key="1")["Body"].read() == b"one"
    assert "s3" not in lab.hosts


def test_a_witness_sees_that_only_one_side_takes_writes(lab: Lab) -> None:
    """Of a primary and its standby, only the primary does; two primaries are found out."""
    with lab.witness().watching() as witness:
        until(lambda: len(witness.writings) > 20, "writes are tried")
    assert {reign.host for reign in witness.reigns()} == {"web1"}
    witness = lab.witness().start()
    lab.database("web2").sql("SELECT pg_promote()")
    until(lambda: {reign.host for reign in witness.reigns()} == {"web1", "web2"}, "both take writes")
    seen = len(witness.writings)
    until(lambda: len(witness.writings) > seen + 5, "more writes are tried")
    witness.stop()
    with pytest.raises(LabFailed, match="split brain"):
        witness.confirm()


def test_power_off_is_silent_and_a_reset_forgets_everything(lab: Lab) -> None:
    """An outage has a beginning and an end; a new lab knows nothing of it, and is the same machines again."""
    identity = (lab.web1.host_key, lab.web1.machine_id)
    with lab.customer(patience=1).shopping() as customer, socket.create_connection((lab.web1.address, 22)) as visit:
        visit.recv(100)
        pid = lab.web1.pid
        lab.web1.power_off()
        assert not select.select([visit], [], [], 0.1)[0]
        assert not paths.group(lab.number).joinpath("web1").exists()
        assert not alive(pid)
        customer.await_failure()
        lab.web1.power_on()
        customer.await_orders(5)
    assert not customer.lost(lab.database("web1"))
    first = customer.outages()[0]
    assert 0.2 < first.seconds < float("inf"), customer.reasons  # it has an end
    lab.web2.cut()
    lab.database("web1").sql("DROP TABLE witness")
    lab.edge.unit("haproxy.service").stop()
    lab.reset()
    assert identity == (lab.web1.host_key, lab.web1.machine_id)
    assert lab.database("web1").orders() == set()
    assert lab.database("web1").value("SELECT count(*) FROM witness") == 0
    assert lab.front.states() == {"web1": "UP", "web2": "MAINT"}


def test_an_owner_who_dies_leaves_nothing() -> None:
    """Not even when he is killed; a keeper cleans up behind him."""
    program = (
        "from lab.lab import Lab\nlab = Lab.prepare()\nlab.add_host('one', 30)\n"
        "print(lab.number, flush=True)\nimport time\ntime.sleep(100)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(paths.HERE.parent)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=env) as owner:
        assert owner.stdout is not None
        number = int(owner.stdout.readline())
        owner.send_signal(signal.SIGKILL)
    until(lambda: not paths.folder(number).exists(), "the folder is gone")
    assert str(paths.folder(number)) not in subprocess.check_output(["mount"], text=True)
    assert not paths.group(number).exists()
    spaces = subprocess.check_output(["ip", "netns", "list"], text=True).split()
    assert not [space for space in spaces if space.split("-")[0] == paths.space(number)]


def test_a_person_sees_what_customers_see_and_ends_it_all_with_one_key() -> None:
    """`make lab` tells what there is, what to try, and in the end what it was."""
    env = {**os.environ, "PYTHONPATH": str(paths.HERE.parent)}
    start = [sys.executable, "-m", "lab", "start"]
    with subprocess.Popen(start, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True) as lab:
        assert lab.stdout is not None
        said = ""
        try:
            for line in lab.stdout:
                said += line
                if "web1: primary" in line:
                    break
            lab.send_signal(signal.SIGINT)
            said += lab.stdout.read()
        except BaseException:
            lab.kill()  # its keeper takes the hosts down
            raise
    assert lab.returncode == 0
    assert "drorch failover shop" in said
    assert "orders acknowledged, 0 failed; outages: none" in said

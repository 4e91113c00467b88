"""Telling a network that an address has moved, and seeing who answers for it; fixed scripts for a host's shell."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

ANNOUNCE = r"""
interface=$1 address=$2 count=$3
index=$(cat "/sys/class/net/$interface/ifindex") && mac=$(cat "/sys/class/net/$interface/address") || exit 5
say() {
    if perl -MSocket -e 1 2>/dev/null; then
        perl -MSocket -e '
            my ($index, $address, $mac) = @ARGV;
            my $me = pack("H12", $mac =~ s/://gr); my $ip = inet_aton($address); my $all = "\xff" x 6;
            socket(S, 17, SOCK_RAW, 0x0608) or die "$!\n";
            my $to = pack("S n i S C C a8", 17, 0x0806, $index, 1, 1, 6, $all);
            for ([1, "\0" x 6], [2, $me]) {
                my ($kind, $target) = @$_;
                my $head = pack("n n n C C n", 0x0806, 1, 0x0800, 6, 4, $kind);
                send(S, $all . $me . $head . $me . $ip . $target . $ip, 0, $to) or die "$!\n";
            }' -- "$index" "$address" "$mac"
    elif command -v python3 >/dev/null 2>&1; then
        python3 -c '
import socket, struct, sys
interface, address, mac = sys.argv[1:]
me, ip, everybody = bytes.fromhex(mac.replace(":", "")), socket.inet_aton(address), b"\xff" * 6
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as door:
    door.bind((interface, 0x0806))
    for kind, target in ((1, bytes(6)), (2, me)):
        head = struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, kind)
        door.send(everybody + me + head + me + ip + target + ip)' "$interface" "$address" "$mac"
    else
        return 4
    fi
}
say || exit $?
(
    trap '' HUP
    while [ "$count" -gt 1 ]; do
        count=$((count - 1))
        sleep 1
        say
    done
) </dev/null >/dev/null 2>&1 &
"""
"""Says to everybody on the network of the interface ``$1`` that the IPv4 address ``$2`` is here, at once, as a request
and as a reply since some hear only one of them; then once a second in the background, until that was ``$3`` times.
"""

TAKE = 'ip addr replace "$2" dev "$1"\n'
GIVE = r"""
ip -o -4 addr show to "$2" | while read -r _ interface _; do
    ip addr del "$1" dev "$interface" || exit
done
"""
"""Takes the address ``$1``, without its network ``$2``, from every interface that has it."""

SEE = r"""
if perl -MSocket -e 1 2>/dev/null; then
    perl -MSocket -e 'socket(S, PF_INET, SOCK_DGRAM, 0); send(S, "", 0, sockaddr_in(9, inet_aton($ARGV[0])))' -- "$1"
elif command -v python3 >/dev/null 2>&1; then
    python3 -c '
import socket, sys
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"", (sys.argv[1], 9))' "$1"
else
    exit 4
fi
tries=0
while :; do
    found=$(ip -j neigh show to "$1") || exit
    tries=$((tries + 1))
    case $found in *lladdr* | *FAILED*) break ;; esac
    [ "$tries" -lt 20 ] || break
    sleep 0.05
done
printf '%s\n' "$found"
"""
"""Sends an empty datagram to the address ``$1``, so that its neighbour is looked for, and prints where it was found."""


@dataclass(frozen=True, slots=True)
class Interface:
    """An interface of a host, as ``ip -j`` tells it."""

    name: str
    mac: str
    addresses: frozenset[str]
    """IPv4, without their networks."""


def interfaces(text: str) -> list[Interface]:
    """What ``ip -j -4 addr show`` and ``ip -j addr show`` say.

    Raises:
        ValueError: it is no such list.
    """
    return list(_interfaces(text))


def _interfaces(text: str) -> Iterator[Interface]:
    try:
        for each in json.loads(text):
            found = [info["local"] for info in each["addr_info"] if info["family"] == "inet"]
            yield Interface(each["ifname"], each.get("address", ""), frozenset(found))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no list of interfaces: {error}") from None


def neighbour(text: str) -> str:
    """The hardware address that ``ip -j neigh show`` says; empty when nobody answers.

    Raises:
        ValueError: it is no such list.
    """
    try:
        found = [each.get("lladdr", "") for each in json.loads(text or "[]") if "FAILED" not in each["state"]]
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"no list of neighbours: {error}") from None
    return next((str(each).lower() for each in found if each), "")

"""The cable between the machine and the node: a veth pair with a /30 of its own.

The machine's end has the first address, the node's end (`host0`) the second, and that is where the
API server and node ports answer. It leads one way: the node may not open connections over it.
Pods and Services have addresses inside the node's network namespace only, so they clash with
nothing and every cluster uses the same ones.

Standard library only: also used by process 1 of the node.
"""

from __future__ import annotations

import fcntl
import ipaddress
import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stoker.local.failures import LocalError

POD_RANGE = "10.88.0.0/24"
# Set aside for benchmarks between networks, so it is hardly ever routed anywhere.
DEFAULT_RANGE = "198.18.0.0/16"
NODE_LINK = "host0"
_LOCK = Path("/run/lock/stoker-network")
_FIRST, _LAST = 1, 254

# New connections out of the cable are dropped; answers to those that came in are not.
_ONE_WAY = f"""
table inet stoker_one_way {{
  chain from_node {{
    type filter hook output priority 0
    oifname "{NODE_LINK}" ct state new counter drop
  }}
  chain from_pods {{
    type filter hook forward priority 0
    oifname "{NODE_LINK}" ct state new counter drop
  }}
}}
"""


def link_name(identity: str) -> str:
    """The name of the machine's end; carries the cluster's identity so that `down` finds it."""
    return f"stk-{identity}"


def choose(base: str, taken: Iterable[str]) -> ipaddress.IPv4Network:
    """The first /30 below `base` that overlaps none of the `taken` networks (CIDR texts).

    The third byte counts the clusters, as in 198.18.N.0/30. Raises LocalError when none is left.
    """
    networks = [ipaddress.ip_network(each, strict=False) for each in taken]
    ours = [
        network for network in networks if isinstance(network, ipaddress.IPv4Network) and network.prefixlen
    ]
    start = ipaddress.IPv4Network(base).network_address
    for number in range(_FIRST, _LAST + 1):
        candidate = ipaddress.IPv4Network((start + 256 * number, 30))
        if not any(candidate.overlaps(network) for network in ours):
            return candidate
    raise LocalError(
        f"Every address range below {base} is used by this machine's network already.",
        "Set STOKER_ADDRESS_RANGE to a /16 that nothing here routes to, for example 10.213.0.0/16.",
    )


def make_link(identity: str, base: str) -> str:
    """Make the veth pair in the machine's namespace; returns the node's address. Needs root."""
    with _locked():
        remove_link(identity)
        network = choose(base, _in_use())
        ours, nodes = (str(address) for address in network.hosts())
        name = link_name(identity)
        ip("link", "add", name, "type", "veth", "peer", "name", _peer(identity))
        ip("address", "add", f"{ours}/30", "dev", name)
        ip("link", "set", name, "up")
        return nodes


def hand_over(identity: str, pid: int) -> None:
    """Move the node's end into the network namespace of a process."""
    ip("link", "set", _peer(identity), "netns", str(pid))


def remove_link(identity: str) -> None:
    """Remove the pair; harmless when there is none."""
    name = link_name(identity)
    if Path("/sys/class/net", name).exists():
        subprocess.run(["ip", "link", "delete", name], capture_output=True, check=False)


def set_up_inside(identity: str, address: str) -> None:
    """In the node's namespace: wait for the cable, give it the node's address, close it outwards."""
    ip("link", "set", "lo", "up")
    _wait_for(_peer(identity))
    ip("link", "set", _peer(identity), "name", NODE_LINK)
    ip("address", "add", f"{address}/30", "dev", NODE_LINK)
    ip("link", "set", NODE_LINK, "up")
    # The node cannot reach a Service's address without some default route; this one leads nowhere.
    ip("link", "add", "nowhere", "type", "bridge")
    ip("link", "set", "nowhere", "up")
    ip("route", "add", "default", "dev", "nowhere")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    for bridge in Path("/proc/sys/net/bridge").glob("bridge-nf-call-ip*tables"):
        # Else a pod cannot reach a Service whose pod hangs on the same bridge.
        bridge.write_text("1")
    subprocess.run(["nft", "-f", "-"], input=_ONE_WAY, text=True, check=True)


def cni_configuration() -> str:
    """The pods' network: a bridge with addresses from POD_RANGE. No masquerading: nothing leaves."""
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": POD_RANGE}]],
            "routes": [{"dst": "0.0.0.0/0"}],
            "dataDir": "/run/cni-addresses",
        },
    }
    return json.dumps({"cniVersion": "0.4.0", "name": "stoker", "plugins": [bridge]}, indent=1)


def ip(*arguments: str) -> str:
    """Run ip(8); raises LocalError with its words."""
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LocalError(
            f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}",
            "The kernel needs the veth and bridge modules (`modprobe veth bridge`). "
            "Where it cannot have them, `stoker up --control-plane-only` needs none.",
        )
    return done.stdout


def _peer(identity: str) -> str:
    return f"stn-{identity}"


def _wait_for(link: str, timeout: float = 10.0) -> None:
    deadline = time.monotonic() + timeout
    while not Path("/sys/class/net", link).exists():
        if time.monotonic() > deadline:
            raise LocalError(f"The link {link} did not arrive.", "Run `stoker down`, then `stoker up` again.")
        time.sleep(0.01)


def _in_use() -> list[str]:
    """Networks that this machine has addresses in or routes to, the default route aside."""
    routes = json.loads(ip("-j", "-4", "route", "show", "table", "all") or "[]")
    addresses = json.loads(ip("-j", "-4", "address") or "[]")
    found = [route["dst"] for route in routes if route["dst"] != "default"]
    for link in addresses:
        found += [f"{each['local']}/{each['prefixlen']}" for each in link.get("addr_info", [])]
    return found


@contextmanager
def _locked() -> Iterator[None]:
    """Two clusters that start at the same moment must not choose the same range."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)

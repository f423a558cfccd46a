"""What is told of the router beside its backends."""

from router.cluster.neighbours import Neighbour
from router.core.catalog import Backend
from router.management.status import passed_over, users_of, without_models
from router.proxy.connections import Connections
from router.proxy.dialling import Address
from router.proxy.resolve import Names

MAC = Neighbour("mac 8001", ("10.0.0.2", "fd00::2"), 8001, "mac.local", "", tls=False, keyed=False)


async def test_the_backends_that_are_at_another_router():
    """By its address or its name, at its port; what has no address yet, or no name that was found, is nowhere."""
    connections = Connections(Names(lambda _: ("10.0.0.2",)), 1.0)
    addresses = {
        "by-address": Address("10.0.0.2", 8001), "by-ipv6": Address("fd00::2", 8001),
        "by-name": Address("Mac.local", 8001),
        "by-lan": Address("mac.lan", 8001), "other-port": Address("10.0.0.2", 8000), "other": Address("10.0.0.3", 8001),
        "unknown": Address("pc.lan", 8001),
    }  # fmt: skip
    await connections.names.addresses("mac.lan", 5.0)
    backends = {name: Backend(name) for name in [*addresses, "starting"]}
    for name, address in addresses.items():
        connections.open(backends[name], address)
    assert users_of(MAC, connections, backends) == ("by-address", "by-ipv6", "by-name", "by-lan")
    assert users_of(MAC._replace(addresses=("10.9.9.9",), host=""), connections, backends) == ()


def test_peers_without_a_model_are_explained():
    """They may have what is asked for, once they tell."""
    silent = [{"name": "mac", "reason": "not asked yet"}, {"name": "pc", "reason": "it is away"}]
    assert without_models(silent) == " Peers that have no model here: mac: not asked yet; pc: it is away."
    assert without_models([]) == ""
    assert [(each.backend, each.passed_over) for each in map(passed_over, silent)] == [
        ("mac", "not asked yet"), ("pc", "it is away"),
    ]  # fmt: skip

import socket
from contextlib import ExitStack, closing

import pytest

from launchers.ports import Ports


def test_each_port_is_handed_out_once_before_one_comes_again():
    ports = Ports(range(20000, 20050))
    found = [ports.free() for _ in range(10)]
    assert len(set(found)) == 10
    assert set(found) <= set(range(20000, 20050))


def test_a_port_in_use_is_passed_over_and_none_free_is_an_error():
    """The range is named, so that a person knows where to look."""
    with ExitStack() as stack:
        used = []
        for _ in range(2):
            listening = stack.enter_context(closing(socket.socket()))
            listening.bind(("127.0.0.1", 0))
            listening.listen()
            used.append(listening.getsockname()[1])
        for port in used:
            with pytest.raises(OSError, match=f"no port is free on 127.0.0.1 from {port} to {port}"):
                Ports(range(port, port + 1)).free()

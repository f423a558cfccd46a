import pytest

from router.listener import room_for_clients


@pytest.mark.parametrize(("files", "room"), [(65536, 32704), (1024, 448), (256, 64), (0, 1)])
def test_room_for_clients(files, room):
    """Two descriptors a client, its own and its backend's, and some for all else; never none."""
    assert room_for_clients(files) == room

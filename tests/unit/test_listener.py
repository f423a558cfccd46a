import pytest

from router.config import LimitsConfig
from router.listener import is_scarce, room_for_clients


@pytest.mark.parametrize(("files", "room"), [(65536, 32704), (1024, 448), (256, 64), (0, 1)])
def test_room_for_clients(files, room):
    """Two descriptors a client, its own and its backend's, and some for all else; never none."""
    assert room_for_clients(files) == room


@pytest.mark.parametrize(
    ("room", "limits", "scarce"),
    [
        (9936, {}, False),
        (448, {}, True),
        (9936, {"max_connections": 10_000}, True),
        (9936, {"max_connections": 9936}, False),
        (100, {"max_connections": 100}, False),
        (16384, {}, False),
    ],
)
def test_when_the_file_limit_is_told_of(room, limits, scarce):
    """Where it takes what router.yaml says, or what a household may need; not at each start."""
    assert is_scarce(room, LimitsConfig(**limits)) is scarce

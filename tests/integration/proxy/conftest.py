import pytest


@pytest.fixture
def session(asking):
    """Whatever is asked here is asked in each lane."""
    return asking
